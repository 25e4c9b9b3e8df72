//! What the tests share: nodes as child processes, clients for them, load, and waiting for states.
//!
//! Everything here panics with a sentence when a test cannot go on, because nobody but a test calls
//! it. A node never outlives the test process; its data and log do only when the test failed.

mod binary;
mod calls;
mod cluster;
mod consistency;
mod cutter;
mod delayed_connection;
mod delays;
mod etcd;
mod frames;
mod http;
mod link;
mod load;
mod name_server;
mod node;
mod opener;
mod page;
mod ports;
mod power;
mod slow_disk;
mod small_disk;
mod spawner;
mod tool;
mod wait;
mod watching;

pub use binary::{tenurectl, tenured};
pub use calls::Calls;
pub use cluster::{Cluster, ClusterBuilder};
pub use consistency::{assert_kept, assert_same_everywhere};
pub use cutter::Cutter;
pub use delayed_connection::{Connection, Flow};
pub use delays::Delays;
pub use etcd::Etcd;
pub use frames::Seen;
pub use http::{Http, HttpAnswer};
pub use link::Link;
pub use load::{Acknowledged, Load};
pub use name_server::NameServer;
pub use node::Node;
pub use page::{Page, page};
pub use ports::free_port;
pub use power::{Cut, PowerDisks};
pub use slow_disk::SlowDisks;
pub use small_disk::SmallDisk;
pub use tenure_pki::{Issued, Leaf, Pki};
pub use tool::{Ran, Tool, find_program};
pub use wait::{STATE_MAX, wait_until};
pub use watching::Watching;
