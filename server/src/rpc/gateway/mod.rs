//! The JSON gateway: the services of the client port as JSON over HTTP.
//!
//! A layer that turns a request with JSON into the gRPC call of the same meaning, before every
//! other layer, and the response back. So a call over JSON passes the same limits, accounts,
//! deadlines and metrics as one over gRPC, without a connection of its own. Nothing here knows a
//! message: the mapping follows the descriptors, and [`routes`] is the one table of paths.
//!
//! Pages are let through; what limits who may call them from a browser is in [`access`].

mod access;
mod error;
mod headers;
mod inflate;
mod layer;
mod messages;
mod request;
mod response;
mod routes;
mod websocket;

use std::sync::Arc;

use tenure_json::Schema;
use tenure_proto::PUBLIC_DESCRIPTOR_SET;
use tokio::sync::Semaphore;

pub use self::access::Access;
use self::routes::Routes;
use super::routes::DECODE_OVERHEAD_BYTES;
use crate::share::Receiving;

/// Bytes of a body for each byte of its message: base64 takes four for three.
const BASE64_BYTES: usize = 4;
const BASE64_OF_BYTES: usize = 3;
/// Bytes of a body for the names and brackets of a message: several times those of a transaction
/// with the most operations.
const NAMES_BYTES: usize = 512 * 1024;
/// Large messages that are mapped at once, each on a thread of its own: half of a small machine.
const MAPPINGS_MAX: usize = 2;

/// The gateway of a client port.
#[derive(Clone, Debug)]
pub struct GatewayLayer {
    gateway: Arc<Gateway>,
    serves: Serves,
}

/// The protocols of a client port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Serves {
    Both,
    Grpc,
    Http,
}

#[derive(Debug)]
struct Gateway {
    schema: Arc<Schema>,
    /// No routes when the gateway is switched off.
    routes: Option<Routes>,
    access: Access,
    /// Largest body of a request, or of one message of a stream, after decompression.
    body_bytes_max: usize,
    receiving: Receiving,
    /// Permits to map a large message.
    mappings: Arc<Semaphore>,
}

impl GatewayLayer {
    /// A gateway to calls whose messages have at most `request_bytes_max`. One that is not enabled
    /// only limits who may call.
    #[must_use]
    pub(crate) fn new(
        is_enabled: bool,
        access: Access,
        request_bytes_max: usize,
        receiving: Receiving,
    ) -> Self {
        let schema = Arc::new(
            Schema::new(PUBLIC_DESCRIPTOR_SET).expect("the descriptors are this build's own"),
        );
        let message_bytes = request_bytes_max + DECODE_OVERHEAD_BYTES;
        let gateway = Gateway {
            routes: is_enabled.then(|| Routes::new(&schema)),
            schema,
            access,
            body_bytes_max: message_bytes.div_ceil(BASE64_OF_BYTES) * BASE64_BYTES + NAMES_BYTES,
            receiving,
            mappings: Arc::new(Semaphore::new(MAPPINGS_MAX)),
        };
        Self {
            gateway: Arc::new(gateway),
            serves: Serves::Both,
        }
    }

    /// The same for a port that serves these protocols.
    pub(crate) fn serving(&self, serves: Serves) -> Self {
        let gateway = Arc::clone(&self.gateway);
        Self { gateway, serves }
    }
}
