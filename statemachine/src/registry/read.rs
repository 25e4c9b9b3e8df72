//! Reads of registrations. All instances of a service are the keys of its
//! [`service_range`](crate::service_range).

use super::instance::latest;
use crate::{error::Fault, keyspace::InstanceName, read::Reader, value::KeyValue};

impl Reader<'_> {
    /// Returns the record of an instance: its value is the encoded `tenure.v1.Instance`, its create
    /// revision the incarnation.
    ///
    /// # Errors
    /// When the engine cannot read, or the row does not decode.
    pub fn instance(&self, name: &InstanceName) -> Result<Option<KeyValue>, Fault> {
        let key = name.key();
        let record = latest(self.view, &key)?;
        Ok(record.map(|record| record.into_key_value(key)))
    }
}
