//! The keys of instances: `tenure.services/<service>/<instance>`.
//!
//! Names are validated at the border. Invariant: a key belongs to at most one instance, because
//! neither name is empty or contains a `/`.

use bytes::{BufMut, Bytes, BytesMut};

use crate::{
    encoding,
    value::{KeyRange, RangeEnd},
};

/// Names an instance within its service.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct InstanceName {
    /// The service.
    pub service: String,
    /// The instance.
    pub id: String,
}

encoding::record! { InstanceName { service, id } }

/// The prefix of the keys of all instances.
pub const SERVICES_PREFIX: &str = "tenure.services/";

const SEPARATOR: u8 = b'/';

impl InstanceName {
    /// Returns the key that stands for the instance.
    #[must_use]
    pub fn key(&self) -> Bytes {
        let mut key = service_prefix(&self.service, self.id.len());
        key.put_slice(self.id.as_bytes());
        key.freeze()
    }

    /// Returns the instance that a key stands for, if any.
    #[must_use]
    pub fn of_key(key: &[u8]) -> Option<Self> {
        let (service, id) = split(key)?;
        Some(Self {
            service: service.to_owned(),
            id: id.to_owned(),
        })
    }
}

/// Returns the range of the keys of all instances of a service.
#[must_use]
pub fn service_range(service: &str) -> KeyRange {
    let mut end = service_prefix(service, 0);
    end.truncate(end.len().saturating_sub(1));
    end.put_u8(SEPARATOR.saturating_add(1));
    KeyRange {
        start: service_prefix(service, 0).freeze(),
        end: RangeEnd::Before(end.freeze()),
    }
}

/// Splits an instance's key into service and id.
pub(crate) fn split(key: &[u8]) -> Option<(&str, &str)> {
    let rest = key.strip_prefix(SERVICES_PREFIX.as_bytes())?;
    let (service, id) = std::str::from_utf8(rest).ok()?.split_once('/')?;
    let is_instance = !service.is_empty() && !id.is_empty() && !id.contains('/');
    is_instance.then_some((service, id))
}

fn service_prefix(service: &str, extra: usize) -> BytesMut {
    let capacity = SERVICES_PREFIX.len().saturating_add(service.len());
    let mut key = BytesMut::with_capacity(capacity.saturating_add(extra).saturating_add(1));
    key.put_slice(SERVICES_PREFIX.as_bytes());
    key.put_slice(service.as_bytes());
    key.put_u8(SEPARATOR);
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(service: &str, id: &str) -> InstanceName {
        InstanceName {
            service: service.to_owned(),
            id: id.to_owned(),
        }
    }

    #[test]
    fn a_name_is_read_back_from_its_key() {
        let name = name("web", "a-1");
        assert_eq!(name.key(), "tenure.services/web/a-1");
        assert_eq!(InstanceName::of_key(&name.key()), Some(name));
    }

    #[test]
    fn keys_of_another_shape_are_of_no_instance() {
        for key in [
            "tenure.services/web",
            "tenure.services/web/",
            "tenure.services//a",
            "tenure.services/web/a/b",
            "tenure.service/web/a",
            "",
        ] {
            assert_eq!(InstanceName::of_key(key.as_bytes()), None, "{key}");
        }
        assert_eq!(InstanceName::of_key(b"tenure.services/web/\xff"), None);
    }

    #[test]
    fn a_service_holds_its_instances_and_not_those_of_its_neighbours() {
        let range = service_range("web");
        assert!(range.contains(&name("web", "a").key()));
        assert!(range.contains(&name("web", "\u{10ffff}").key()));
        for other in ["we", "web2", "web-2", "web.2", "wec"] {
            assert!(!range.contains(&name(other, "a").key()), "{other}");
        }
    }
}
