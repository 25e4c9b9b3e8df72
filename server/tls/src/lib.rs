//! TLS of the server: certificates and what is done with them, and the secret that members share.
//!
//! [`Entrance`] turns an accepted byte stream into one that is secured and whose other end is
//! verified; [`Exit`] does the same for a stream to another member. [`Port`] holds what both need,
//! read from files, and reads them again when they change. Opens no socket and spawns nothing: the
//! server bounds how long and how often this runs.
//!
//! Invariant: a stream leaves this crate only when everything that the settings ask of its other
//! end was verified.

mod der;
mod entrance;
mod exit;
mod file;
mod identity;
mod opening;
mod origin;
mod parts;
mod policy;
mod port;
mod secret;
mod self_signed;
mod verify;

pub use self::{
    entrance::{Admitted, Entrance, Refused},
    exit::{Dialled, Exit, ExitError},
    file::FileError,
    identity::PeerIdentity,
    opening::Rewound,
    origin::Origin,
    parts::{Change, Expiry, Part},
    policy::{Policy, PolicyFault},
    port::{Files, Port, PortError, PortSettings, Trust},
    secret::{SECRET_LENGTH_MIN, SecretError, SharedSecrets},
    self_signed::{SelfSignedError, ensure as ensure_self_signed},
    verify::Allowed,
};
