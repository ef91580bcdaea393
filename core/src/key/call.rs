//! The key of a function's call.

use std::fmt;
use std::str::FromStr;

use crate::Error;
use crate::key::{CacheKey, KeyWriter};

/// The key of a function call: a name, and the arguments that distinguish one call from another. `#[cached]`
/// functions use it, so that several functions can share one cache.
///
/// Its text looks like a call, `product(7,=en)`, in the form of [`CacheKey`](trait@CacheKey). The encoding is
/// injective: different names or arguments have different texts.
///
/// # Examples
/// The key of a function with `prefix = "product"`, from somewhere else:
/// ```
/// use larder::key::{CallKey, StoreKey};
/// use larder::CacheKey;
/// let key = CallKey::new("product", [&7 as &dyn CacheKey, &"en"]);
/// assert_eq!(key.as_str(), "product(7,=en)");
/// assert_eq!(StoreKey::new(&key).as_str(), "product(7,=en)");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallKey(String);

impl CallKey {
    /// Creates the key of a call of `name` with the arguments `parts`.
    ///
    /// # Examples
    /// ```
    /// use larder::key::CallKey;
    /// assert_eq!(CallKey::new("settings", []).as_str(), "settings()");
    /// assert_ne!(CallKey::new("a", [&"b" as &dyn larder::CacheKey, &"c"]), CallKey::new("a", [&"b,=c" as &dyn larder::CacheKey]));
    /// ```
    pub fn new<'a>(name: &str, parts: impl IntoIterator<Item = &'a dyn CacheKey>) -> Self {
        let mut key = KeyWriter::new();
        key.name(name);
        key.parts(parts);
        Self(key.into_text())
    }

    /// Creates the key of a call of the function at `path`. Its colons are kept, which no other name contains.
    #[cfg(feature = "macros")]
    pub(crate) fn at<'a>(path: &str, parts: impl IntoIterator<Item = &'a dyn CacheKey>) -> Self {
        let mut key = KeyWriter::new();
        for (index, step) in path.split("::").enumerate() {
            if index > 0 {
                key.encoded("::");
            }
            key.name(step);
        }
        key.parts(parts);
        Self(key.into_text())
    }

    /// Returns the encoded key: printable ASCII.
    ///
    /// # Examples
    /// ```
    /// use larder::key::CallKey;
    /// assert_eq!(CallKey::new("page", [&"a b" as &dyn larder::CacheKey]).as_str(), "page(=a%20b)");
    /// ```
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CacheKey for CallKey {
    fn encode(&self, key: &mut KeyWriter) {
        key.encoded(&self.0);
    }
}

impl fmt::Debug for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallKey({})", self.0)
    }
}

impl fmt::Display for CallKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Reads the text of a key, such as one that a log or a page shows.
///
/// # Errors
/// [`Config`](crate::ErrorKind::Config) if the text is not that of a call: `name(..)` in printable ASCII, without
/// spaces and braces.
///
/// # Examples
/// ```
/// use larder::key::CallKey;
/// let key: CallKey = "product(7,=en)".parse()?;
/// assert_eq!(key, CallKey::new("product", [&7 as &dyn larder::CacheKey, &"en"]));
/// # Ok::<(), larder::Error>(())
/// ```
impl FromStr for CallKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let is_call = text.find('(').is_some_and(|at| at > 0) && text.ends_with(')');
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"{}".contains(&byte));
        if is_call && is_plain {
            return Ok(Self(text.to_owned()));
        }
        Err(Error::config(format!("`{}` is no key of a call: give `name(..)`", text.escape_debug())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_key_reads_back() {
        let key = CallKey::new("a b", [&"c,)" as &dyn CacheKey, &Some(7)]);
        assert_eq!(key.to_string().parse::<CallKey>().expect("it was printed"), key);
        for other in ["", "name", "(7)", "name(7", "na me(7)", "name({7})", "n\u{e4}me(7)", "name(7)\n"] {
            assert!(other.parse::<CallKey>().is_err(), "{other:?}");
        }
    }
}
