//! etcd's programs: which versions are there, and running them.

use std::{
    env,
    ffi::OsStr,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// The programs of one version.
#[derive(Clone, Debug)]
pub(crate) struct Tools {
    pub(crate) etcd: PathBuf,
    etcdctl: PathBuf,
    /// `etcdutl`, which does what `etcdctl` did with files before 3.6.
    etcdutl: Option<PathBuf>,
}

impl Tools {
    /// The programs of every version that is installed; none, said loudly, when there are none.
    pub(crate) fn all() -> Vec<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let debian = env::split_paths(&path).find_map(|directory| Self::find(&directory));
        let other = env::var_os("TENURE_ETCD_TOOLS");
        let other = other.map(|directory| {
            let found = Self::find(Path::new(&directory));
            found.expect("TENURE_ETCD_TOOLS has etcd and etcdctl")
        });
        let all: Vec<Self> = debian.into_iter().chain(other).collect();
        if all.is_empty() {
            // Past the capture of a passing test: a skipped check must be seen.
            let notice = "SKIPPED: etcd and etcdctl are not installed (Debian: etcd-server, \
                          etcd-client)\n";
            _ = std::io::stderr().write_all(notice.as_bytes());
        }
        all
    }

    fn find(directory: &Path) -> Option<Self> {
        let program = |name: &str| {
            let path = directory.join(name);
            path.is_file().then_some(path)
        };
        Some(Self {
            etcd: program("etcd")?,
            etcdctl: program("etcdctl")?,
            etcdutl: program("etcdutl"),
        })
    }

    /// Whether there is an `etcdutl`: since 3.6 it counts keys that exist, and bumps revisions.
    pub(crate) const fn has_etcdutl(&self) -> bool {
        self.etcdutl.is_some()
    }

    /// Runs `etcdctl` and returns what it printed.
    pub(crate) fn ctl<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> String {
        run(self.ctl_command(arguments))
    }

    /// A run of `etcdctl`, which the caller starts.
    pub(crate) fn ctl_command<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Command {
        let mut command = Command::new(&self.etcdctl);
        command.args(arguments);
        if !self.has_etcdutl() {
            // Its default is version 2; later ones do not know the variable.
            command.env("ETCDCTL_API", "3");
        }
        command
    }

    /// A run of the program for files, which the caller starts.
    pub(crate) fn file_command<I: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = I>,
    ) -> Command {
        let Some(program) = &self.etcdutl else {
            return self.ctl_command(arguments);
        };
        let mut command = Command::new(program);
        command.args(arguments);
        command
    }

    /// What the tool prints about a snapshot.
    pub(crate) fn status(&self, file: &Path) -> Value {
        let words = [
            OsStr::new("snapshot"),
            OsStr::new("status"),
            file.as_os_str(),
            OsStr::new("--write-out=json"),
        ];
        serde_json::from_str(&run(self.file_command(words))).expect("the status is JSON")
    }

    /// HashKV of a copy of a file, which the tool writes to: hash, and compact revision.
    pub(crate) fn hash_kv(&self, file: &Path, revision: i64) -> (u64, i64) {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy.db");
        fs::copy(file, &copy).unwrap();
        let mut hash = self.file_command(["hashkv", "--write-out=json"]);
        hash.args(["--rev", &revision.to_string()]).arg(&copy);
        let found: Value = serde_json::from_str(&run(hash)).expect("the hash is JSON");
        let number = |name: &str| found[name].as_i64().expect("a number");
        (
            found["hash"].as_u64().expect("a hash"),
            number("compactRevision"),
        )
    }
}

fn run(mut command: Command) -> String {
    let output = command.output().expect("the program can be run");
    assert!(
        output.status.success(),
        "{command:?} failed: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the program prints text")
}
