//! Keys as shared stores see them.

use std::fmt;

use super::{CacheKey, KeyWriter};

/// A key as shared stores see it: printable ASCII, never empty, at most 229 bytes.
///
/// # Examples
/// ```
/// use larder::key::StoreKey;
/// let key = StoreKey::new(&("user", 7u64));
/// assert_eq!(key.as_str(), "(=user,7)");
/// let long = StoreKey::new(&"x".repeat(10_000));
/// assert_eq!(long.as_str().len(), 96 + 1 + 32);
/// assert_eq!(long.full().len(), 10_001);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StoreKey {
    pub(super) full: String,
    pub(super) short: Option<Box<str>>,
}

impl StoreKey {
    /// Encodes a key.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::key::StoreKey::new(&Some(7)).as_str(), "+7");
    /// ```
    #[must_use]
    pub fn new<K: CacheKey + ?Sized>(key: &K) -> Self {
        let mut writer = KeyWriter::new();
        key.encode(&mut writer);
        writer.finish()
    }

    /// Returns the form that names the entry in the store.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::key::StoreKey::new(&("user", 7)).as_str(), "(=user,7)");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.short.as_deref().unwrap_or(&self.full)
    }

    /// Returns the whole encoded key, which the stored header echoes.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::key::StoreKey::new(&"x".repeat(500)).full().len(), 501);
    /// ```
    #[must_use]
    pub fn full(&self) -> &str {
        &self.full
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
