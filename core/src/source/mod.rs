//! The sources of values that are not cached.

mod fallback;
mod limit;
mod retry;
mod timeout;

pub use fallback::{BothFailed, Fallback};
pub use limit::SourceLimit;
pub use retry::{AlwaysRetry, Retry, RetryPolicy};
pub use timeout::{SourceTimeout, SourceTimeoutError};

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::Entry;
use crate::error::BoxError;
use crate::tag::Tag;

/// The system of record behind a cache: a table, a service, a computation.
///
/// `Ok(None)` means that the row does not exist, which is not an error. A load must read state at least as new as
/// the moment it starts (no lagging replica, no transaction opened before), or the cache cannot guarantee
/// freshness.
///
/// Sources can be wrapped: [`Fallback`], [`Retry`], [`SourceTimeout`], [`SourceLimit`].
///
/// # Examples
/// ```
/// use larder::Source;
///
/// struct Squares;
///
/// impl Source<u64> for Squares {
///     type Value = u64;
///     type Error = std::num::TryFromIntError;
///
///     async fn load(&self, key: &u64) -> Result<Option<u64>, Self::Error> {
///         Ok(key.checked_mul(*key))
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot load values for keys of type `{K}`",
    label = "not a source for these keys",
    note = "implement `Source<{K}>` for it, or make one of a closure with `source_fn`"
)]
pub trait Source<K>: Send + Sync + 'static {
    /// The type of the loaded values.
    type Value: Send + Sync + 'static;
    /// The source's own error. Callers get it back with [`Error::source_as`](crate::Error::source_as).
    type Error: Into<BoxError> + Send + 'static;

    /// Loads the value of `key`, or `None` if there is none.
    ///
    /// # Errors
    /// The source's own. Errors are returned to every caller that waits for this load, and are never cached.
    ///
    /// # Cancellation safety
    /// The load runs on its own task: it is dropped only when it exceeds the load budget or the runtime ends.
    fn load(&self, key: &K) -> impl Future<Output = Result<Option<Self::Value>, Self::Error>> + Send;

    /// Checks the source for errors that can be found before the first load.
    /// [`CacheBuilder::build`](crate::CacheBuilder::build) calls it. Default: no check. A source that wraps another
    /// one also checks that one.
    ///
    /// # Errors
    /// [`Error::config`](crate::Error::config), with a hint in the message.
    fn check(&self) -> crate::Result<()> {
        Ok(())
    }
}

/// The results of a [`BatchSource`] for many keys, each with its own error.
pub type BatchResults<V, E> = Vec<Result<Option<V>, E>>;

/// A source that can load many keys at once: one query instead of a hundred.
///
/// # Examples
/// ```
/// use larder::source::BatchSource;
/// use larder::Source;
///
/// struct Squares;
/// # impl Source<u64> for Squares {
/// #     type Value = u64;
/// #     type Error = std::convert::Infallible;
/// #     async fn load(&self, key: &u64) -> Result<Option<u64>, Self::Error> { Ok(Some(key * key)) }
/// # }
///
/// impl BatchSource<u64> for Squares {
///     async fn load_many(&self, keys: &[u64]) -> Result<Vec<Option<u64>>, Self::Error> {
///         Ok(keys.iter().map(|key| key.checked_mul(*key)).collect())
///     }
/// }
/// ```
pub trait BatchSource<K>: Source<K> {
    /// Loads the values of `keys`, in the same order.
    ///
    /// # Errors
    /// The source's own. Then none of the keys is loaded.
    fn load_many(
        &self,
        keys: &[K],
    ) -> impl Future<Output = Result<Vec<Option<Self::Value>>, Self::Error>> + Send;

    /// Loads the values of `keys`, in the same order, if some can fail and others not: the loaded ones are kept.
    /// Default: [`load_many`](Self::load_many).
    ///
    /// # Errors
    /// The outer error is that of all keys, the inner errors are those of single keys.
    fn load_each(
        &self,
        keys: &[K],
    ) -> impl Future<Output = Result<BatchResults<Self::Value, Self::Error>, Self::Error>> + Send
    where
        K: Sync,
    {
        async { Ok(self.load_many(keys).await?.into_iter().map(Ok).collect()) }
    }
}

/// A source that can check if a value has changed since it was loaded, cheaper than by loading it. Examples are an
/// HTTP service with ETags, or a table with versions. Given to
/// [`CacheBuilder::conditional_source`](crate::CacheBuilder::conditional_source).
///
/// # Examples
/// ```
/// use larder::source::{ConditionalSource, KnownValue};
/// use larder::{Loaded, Source};
///
/// struct Pages;
///
/// impl Source<String> for Pages {
///     type Value = String;
///     type Error = std::io::Error;
///     async fn load(&self, path: &String) -> Result<Option<String>, Self::Error> {
///         Ok(Some(format!("the page at {path}")))
///     }
/// }
///
/// impl ConditionalSource<String> for Pages {
///     async fn load_if_modified(&self, path: &String, known: Option<KnownValue<'_, String>>) -> Result<Loaded<String>, Self::Error> {
///         let current = "v7"; // the server's answer to `If-None-Match`
///         if known.and_then(|known| known.validator) == Some(current) {
///             return Ok(Loaded::not_modified());
///         }
///         Ok(Loaded::from(self.load(path).await?).validator(current))
///     }
/// }
/// ```
pub trait ConditionalSource<K>: Source<K> {
    /// Loads the value of `key`, or returns [`Loaded::not_modified`] if the known one is current. The known value
    /// may be expired, and was not invalidated when it was read. Called in place of [`load`](Source::load).
    ///
    /// # Errors
    /// The source's own.
    fn load_if_modified(
        &self,
        key: &K,
        known: Option<KnownValue<'_, Self::Value>>,
    ) -> impl Future<Output = Result<Loaded<Self::Value>, Self::Error>> + Send;
}

