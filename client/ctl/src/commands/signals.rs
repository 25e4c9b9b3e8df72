//! Signals that end this program.
//!
//! The handlers are installed before anything is acquired: otherwise a signal would end the program
//! and leave its lease to expire.

use std::{future::Future, io};

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};

use super::holding::Interrupted;

/// Signals of this process.
#[derive(Debug)]
pub(super) struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
    hangup: unix::Signal,
    quit: unix::Signal,
    suspend: Option<unix::Signal>,
}

impl Signals {
    /// Installs handlers for the signals that terminate a process.
    pub(super) fn take() -> io::Result<Self> {
        let take = |signal: Signal| unix::signal(SignalKind::from_raw(signal.as_raw()));
        Ok(Self {
            interrupt: take(Signal::INT)?,
            terminate: take(Signal::TERM)?,
            hangup: take(Signal::HUP)?,
            quit: take(Signal::QUIT)?,
            suspend: None,
        })
    }

    /// Also installs a handler for SIGTSTP, which suspends a process from a terminal.
    pub(super) fn take_suspend(&mut self) -> io::Result<()> {
        let kind = SignalKind::from_raw(Signal::TSTP.as_raw());
        self.suspend = Some(unix::signal(kind)?);
        Ok(())
    }

    /// Waits for `work`, or for a signal, which drops `work`.
    pub(super) async fn or_signal<W: Future>(&mut self, work: W) -> Result<W::Output, Interrupted> {
        // `next` is cancel safe, and `work` is dropped deliberately after a signal.
        tokio::select! {
            outcome = work => Ok(outcome),
            _ = self.next() => Err(Interrupted),
        }
    }
}

/// A source of signals.
pub(super) trait Source {
    /// The next signal. Cancel safe: a signal that is not returned is returned by the next call.
    async fn next(&mut self) -> Signal;
}

impl Source for Signals {
    async fn next(&mut self) -> Signal {
        let Self {
            interrupt,
            terminate,
            hangup,
            quit,
            suspend,
        } = self;
        let suspended = async {
            match suspend {
                Some(suspend) => suspend.recv().await,
                None => std::future::pending().await,
            }
        };
        // Every arm is cancel safe, see `tokio::signal::unix::Signal::recv`.
        tokio::select! {
            _ = interrupt.recv() => Signal::INT,
            _ = terminate.recv() => Signal::TERM,
            _ = hangup.recv() => Signal::HUP,
            _ = quit.recv() => Signal::QUIT,
            _ = suspended => Signal::TSTP,
        }
    }
}
