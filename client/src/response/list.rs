//! The response to a request that lists: items in the order of the server.

use std::{slice, vec};

use super::{Header, impl_header};

/// A list that a server answered with, in the order of the server.
///
/// ```no_run
/// # async fn example(client: tenure::Client) -> Result<(), tenure::Error> {
/// let members = client.cluster().members().await?;
/// println!("{} members", members.len());
/// for member in &members {
///     println!("{} at {:?}", member.name(), member.client_urls());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List<T> {
    header: Option<Header>,
    items: Vec<T>,
}

impl<T> List<T> {
    pub(crate) fn of(header: Option<Header>, items: Vec<T>) -> Self {
        Self { header, items }
    }

    /// Number of items in the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are no items.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The first item; `None` when the list is empty.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.items.first()
    }

    /// The items as a slice.
    #[must_use]
    pub fn as_slice(&self) -> &[T] {
        &self.items
    }

    /// The items as a vector, without the header.
    #[must_use]
    pub fn into_vec(self) -> Vec<T> {
        self.items
    }

    /// Iterates over the items.
    pub fn iter(&self) -> slice::Iter<'_, T> {
        self.items.iter()
    }

    /// Header and items as messages of the wire.
    #[cfg(feature = "wire")]
    pub(super) fn into_messages<H, M>(
        self,
        header: impl FnOnce(Header) -> H,
        item: impl FnMut(T) -> M,
    ) -> (Option<H>, Vec<M>) {
        let items = self.items.into_iter();
        (self.header.map(header), items.map(item).collect())
    }
}

impl<T> IntoIterator for List<T> {
    type Item = T;
    type IntoIter = vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.into_iter()
    }
}

impl<'a, T> IntoIterator for &'a List<T> {
    type Item = &'a T;
    type IntoIter = slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.items.iter()
    }
}

impl_header!(<T> List<T>);
