//! Keys on the move: mirrors, moves between etcd and a quorum, archives. Under load, over kills.

mod archiving;
mod mirroring;
mod moves;
mod pages;
mod program;
