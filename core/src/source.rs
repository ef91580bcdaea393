//! Where values come from when the cache does not have them.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use crate::error::BoxError;

/// The system of record behind a cache: a table, a service, a computation.
///
/// `Ok(None)` means that there is no such thing, which is not an error. A load must read state at least as new as the
/// moment it starts (no lagging replica, no transaction opened before), or the cache cannot promise freshness.
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
    /// What is loaded.
    type Value: Send + Sync + 'static;
    /// The source's own error; callers get it back with [`Error::source_as`](crate::Error::source_as).
    type Error: Into<BoxError> + Send + 'static;

    /// Loads the value of `key`, or `None` when there is none.
    ///
    /// # Errors
    /// The source's own. Errors are given to every caller that waits for this load, and are never cached.
    ///
    /// # Cancellation safety
    /// The load runs on its own task: it is dropped only when it exceeds the load budget or the runtime ends.
    fn load(&self, key: &K) -> impl Future<Output = Result<Option<Self::Value>, Self::Error>> + Send;
}

/// A source that can load many keys at once: one query instead of a hundred.
///
/// # Examples
/// ```
/// use larder::{BatchSource, Source};
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
    /// Loads the values of `keys`, aligned with them.
    ///
    /// # Errors
    /// The source's own; then none of the keys is loaded.
    fn load_many(
        &self,
        keys: &[K],
    ) -> impl Future<Output = Result<Vec<Option<Self::Value>>, Self::Error>> + Send;
}

/// A source made of an async closure over an owned key.
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

/// What [`source_fn`] makes.
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

    async fn load(&self, key: &K) -> Result<Option<V>, E> {
        (self.load)(key.clone()).await
    }
}

/// What a loader returns when it wants to say more than the value: its own TTL, or that it is not to be kept.
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
    pub(crate) value: Option<V>,
    pub(crate) ttl: Option<Duration>,
    pub(crate) store: bool,
}

impl<V> Loaded<V> {
    /// A loaded value, kept as long as the strategy says.
    ///
    /// # Examples
    /// ```
    /// let loaded: larder::Loaded<u8> = larder::Loaded::new(7);
    /// assert_eq!(loaded, Some(7).into());
    /// ```
    pub fn new(value: V) -> Self {
        Self { value: Some(value), ttl: None, store: true }
    }

    /// The knowledge that there is no such thing; kept only with a TTL of its own or the strategy's
    /// [`negative_ttl`](crate::Strategy::negative_ttl).
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::Loaded::<u8>::absent(), None.into());
    /// ```
    #[must_use]
    pub fn absent() -> Self {
        Self { value: None, ttl: None, store: true }
    }

    /// Keeps this value for `ttl` instead of the strategy's TTL. Zero means [`no_store`](Self::no_store).
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

    /// Gives the value to those who wait for it and does not keep it.
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

impl<V> From<Option<V>> for Loaded<V> {
    fn from(value: Option<V>) -> Self {
        Self { value, ttl: None, store: true }
    }
}
