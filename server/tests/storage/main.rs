//! The stores against their contracts: openraft's suite, the engine's conformance, crashes, and
//! what must end a node.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a store that cannot be set up has failed the test, and what tests count is printed"
)]

mod compaction;
mod conformance;
mod contradictions;
mod corruption;
mod crash;
mod damage;
mod disk_use;
mod ends;
mod expected;
mod lagging;
mod lone_node;
mod lossy_files;
mod model_files;
mod purged_meanwhile;
mod recovery;
mod step_disk;
mod store;
mod suite;
mod unsynced;
mod wait;
