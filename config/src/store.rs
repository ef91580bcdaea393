//! An open store, for any keys and values.

use std::fmt;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use larder::backend::{BackendContext, Direct, Erased, IntoBackend, Timeout};
#[cfg(any(feature = "memory", feature = "redis"))]
use larder::backend::{Encoded, Payload};
use larder::key::StoreKey;
use larder::{CacheKey, Result, Tiered};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::config::StoreConfig;
#[cfg(any(feature = "memory", feature = "redis"))]
use crate::kind::Bytes;
use crate::kind::{Kind, Library, Local, Tiers};
use crate::locks::{self, StoreLocks};

/// An open store, for `.backend(..)` of any number of caches. A cheap handle; clones share the connection.
///
/// Caches of one store need namespaces, even if a store in the process would not, so that a program works with any
/// line. Keys have [`CacheKey`], values serde's traits.
///
/// # Examples
/// See [`StoreConfig::connect`].
#[derive(Clone)]
pub struct Store {
    opened: Opened,
    locks: StoreLocks,
    config: Arc<StoreConfig>,
}

#[derive(Clone)]
enum Opened {
    Local(Local),
    #[cfg(feature = "memory")]
    Memory(larder_memory::Memory, Settings),
    #[cfg(feature = "redis")]
    Redis(larder_redis::RedisBackend, Settings),
    Tiered(Box<Pair>),
}

#[derive(Clone)]
struct Pair {
    near: Local,
    far: Opened,
    bound: Option<Duration>,
    near_ttl: Option<Duration>,
}

/// The options for the bytes of a store.
#[cfg(any(feature = "memory", feature = "redis"))]
#[derive(Clone)]
struct Settings {
    bytes: Bytes,
    #[cfg(feature = "encryption")]
    keys: Option<larder_codecs::KeyRing>,
}

impl Store {
    pub(crate) async fn open(config: &StoreConfig) -> Result<Self> {
        let (opened, locks) = Box::pin(open(&config.0)).await?;
        Ok(Self { opened, locks, config: Arc::new(config.clone()) })
    }

    /// Returns the locks of the store, for [`Strategy::locked`](larder::Strategy::locked): those of the server that
    /// processes share, or of this process if there is none. A cache over a store of this process alone has one
    /// leader for each key anyway, and requests no lock.
    ///
    /// # Examples
    /// See [`StoreConfig::connect`].
    #[must_use]
    pub fn locks(&self) -> StoreLocks {
        self.locks.clone()
    }

    /// Returns the configuration with which it was opened.
    ///
    /// # Examples
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// let store = "quick://".parse::<larder_config::StoreConfig>()?.connect().await?;
    /// assert_eq!(store.config().to_string(), "quick://?max=10000");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({})", self.config)
    }
}

async fn open(kind: &Kind) -> Result<(Opened, StoreLocks)> {
    Ok(match kind {
        Kind::Local(local) => (Opened::Local(local.clone()), StoreLocks::new(locks::Local::default())),
        #[cfg(feature = "memory")]
        Kind::Memory(memory) => {
            let handle = crate::memory::connect(memory);
            let locks = StoreLocks::new(handle.locks());
            (Opened::Memory(handle, Settings::read(&memory.bytes)?), locks)
        }
        #[cfg(feature = "redis")]
        Kind::Redis(redis) => {
            let settings = Settings::read(&redis.bytes)?;
            let handle = crate::redis::connect(redis).await?;
            let locks = StoreLocks::new(handle.locks());
            (Opened::Redis(handle, settings), locks)
        }
        Kind::Tiered(tiers) => {
            let Tiers { near, far, bound, near_ttl } = &**tiers;
            let (far, locks) = Box::pin(open(far)).await?;
            let pair = Pair { near: near.clone(), far, bound: *bound, near_ttl: *near_ttl };
            (Opened::Tiered(Box::new(pair)), locks)
        }
        #[allow(unreachable_patterns, reason = "which stores are left depends on the features")]
        off => return Err(larder::Error::config(format!("{off} is not compiled in"))),
    })
}

#[cfg(any(feature = "memory", feature = "redis"))]
impl Settings {
    fn read(bytes: &Bytes) -> Result<Self> {
        Ok(Self {
            bytes: bytes.clone(),
            #[cfg(feature = "encryption")]
            keys: bytes.keys_env.as_deref().map(keys).transpose()?,
        })
    }

    /// Wraps `store` with the options for its bytes.
    fn over<K, V, S>(self, store: S, scope: &BackendContext) -> Result<Erased<K, V>>
    where
        K: CacheKey + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
        S: IntoBackend<StoreKey, Payload>,
    {
        let scope = match &self.bytes.prefix {
            Some(prefix) => &scope.prefixed(prefix)?,
            None => scope,
        };
        #[cfg(feature = "encryption")]
        if let Some(keys) = self.keys {
            return typed(larder_codecs::Encrypted::new(store, keys), &self.bytes, scope);
        }
        typed(store, &self.bytes, scope)
    }
}

