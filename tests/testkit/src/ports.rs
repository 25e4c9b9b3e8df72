//! Ports on loopback that nobody listens on.
//!
//! They lie below the range that the kernel takes for outgoing connections: a node that is
//! restarted must find its own port free, not taken by some client's connection.

use std::{
    net::TcpListener,
    process,
    sync::atomic::{AtomicU32, Ordering},
};

/// First port given out; below it services with well-known ports are common.
const PORT_MIN: u32 = 11_000;
/// Ports given out before beginning anew. The kernel's own range begins at 32768 by default.
const PORT_COUNT: u32 = 20_000;
/// Spreads test processes that run at the same time; a prime, so that neighbours differ widely.
const PROCESS_STRIDE: u32 = 7919;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port on 127.0.0.1 that is free now and was not given to anyone in this process lately.
///
/// # Panics
/// When no port is free.
#[must_use]
pub fn free_port() -> u16 {
    let start = process::id().wrapping_mul(PROCESS_STRIDE);
    for _ in 0..PORT_COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = PORT_MIN + start.wrapping_add(step) % PORT_COUNT;
        let port = u16::try_from(port).expect("the range ends below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!(
        "no port on 127.0.0.1 between {PORT_MIN} and {} is free",
        PORT_MIN + PORT_COUNT
    );
}
