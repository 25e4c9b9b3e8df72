//! Sets up logging: the level, format and outputs of log lines.
//!
//! Starts the logger once; every module decides itself what it logs.
//!
//! Invariant: logging never fails the caller. A line that cannot be written is dropped, because a
//! member must keep serving when the reader of its standard error has exited.

use std::{
    io::{self, Write},
    sync::Arc,
};

use thiserror::Error;
use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter};
use tracing_subscriber::{
    Layer as _,
    filter::{FilterExt as _, Targets},
    fmt::{self, MakeWriter},
    layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

use self::repeats::Repeats;
use crate::{
    clock::{Clock, RuntimeClock},
    config::{Config, LogFormat, LogLevel, LogOutput},
};

mod repeats;

/// Prefix of the targets of this project; libraries are logged from one level higher.
const OWN_TARGETS: &str = "tenure";

/// The process has a logger already.
#[derive(Debug, Error)]
#[error("logger already started")]
pub struct LoggerRuns(#[source] tracing_subscriber::util::TryInitError);

/// Starts the logger of this process.
///
/// # Errors
/// When one was started before.
pub fn start(config: &Config) -> Result<(), LoggerRuns> {
    let outputs = config.log_outputs.clone();
    let writer = move || Outputs(outputs.clone());
    subscriber(
        config.log_level,
        config.log_format,
        RuntimeClock::shared(),
        writer,
    )
    .try_init()
    .map_err(LoggerRuns)
}

fn subscriber<W>(
    level: LogLevel,
    format: LogFormat,
    clock: Arc<dyn Clock>,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Clone + Send + Sync + 'static,
{
    let notices = writer.clone();
    let tell = move |place: &Metadata<'_>| {
        // An error is ignored: logging never fails the caller.
        let _gone = notices
            .make_writer()
            .write_all(left_out(format, place).as_bytes());
    };
    let wanted = filter(level).and(Repeats::new(clock, Box::new(tell)));
    // Otherwise a failed write would be reported on standard error, which panics when that is
    // closed.
    let layer = fmt::layer()
        .with_writer(writer)
        .log_internal_errors(false)
        .with_ansi(false);
    match format {
        LogFormat::Json => {
            let layer = layer.json().flatten_event(true).with_filter(wanted);
            Box::new(tracing_subscriber::registry().with(layer))
        }
        LogFormat::Console => {
            let layer = layer.with_filter(wanted);
            Box::new(tracing_subscriber::registry().with(layer))
        }
    }
}

/// The line that reports that further lines are left out.
fn left_out(format: LogFormat, place: &Metadata<'_>) -> String {
    let (target, level) = (place.target(), place.level());
    let line = place.line().unwrap_or_default();
    let what = "this line repeats, and is left out for some seconds";
    match format {
        LogFormat::Json => {
            let object = serde_json::json!({
                "level": level.as_str(), "target": target, "line": line, "message": what,
            });
            format!("{object}\n")
        }
        LogFormat::Console => format!("{level:>5} {target}: {what} line={line}\n"),
    }
}

/// Logs targets of this project from `level`, and libraries from one level higher, since their
/// lines are meant for their developers.
fn filter(level: LogLevel) -> Targets {
    let (own, others) = match level {
        LogLevel::Debug => (Level::DEBUG, LevelFilter::INFO),
        LogLevel::Info => (Level::INFO, LevelFilter::WARN),
        LogLevel::Warn => (Level::WARN, LevelFilter::ERROR),
        LogLevel::Error => (Level::ERROR, LevelFilter::ERROR),
    };
    Targets::new()
        .with_target(OWN_TARGETS, own)
        .with_default(others)
}

/// Writes to every output, and always reports success.
#[derive(Debug)]
struct Outputs(Vec<LogOutput>);

impl Write for Outputs {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for output in &self.0 {
            // An error is ignored: there is no output left to report it on.
            let _gone = match output {
                LogOutput::Stderr => io::stderr().lock().write_all(line),
                LogOutput::Stdout => io::stdout().lock().write_all(line),
            };
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use parking_lot::Mutex;
    use tracing::subscriber::with_default;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(line);
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: LogLevel, format: LogFormat) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let clock = RuntimeClock::shared();
        with_default(
            subscriber(level, format, clock, move || writer.clone()),
            || {
                tracing::debug!(target: "tenured::test", "quiet");
                tracing::info!(target: "tenured::test", key = 7, "ready");
                tracing::info!(target: "hyper", "chatter");
                tracing::error!(target: "hyper", "trouble");
            },
        );
        let bytes = buffer.0.lock().clone();
        String::from_utf8(bytes).unwrap()
    }

    /// A clock that the test moves.
    #[derive(Debug, Default)]
    struct Hand(Mutex<Duration>);

    impl Clock for Hand {
        fn now(&self) -> Duration {
            *self.0.lock()
        }
    }

    #[test]
    fn a_warning_that_repeats_is_left_out_and_that_is_said_once_in_a_while() {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let hand = Arc::new(Hand::default());
        let clock: Arc<dyn Clock> = Arc::clone(&hand) as _;
        let wanted = subscriber(LogLevel::Info, LogFormat::Console, clock, move || {
            writer.clone()
        });
        with_default(wanted, || {
            for second in 0..2 {
                *hand.0.lock() = Duration::from_secs(second * 10);
                for _ in 0..1000 {
                    tracing::error!(target: "openraft", "trouble");
                    tracing::info!(target: "tenured::test", "record");
                }
            }
            tracing::error!(target: "openraft", "another");
        });
        let text = String::from_utf8(buffer.0.lock().clone()).unwrap();
        let count = |what: &str| text.matches(what).count();
        assert_eq!((count("trouble"), count("this line repeats")), (40, 2));
        assert_eq!((count("record"), count("another")), (2000, 1));
        assert!(text.contains("ERROR openraft: this line repeats"), "{text}");
    }

    #[test]
    fn a_json_line_is_one_flat_object() {
        let text = logged(LogLevel::Info, LogFormat::Json);
        let line = text.lines().next().unwrap();
        let object: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["message"], "ready");
        assert_eq!(object["key"], 7);
        assert_eq!(object["level"], "INFO");
    }

    #[test]
    fn a_console_line_has_no_colours_and_no_braces() {
        let text = logged(LogLevel::Info, LogFormat::Console);
        assert!(text.contains("INFO tenured::test: ready key=7"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn libraries_are_heard_one_level_above_us() {
        let text = logged(LogLevel::Info, LogFormat::Console);
        assert!(
            !text.contains("quiet") && !text.contains("chatter"),
            "{text}"
        );
        assert!(text.contains("trouble"));
        let text = logged(LogLevel::Debug, LogFormat::Console);
        assert!(text.contains("quiet") && text.contains("chatter"), "{text}");
        let text = logged(LogLevel::Error, LogFormat::Console);
        assert!(
            !text.contains("ready") && text.contains("trouble"),
            "{text}"
        );
    }
}
