//! The allocator starts as this repository's `.cargo/config.toml` has it.
//!
//! It is compiled in, so a build that does not see that file would lose it without a word.

use std::process::Command;

#[test]
fn the_allocator_is_configured_at_build_time() {
    let ran = Command::new(env!("CARGO_BIN_EXE_tenured"))
        .arg("--version")
        // Asks the allocator to say at the end how it was started.
        .env("MALLOC_CONF", "stats_print:true")
        .output()
        .expect("the server can be run");
    let said = String::from_utf8_lossy(&ran.stderr);
    for setting in ["opt.narenas: 2", "opt.dirty_decay_ms: 1000 "] {
        assert!(said.contains(setting), "{setting} is not in:\n{said}");
    }
}
