//! SRV records of DNS: the hosts and ports of a service in a domain.
//!
//! ```no_run
//! # async fn example() -> Result<(), tenure_srv::LookupError> {
//! for record in tenure_srv::Lookup::new().find("etcd-client", "example.com").await? {
//!     println!("{}:{}", record.target, record.port);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Names, services and texts of errors are those by which etcd finds its members and its clients
//! their servers. It is no resolver for anything else: hosts are resolved by the system.

#![deny(missing_docs)]

mod exchange;
mod lookup;
mod message;
mod order;
mod settings;

pub use self::{
    lookup::{Lookup, LookupError},
    message::Record,
};

/// The name of a service in etcd's records: `base`, `-ssl` if its servers speak TLS, and the suffix
/// by which several clusters share a domain.
#[must_use]
pub fn service(base: &str, is_secure: bool, suffix: &str) -> String {
    let secure = if is_secure { "-ssl" } else { "" };
    let dash = if suffix.is_empty() { "" } else { "-" };
    format!("{base}{secure}{dash}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_have_the_names_that_etcd_gives_them() {
        assert_eq!(service("etcd-client", false, ""), "etcd-client");
        assert_eq!(service("etcd-client", true, ""), "etcd-client-ssl");
        assert_eq!(service("etcd-server", true, "a"), "etcd-server-ssl-a");
    }
}
