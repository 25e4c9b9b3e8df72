//! A run of tenurectl that goes on while the test does other things.

use std::{process::ExitStatus, sync::Arc};

use rustix::process::{Pid, Signal, kill_process};
use tenure_testkit::{STATE_MAX, Tool, wait_until};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::Child,
    sync::Mutex,
    task::JoinHandle,
    time::timeout,
};

/// A running program, and what it said so far.
pub(super) struct Program {
    child: Child,
    said: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Program {
    pub(super) fn start(tool: &Tool, words: &[&str]) -> Self {
        let mut child = tool.command(words).spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        let readers = vec![
            read(child.stdout.take().unwrap(), &said),
            read(child.stderr.take().unwrap(), &said),
        ];
        Self {
            child,
            said,
            readers,
        }
    }

    /// Waits until it has said `text`, and did not end before.
    pub(super) async fn wait_for(&mut self, text: &str) {
        let what = format!("the program says {text:?}");
        wait_until(&what, STATE_MAX, async || {
            let said = self.said.lock().await.clone();
            if said.contains(text) {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the program ended with {status} and said: {said}");
            }
            Err(said)
        })
        .await;
    }

    pub(super) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id().unwrap()).unwrap();
        kill_process(Pid::from_raw(id).unwrap(), signal).unwrap();
    }

    /// Waits until it ends. Returns how, and what it said.
    pub(super) async fn end(mut self) -> (ExitStatus, String) {
        let status = timeout(STATE_MAX, self.child.wait()).await;
        let said = Arc::clone(&self.said);
        let Ok(status) = status else {
            panic!("the program goes on: {}", said.lock().await);
        };
        for reader in self.readers {
            reader.await.unwrap();
        }
        let said = said.lock().await.clone();
        (status.unwrap(), said)
    }
}

fn read(
    from: impl AsyncRead + Unpin + Send + 'static,
    said: &Arc<Mutex<String>>,
) -> JoinHandle<()> {
    let said = Arc::clone(said);
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut said = said.lock().await;
            said.push_str(&line);
            said.push('\n');
        }
    })
}
