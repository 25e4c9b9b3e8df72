//! Where the programs under test are.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The server: `TENURED_BIN`, or the one built beside the test.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn tenured() -> PathBuf {
    find("TENURED_BIN", "tenured")
}

/// The command line: `TENURECTL_BIN`, or the one built beside the test.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn tenurectl() -> PathBuf {
    find("TENURECTL_BIN", "tenurectl")
}

fn find(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = env::var_os(variable).map(PathBuf::from) {
        assert!(
            path.is_file(),
            "{variable} names {}, which is no file",
            path.display()
        );
        return path;
    }
    let test = env::current_exe().expect("a running program has a path");
    // Cargo puts tests into target/<profile>/deps and programs one level up.
    let found = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join(name))
        .find(|path| Path::is_file(path));
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}: run the tests with `make test`, which builds it \
             first, or set {variable}",
            test.display()
        )
    })
}
