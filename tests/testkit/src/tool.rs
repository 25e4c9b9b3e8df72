//! Programs that tests run to their end: etcdctl, tenurectl, a server that must refuse to start.

use std::{env, ffi::OsStr, io::Write, path::PathBuf, process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt, process::Command, time::timeout};

/// How long a program may run: longer than its own timeouts on a busy machine.
const RUN_MAX: Duration = Duration::from_secs(60);

/// A program that was found, with the arguments of every run.
#[derive(Clone, Debug)]
pub struct Tool {
    program: PathBuf,
    arguments: Vec<String>,
}

/// How a run ended.
#[derive(Clone, Debug)]
pub struct Ran {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Tool {
    /// A program at a path.
    #[must_use]
    pub const fn new(program: PathBuf) -> Self {
        Self {
            program,
            arguments: Vec::new(),
        }
    }

    /// Debian's etcdctl for these endpoints; `None`, said loudly, when it is not installed.
    #[must_use]
    pub fn etcdctl(endpoints: &[String]) -> Option<Self> {
        let Some(program) = find_program("etcdctl") else {
            // Past the capture of a passing test: a skipped check must be seen.
            let notice = "SKIPPED: etcdctl is not installed (Debian: etcd-client)\n";
            _ = std::io::stderr().write_all(notice.as_bytes());
            return None;
        };
        Some(Self::new(program).with(&["--endpoints", &endpoints.join(",")]))
    }

    /// The same with further arguments in front of those of each run.
    #[must_use]
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments
            .extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not start or does not end in time.
    pub async fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with_input(arguments, "").await
    }

    /// Runs it to its end with `input` as its standard input.
    ///
    /// # Panics
    /// When it does not start or does not end in time.
    pub async fn run_with_input(&self, arguments: &[&str], input: &str) -> Ran {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("{} could not be started: {error}", self.program.display())
            });
        let mut stdin = child.stdin.take().expect("standard input is piped");
        // A program that ends without reading has closed it, which is its right.
        _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
        let output = timeout(RUN_MAX, child.wait_with_output())
            .await
            .unwrap_or_else(|_| panic!("{arguments:?} did not end within {RUN_MAX:?}"))
            .expect("the output of a child can be read");
        Ran {
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// The command of a run that the test handles itself; the child is killed when it is dropped.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .args(arguments)
            .env("ETCDCTL_API", "3")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }
}

impl Ran {
    /// Its standard output, if it succeeded.
    ///
    /// # Panics
    /// When it failed.
    #[must_use]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "the program failed: {self:?}");
        self.out
    }
}

/// The path of a program on `PATH`.
#[must_use]
pub fn find_program(name: impl AsRef<OsStr>) -> Option<PathBuf> {
    let paths = env::var_os("PATH")?;
    env::split_paths(&paths)
        .map(|directory| directory.join(name.as_ref()))
        .find(|path| path.is_file())
}
