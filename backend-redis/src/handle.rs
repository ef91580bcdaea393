//! The handle for users.

use std::sync::Arc;
use std::time::Duration;

use larder::Result;
use larder::backend::{BackendContext, Breaker, BreakerBackend, Encoded, IntoBackend, Payload};
use larder::key::StoreKey;

use crate::client::Client;
use crate::config::{Pushes, RedisConfig};
use crate::ledger::RedisLedger;
use crate::locks::RedisLocks;
use crate::names::Space;
use crate::plain::Plain;
use crate::server::Server;
use crate::store::RedisStore;

/// A Redis backend for bytes that processes share: add a codec with [`encoded`](Self::encoded). A cheap handle,
/// whose clones share the connection.
///
/// It is wrapped in a [breaker](larder::backend::Breaker), so that a dead server costs one timeout and not one for
/// each read.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use larder::codec::Json;
/// use larder::{Cache, Strategy};
/// use larder_redis::RedisBackend;
///
/// # async fn with() -> larder::Result<()> {
/// let redis = RedisBackend::connect("redis://localhost").await?;
/// let products: Cache<u64, String> = Cache::builder()
///     .namespace("product")
///     .backend(redis.encoded(Json))
///     .strategy(Strategy::aside(Duration::from_secs(600)).locked(redis.locks()))
///     .build()?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RedisBackend {
    pub(crate) server: Arc<Server>,
    strict: bool,
    failures: u32,
    pause: Duration,
}

impl RedisBackend {
    pub(crate) fn over(client: Arc<dyn Client>, pushes: Pushes) -> Self {
        let server = Arc::new(Server::new(client, pushes));
        Self { server, strict: false, failures: 5, pause: Duration::from_secs(1) }
    }

    /// Connects to the server, cluster or sentinels at `url`. [`RedisConfig`] lists the URL forms and has more
    /// settings.
    ///
    /// A server that cannot be reached is no error: the cache works without it, and uses it once it can be reached.
    ///
    /// # Errors
    /// If no retry can help: the URL is invalid, the password is wrong, or the peer is not a Redis of version 6 or
    /// later.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn with() -> larder::Result<()> {
    /// let redis = larder_redis::RedisBackend::connect("redis://:secret@cache.internal:6379/2").await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect(url: impl Into<String>) -> Result<Self> {
        RedisConfig::new(url).connect().await
    }

    /// Returns a backend whose values are encoded by `codec`.
    ///
    /// # Examples
    /// ```no_run
    /// # fn with(redis: larder_redis::RedisBackend) {
    /// let typed = redis.encoded(larder::codec::Json);
    /// # let _ = typed; }
    /// ```
    pub fn encoded<C>(&self, codec: C) -> Encoded<Self, C> {
        Encoded::new(self.clone(), codec)
    }

    /// Returns the server's locks, for [`Strategy::locked`](larder::Strategy::locked).
    ///
    /// # Examples
    /// ```no_run
    /// # fn with(redis: larder_redis::RedisBackend) {
    /// let strategy = larder::Strategy::<String>::aside(std::time::Duration::from_secs(60)).locked(redis.locks());
    /// # let _ = strategy; }
    /// ```
    #[must_use]
    pub fn locks(&self) -> RedisLocks {
        RedisLocks::new(Arc::clone(&self.server))
    }

    /// Returns the tag ledger of a namespace.
    ///
    /// # Examples
    /// ```no_run
    /// # fn with(redis: larder_redis::RedisBackend) {
    /// let ledger = redis.ledger("product");
    /// # let _ = ledger; }
    /// ```
    #[must_use]
    pub fn ledger(&self, namespace: impl Into<String>) -> RedisLedger {
        RedisLedger::new(Arc::clone(&self.server), Space::new(namespace.into()))
    }

    /// Returns a backend for bare values without larder's header, under names of your own. For keys that other
    /// programs also read and write.
    ///
    /// **Unfenced** against the other programs: if another program sends `SET` during a load, the load may
    /// overwrite it with the older value. Among larder's own processes fills are fenced as usual. Absence is not
    /// cached, ages and load costs are not known, and the keys of a namespace cannot be cleared together.
    ///
    /// # Examples
    /// ```no_run
    /// use std::time::Duration;
    /// use larder::codec::Json;
    /// use larder::{Cache, Strategy};
    ///
    /// # fn with(redis: larder_redis::RedisBackend) -> larder::Result<()> {
    /// let sessions: Cache<u64, String> = Cache::builder()
    ///     .namespace("session")
    ///     .backend(redis.plain(Json, |id: &u64| format!("session:{id}")))
    ///     .strategy(Strategy::aside(Duration::from_secs(60)))
    ///     .build()?;
    /// # Ok(()) }
    /// ```
    pub fn plain<K, C, N>(&self, codec: C, name: N) -> Breaker<Plain<C, N>>
    where
        N: Fn(&K) -> String + Send + Sync + 'static,
    {
        self.guarded(Plain::new(Arc::clone(&self.server), codec, name))
    }

    /// Treats entries that another incarnation of the server stored as lost. Another incarnation is a restart from
    /// disk or the promotion of a replica, either of which may restore invalidated entries. Costs one more small
    /// answer for each read. Off by default.
    ///
    /// # Examples
    /// ```no_run
    /// # async fn with() -> larder::Result<()> {
    /// let redis = larder_redis::RedisBackend::connect("redis-sentinel://a:26379,b:26379/cache").await?.strict();
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Sets the number of failures in a row that open the breaker, and the longest time that it stays open before a
    /// try. A timeout opens it at once. Default 5 and 1 s. `build()` refuses zeros.
    ///
    /// # Examples
    /// ```no_run
    /// # fn with(redis: larder_redis::RedisBackend) {
    /// let patient = redis.breaker(20, std::time::Duration::from_secs(5));
    /// # let _ = patient; }
    /// ```
    #[must_use]
    pub fn breaker(mut self, failures: u32, pause: Duration) -> Self {
        self.failures = failures;
        self.pause = pause;
        self
    }

    fn guarded<S>(&self, store: S) -> Breaker<S> {
        Breaker::new(store).failures(self.failures).pause(self.pause)
    }
}

impl IntoBackend<StoreKey, Payload> for RedisBackend {
    type Backend = BreakerBackend<RedisStore>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        let (server, strict) = (Arc::clone(&self.server), self.strict);
        self.guarded(Opening { server, strict }).into_backend(scope)
    }
}

/// A backend without its breaker, before it is opened.
struct Opening {
    server: Arc<Server>,
    strict: bool,
}

impl IntoBackend<StoreKey, Payload> for Opening {
    type Backend = RedisStore;

    fn into_backend(self, scope: &BackendContext) -> Result<RedisStore> {
        Ok(RedisStore::new(self.server, Space::new(scope.shared_namespace()?), self.strict, scope.clone()))
    }
}
