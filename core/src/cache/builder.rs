//! The builder of a cache.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::backend::{BackendContext, CacheBackend as _, Direct, Erased, IntoBackend, Timeout};
use crate::cache::Cache;
use crate::clock::{CacheClock, Clock, SystemClock};
use crate::engine::{Batched, Conditional, DynSource, Engine, Key, Single, Tagging, TagsOf, Value};
use crate::observe::{Observer, Recorder};
use crate::source::{BatchSource, ConditionalSource, Source};
use crate::strategy::Strategy;
use crate::tag::{Tag, TagIndex};
use crate::{Error, Result};

/// The time limit of calls to backends that have none of their own.
const BACKEND_TIMEOUT: Duration = Duration::from_secs(1);

type Open<K, V> = Box<dyn FnOnce(&BackendContext, Option<Duration>) -> Result<Erased<K, V>> + Send>;

/// A builder of a [`Cache`]. Setters may be called in any order, and [`build`](Self::build) checks them.
///
/// # Examples
/// ```
/// # use larder::{Cache, Quick, Result, Strategy, source_fn};
/// # use std::time::Duration;
/// # fn main() -> Result<()> {
/// # let store = Quick::new(10_000);
/// let cache: Cache<u64, String> = Cache::builder()
///     .namespace("user")
///     .backend(store)
///     .source(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(format!("user {id}"))) }))
///     .strategy(Strategy::aside(Duration::from_secs(600)))
///     .build()?;
/// # let _ = cache;
/// # Ok(()) }
/// ```
/// A configuration that cannot work is refused, with a hint:
/// ```
/// # use larder::{Cache, Quick, Strategy};
/// # use std::time::Duration;
/// let refused = Cache::<u64, u64>::builder().backend(Quick::new(10_000)).strategy(Strategy::aside(Duration::ZERO)).build();
/// assert!(refused.unwrap_err().to_string().contains("give at least 1 ms"));
/// ```
pub struct CacheBuilder<K, V> {
    namespace: Option<String>,
    schema: u32,
    open: Option<Open<K, V>>,
    source: Option<Arc<dyn DynSource<K, V>>>,
    strategy: Option<Strategy<V>>,
    key_tags: Option<TagsOf<K>>,
    tag_index: Option<TagIndex<K>>,
    backend_timeout: Option<Duration>,
    observer: Option<Arc<dyn Observer>>,
    clock: CacheClock,
}

impl<K: Key, V: Value> CacheBuilder<K, V> {
    pub(crate) fn new() -> Self {
        Self {
            namespace: None,
            schema: 0,
            open: None,
            source: None,
            strategy: None,
            key_tags: None,
            tag_index: None,
            backend_timeout: None,
            observer: None,
            clock: CacheClock::System(SystemClock::new()),
        }
    }

    /// Sets the name that separates this cache's keys in a shared store: ASCII letters, digits and `-_./:`, at most
    /// 64.
    ///
    /// Required with a shared store. Default: none.
    ///
    /// # Examples
    /// ```
    /// let builder = larder::Cache::<u64, u64>::builder().namespace("square");
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn namespace(mut self, name: impl Into<String>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// Sets the version of the value type in a shared store. Raise it when the type changes.
    ///
    /// Versions do not see each other's entries, so that old and new processes can run side by side. Default: 0.
    ///
    /// # Examples
    /// ```
    /// let builder = larder::Cache::<u64, u64>::builder().namespace("square").schema(2);
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn schema(mut self, schema: u32) -> Self {
        self.schema = schema;
        self
    }

    /// Sets the backend, which keeps the entries. Required.
    ///
    /// # Examples
    /// ```
    /// use larder::Quick;
    /// let builder = larder::Cache::<u64, u64>::builder().backend(Quick::new(10_000));
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn backend<B>(mut self, backend: B) -> Self
    where
        B: IntoBackend<K, V> + Send + 'static,
    {
        self.open = Some(Box::new(|scope, limit| {
            let backend = backend.into_backend(scope)?;
            let limit = match limit {
                None if backend.is_bounded() => return Ok(Erased::new(backend)),
                limit => limit.unwrap_or(BACKEND_TIMEOUT),
            };
            Ok(Erased::new(Timeout::new(Direct(backend), limit).into_backend(scope)?))
        }));
        self
    }

    /// Sets the source, which loads values one at a time. Without a source, only [`Cache::get_or_load`] loads.
    ///
    /// # Examples
    /// ```
    /// let builder = larder::Cache::<u64, u64>::builder()
    ///     .source(larder::source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(key * key)) }));
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn source<S: Source<K, Value = V>>(mut self, source: S) -> Self {
        self.source = Some(Arc::new(Single(source)));
        self
    }

    /// Sets a source that loads one or many values at a time. [`Cache::get_many`] then loads missing values with
    /// one call.
    ///
    /// # Examples
    /// ```
    /// struct Squares;
    /// # impl larder::Source<u64> for Squares {
    /// #     type Value = u64;
    /// #     type Error = std::convert::Infallible;
    /// #     async fn load(&self, key: &u64) -> Result<Option<u64>, Self::Error> { Ok(Some(key * key)) }
    /// # }
    /// impl larder::source::BatchSource<u64> for Squares {
    ///     async fn load_many(&self, keys: &[u64]) -> Result<Vec<Option<u64>>, Self::Error> {
    ///         Ok(keys.iter().map(|key| key.checked_mul(*key)).collect())
    ///     }
    /// }
    /// let builder = larder::Cache::<u64, u64>::builder().batch_source(Squares);
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn batch_source<S: BatchSource<K, Value = V>>(mut self, source: S) -> Self {
        self.source = Some(Arc::new(Batched(source)));
        self
    }

    /// Sets a source that can check if a value has changed, at a lower cost than loading it.
    ///
    /// # Examples
    /// See [`ConditionalSource`].
    #[must_use]
    pub fn conditional_source<S: ConditionalSource<K, Value = V>>(mut self, source: S) -> Self {
        self.source = Some(Arc::new(Conditional(source)));
        self
    }

    /// Derives tags from each key, in addition to those that the strategy derives from the value: see
    /// [`Strategy::tagged`](crate::Strategy::tagged).
    ///
    /// # Examples
    /// ```
    /// use larder::{Cache, Tag};
    /// // a key of tenant and product
    /// let builder = Cache::<(u64, u64), String>::builder().tag_keys(|(tenant, _)| [Tag::new("tenant", *tenant)]);
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn tag_keys<T: IntoIterator<Item = Tag>>(
        mut self,
        tags: impl Fn(&K) -> T + Send + Sync + 'static,
    ) -> Self {
        self.key_tags = Some(Arc::new(move |key| tags(key).into_iter().collect()));
        self
    }

    /// Keeps an approximate index of the entries of each tag. Default: none.
    ///
    /// # Examples
    /// See [`TagIndex`].
    #[must_use]
    pub fn tag_index(mut self, index: TagIndex<K>) -> Self {
        self.tag_index = Some(index);
        self
    }

    /// Sets the strategy: the TTL, and the handling of misses and failures. Required.
    ///
    /// # Examples
    /// ```
    /// let builder = larder::Cache::<u64, u64>::builder().strategy(larder::Strategy::aside(std::time::Duration::from_secs(60)));
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy<V>) -> Self {
        self.strategy = Some(strategy);
        self
    }