#[cfg(feature = "encryption")]
fn keys(name: &str) -> Result<larder_codecs::KeyRing> {
    let named = |error: larder::Error| {
        larder::Error::config(format!(
            "the environment variable {name}, which `keys_env` names, holds no keys"
        ))
        .with_source(error)
    };
    let text = std::env::var(name).map_err(|cause| named(larder::Error::config(cause.to_string())))?;
    larder_codecs::KeyRing::parse(&text).map_err(named)
}

#[cfg(any(feature = "memory", feature = "redis"))]
fn typed<K, V, S>(store: S, bytes: &Bytes, scope: &BackendContext) -> Result<Erased<K, V>>
where
    K: CacheKey + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
    S: IntoBackend<StoreKey, Payload>,
{
    fn sized<S, C>(encoded: Encoded<S, C>, bytes: &Bytes) -> Encoded<S, C> {
        match bytes.max_bytes {
            Some(size) => encoded.max_bytes(size.0),
            None => encoded,
        }
    }
    let codec = bytes.codec;
    Ok(match bytes.compression {
        None => erased(sized(Encoded::new(store, codec), bytes), scope)?,
        #[cfg(feature = "zstd")]
        Some(crate::kind::Compression::Zstd) => {
            let codec = larder_codecs::Compressed::zstd(codec);
            erased(sized(Encoded::new(store, codec), bytes), scope)?
        }
        #[cfg(feature = "lz4")]
        Some(crate::kind::Compression::Lz4) => {
            let codec = larder_codecs::Compressed::lz4(codec);
            erased(sized(Encoded::new(store, codec), bytes), scope)?
        }
        #[allow(unreachable_patterns, reason = "which are left depends on the features")]
        Some(off) => return Err(crate::words::Word::off(off)),
    })
}

fn erased<K, V, S>(store: S, scope: &BackendContext) -> Result<Erased<K, V>>
where
    K: Sync + 'static,
    V: Send + Sync + 'static,
    S: IntoBackend<K, V>,
{
    Ok(Erased::new(store.into_backend(scope)?))
}

impl Opened {
    fn erased<K, V>(self, scope: &BackendContext) -> Result<Erased<K, V>>
    where
        K: CacheKey + Hash + Eq + Clone + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        Ok(match self {
            #[cfg(feature = "quick")]
            Self::Local(Local { library: Library::Quick, max, .. }) => {
                erased(larder::Quick::new(max), scope)?
            }
            #[cfg(feature = "moka")]
            Self::Local(local @ Local { library: Library::Moka, .. }) => erased(moka(&local), scope)?,
            #[cfg(feature = "memory")]
            Self::Memory(memory, settings) => match settings.bytes.timeout {
                Some(timeout) => {
                    let backend = settings.over(memory, scope)?;
                    erased(Timeout::new(Direct(backend), timeout), scope)?
                }
                None => settings.over(memory, scope)?,
            },
            #[cfg(feature = "redis")]
            Self::Redis(redis, settings) => settings.over(redis, scope)?,
            Self::Tiered(pair) => pair.erased(scope)?,
            #[allow(unreachable_patterns, reason = "which stores are left depends on the features")]
            _ => return Err(larder::Error::config("the store is not compiled in")),
        })
    }
}

impl Pair {
    /// Erases the type of both tiers together. The near tier keeps its own type, so that a hit takes one dynamic
    /// call, as without configuration.
    fn erased<K, V>(self, scope: &BackendContext) -> Result<Erased<K, V>>
    where
        K: CacheKey + Hash + Eq + Clone + Send + Sync + 'static,
        V: Serialize + DeserializeOwned + Send + Sync + 'static,
    {
        let far: Erased<K, V> = self.far.erased(scope)?;
        match self.near.library {
            #[cfg(feature = "quick")]
            Library::Quick => {
                before(larder::Quick::new(self.near.max), far, self.bound, self.near_ttl, scope)
            }
            #[cfg(feature = "moka")]
            Library::Moka => before(moka(&self.near), far, self.bound, self.near_ttl, scope),
            #[allow(unreachable_patterns, reason = "which are left depends on the features")]
            _ => Err(larder::Error::config("the near tier is not compiled in")),
        }
    }
}

#[cfg(feature = "moka")]
fn moka(local: &Local) -> larder_moka::Moka {
    let moka = larder_moka::Moka::new(local.max);
    if local.frees_expired { moka.frees_expired() } else { moka }
}

fn before<K, V, N>(
    near: N,
    far: Erased<K, V>,
    bound: Option<Duration>,
    near_ttl: Option<Duration>,
    scope: &BackendContext,
) -> Result<Erased<K, V>>
where
    K: Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    N: IntoBackend<K, V>,
{
    let mut tiers = Tiered::new(near, far);
    if let Some(bound) = bound {
        tiers = tiers.max_staleness(bound);
    }
    if let Some(near_ttl) = near_ttl {
        tiers = tiers.near_ttl(near_ttl);
    }
    erased(tiers, scope)
}

impl<K, V> IntoBackend<K, V> for Store
where
    K: CacheKey + Hash + Eq + Clone + Send + Sync + 'static,
    V: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    type Backend = Erased<K, V>;

    fn into_backend(self, scope: &BackendContext) -> Result<Erased<K, V>> {
        // a store of this process needs no namespace; the store of another line does
        scope.shared_namespace()?;
        self.opened.erased(scope)
    }
}
