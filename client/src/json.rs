//! JSON values, by `serde`.
//!
//! Only values are encoded; keys are bytes as everywhere. A value that is not JSON of the requested
//! type is an error that names the key.

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    client::Client,
    error::{Error, ErrorKind},
    kv::Put,
    range::IntoBytes,
    response::{GetResponse, KeyValue},
};

impl KeyValue {
    /// The value, decoded from JSON.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) when it is not JSON of that type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        serde_json::from_slice(self.value()).map_err(|error| {
            let text = format!("the value of {:?} is not as expected: {error}", self.key());
            Error::local(ErrorKind::Decode, text)
        })
    }
}

impl GetResponse {
    /// The value of the first key, or of the only one, decoded from JSON; nothing when no key was
    /// found.
    ///
    /// # Errors
    /// [`Decode`](ErrorKind::Decode) when it is not JSON of that type.
    pub fn json<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        self.first().map(KeyValue::json).transpose()
    }
}

impl Client {
    /// Writes one key with a value encoded as JSON.
    ///
    /// ```no_run
    /// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
    /// #[derive(serde::Serialize, serde::Deserialize)]
    /// struct Mode {
    ///     name: String,
    ///     workers: u32,
    /// }
    ///
    /// let mode = Mode { name: "fast".to_owned(), workers: 8 };
    /// client.put_json("config/mode", &mode)?.await?;
    /// let read: Option<Mode> = client.get("config/mode").await?.json()?;
    /// # drop(read);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) when the value cannot be JSON, such as a map
    /// whose keys are not text.
    pub fn put_json<T: Serialize + ?Sized>(
        &self,
        key: impl IntoBytes,
        value: &T,
    ) -> Result<Put<Self>, Error> {
        Ok(self.put(key, encoded(value)?))
    }
}

impl Put {
    /// A description of a write of a value encoded as JSON, for a transaction.
    ///
    /// # Errors
    /// As of [`Client::put_json`].
    pub fn json<T: Serialize + ?Sized>(key: impl IntoBytes, value: &T) -> Result<Self, Error> {
        Ok(Self::new(key, encoded(value)?))
    }
}

fn encoded<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(value).map_err(|error| {
        let text = format!("the value cannot be written as JSON: {error}");
        Error::local(ErrorKind::InvalidArgument, text)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fake::Fake;

    #[tokio::test]
    async fn a_value_comes_back_as_it_was_written() {
        let (_fake, client) = Fake::start().await;
        let value = BTreeMap::from([("workers".to_owned(), vec![1, 2])]);
        client.put_json("k", &value).unwrap().await.unwrap();
        let found = client.get("k").await.unwrap();
        assert_eq!(found.value().unwrap(), r#"{"workers":[1,2]}"#);
        assert_eq!(found.json().unwrap(), Some(value));
        let none = client.get("other").await.unwrap();
        assert_eq!(none.json::<String>().unwrap(), None);
        let error = found.json::<u32>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Decode);
        assert!(error.message().contains("\"k\""), "{error}");
    }

    #[test]
    fn what_cannot_be_json_is_refused() {
        let error = Put::json("k", &BTreeMap::from([([1, 2], 3)])).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}