/// A cached value that is being reloaded.
///
/// # Examples
/// See [`ConditionalSource`].
#[derive(Debug)]
#[non_exhaustive]
pub struct KnownValue<'a, V> {
    /// The old value.
    pub value: &'a Arc<V>,
    /// The validator that the source returned for that version, by [`Loaded::validator`].
    pub validator: Option<&'a str>,
}

impl<V> Clone for KnownValue<'_, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for KnownValue<'_, V> {}

impl<'a, V> KnownValue<'a, V> {
    pub(crate) fn of(entry: &'a Entry<V>) -> Option<Self> {
        Some(Self { value: entry.value()?, validator: entry.validator() })
    }
}

/// Returns a source made of an async closure over an owned key.
///
/// # Examples
/// ```
/// let squares = larder::source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(key * key)) });
/// # let _ = squares;
/// ```
pub fn source_fn<K, V, E, F, Fut>(load: F) -> SourceFn<F, V, E>
where
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<V>, E>> + Send,
{
    SourceFn { load, loads: PhantomData }
}

/// A source made of a closure, returned by [`source_fn`].
///
/// # Examples
/// See [`source_fn`].
pub struct SourceFn<F, V, E> {
    load: F,
    loads: PhantomData<fn() -> Result<V, E>>,
}

impl<F, V, E> fmt::Debug for SourceFn<F, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFn").finish_non_exhaustive()
    }
}

impl<K, V, E, F, Fut> Source<K> for SourceFn<F, V, E>
where
    K: Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    E: Into<BoxError> + Send + 'static,
    F: Fn(K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<V>, E>> + Send,
{
    type Value = V;
    type Error = E;

    fn load(&self, key: &K) -> impl Future<Output = Result<Option<V>, E>> + Send {
        (self.load)(key.clone())
    }
}

/// The result of a loader with more than the value, such as its own TTL, or that it must not be stored.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::Loaded;
/// let token: Loaded<&str> = Loaded::new("secret").ttl(Duration::from_secs(30));
/// let once: Loaded<&str> = Loaded::new("for this caller").no_store();
/// let none: Loaded<&str> = None.into();
/// # let _ = (token, once, none);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<V> {
    pub(crate) value: Option<Arc<V>>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) store: bool,
    pub(crate) tags: Vec<Tag>,
    pub(crate) validator: Option<Box<str>>,
    pub(crate) modified: bool,
}

impl<V> Loaded<V> {
    /// Returns a loaded value, with the TTL of the strategy.
    ///
    /// # Examples
    /// ```
    /// let loaded: larder::Loaded<u8> = larder::Loaded::new(7);
    /// assert_eq!(loaded, Some(7).into());
    /// ```
    pub fn new(value: V) -> Self {
        Some(value).into()
    }

    /// Returns the known absence of a value. It is cached only with its own TTL or the strategy's
    /// [`negative_ttl`](crate::Strategy::negative_ttl).
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Loaded::<u8>::absent(), None.into());
    /// ```
    #[must_use]
    pub fn absent() -> Self {
        None.into()
    }

    /// Sets the TTL of this value, instead of the strategy's. Zero means [`no_store`](Self::no_store).
    ///
    /// # Examples
    /// ```
    /// let token = larder::Loaded::new("secret").ttl(std::time::Duration::from_secs(30));
    /// # let _ = token;
    /// ```
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Returns the answer that the known value is current: it is kept as if it had been loaded now. For
    /// [`ConditionalSource`]; if no value is known it is an error.
    ///
    /// # Examples
    /// See [`ConditionalSource`].
    #[must_use]
    pub fn not_modified() -> Self {
        Self { modified: false, ..Self::absent() }
    }

    /// Adds tags to those that the strategy derives from the value, and the builder from the key.
    ///
    /// # Examples
    /// ```
    /// use larder::{Loaded, Tag};
    /// let page = Loaded::new("...").tags([Tag::new("author", 7)]);
    /// # let _ = page;
    /// ```
    #[must_use]
    pub fn tags(mut self, tags: impl IntoIterator<Item = Tag>) -> Self {
        self.tags.extend(tags);
        self
    }

    /// Sets the validator by which the source recognizes this version of the value, stored with it: an ETag, a
    /// row's version, a date.
    ///
    /// # Examples
    /// ```
    /// let page = larder::Loaded::new("...").validator("W/\"7\"");
    /// # let _ = page;
    /// ```
    #[must_use]
    pub fn validator(mut self, validator: impl Into<Box<str>>) -> Self {
        self.validator = Some(validator.into());
        self
    }

    /// Returns the value to the callers that wait for it, without storing it.
    ///
    /// # Examples
    /// ```
    /// let once = larder::Loaded::new("for this caller").no_store();
    /// # let _ = once;
    /// ```
    #[must_use]
    pub fn no_store(mut self) -> Self {
        self.store = false;
        self
    }
}

impl<V> From<V> for Loaded<V> {
    fn from(value: V) -> Self {
        Self::new(value)
    }
}

/// Wraps a value that is shared already, without a copy.
impl<V> From<Arc<V>> for Loaded<V> {
    fn from(value: Arc<V>) -> Self {
        Self::shared(Some(value))
    }
}

impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        Self::shared(value.map(Arc::new))
    }
}

impl<V> Loaded<V> {
    pub(crate) fn shared(value: Option<Arc<V>>) -> Self {
        Self { value, ttl: None, store: true, tags: vec![], validator: None, modified: true }
    }
}