    /// Sets the maximum time for a call to the whole backend, after which the cache falls back to the source.
    ///
    /// Default: 1 s. Backends with a limit of their own get no other by default: Redis' command timeout, a store in
    /// memory. To limit one tier of two, decorate it with [`Timeout`].
    ///
    /// # Examples
    /// ```
    /// let builder = larder::Cache::<u64, u64>::builder().backend_timeout(std::time::Duration::from_millis(250));
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn backend_timeout(mut self, limit: Duration) -> Self {
        self.backend_timeout = Some(limit);
        self
    }

    /// Sets the observer of all events, in addition to the built-in [`Stats`](crate::Stats). Default: none.
    ///
    /// # Examples
    /// ```
    /// #[derive(Debug)]
    /// struct Console;
    /// impl larder::observe::Observer for Console {
    ///     fn on_event(&self, event: &larder::observe::Event<'_>) {
    ///         println!("{event:?}");
    ///     }
    /// }
    /// let builder = larder::Cache::<u64, u64>::builder().observer(Console);
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Sets the clock. Default: [`SystemClock`]. Tests use a [`ManualClock`](crate::clock::ManualClock).
    ///
    /// # Examples
    /// ```
    /// let builder = larder::Cache::<u64, u64>::builder().clock(larder::clock::ManualClock::new());
    /// # let _ = builder;
    /// ```
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = CacheClock::Given(Arc::new(clock));
        self
    }

    /// Builds the cache.
    ///
    /// # Errors
    /// [`Config`](crate::ErrorKind::Config) if a required part is missing or a value cannot work. The message says
    /// what to write instead.
    ///
    /// # Examples
    /// ```
    /// let error = larder::Cache::<u64, u64>::builder().build().unwrap_err();
    /// assert!(error.to_string().contains("`.backend(Quick::new(10_000))`"));
    /// ```
    pub fn build(self) -> Result<Cache<K, V>> {
        let Self {
            namespace,
            schema,
            open,
            source,
            strategy,
            key_tags,
            tag_index,
            backend_timeout,
            observer,
            clock,
        } = self;
        let missing = |mend: &str| Error::config(format!("a part is missing: {mend}"));
        let open =
            open.ok_or_else(|| missing("where to keep entries, such as `.backend(Quick::new(10_000))`"))?;
        let strategy = strategy
            .ok_or_else(|| missing("how long to keep them, such as `.strategy(Strategy::aside(ttl))`"))?;
        strategy.check()?;
        if strategy.settings.gather().is_some() && !source.as_ref().is_some_and(|source| source.is_batched())
        {
            return Err(Error::config(
                "`gather` loads many keys at once: give the source with `.batch_source(..)`, or leave `gather` out",
            ));
        }
        if let Some(source) = &source {
            source.check_dyn()?;
        }
        let recorder = Arc::new(Recorder::new(observer));
        let scope = match &namespace {
            Some(name) => BackendContext::new(name)?,
            None => BackendContext::unnamed(),
        };
        let scope = scope.with_schema(schema).recording(Arc::clone(&recorder)).sharing(clock.clone());
        let backend = open(&scope, backend_timeout)?;
        Ok(Cache::from_engine(Engine::new(
            backend,
            source,
            strategy,
            Tagging { of_keys: key_tags, index: tag_index },
            clock,
            recorder,
        )))
    }
}

impl<K, V> fmt::Debug for CacheBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}
