//! Whole caches beside a source: they load what is missing, and writers invalidate.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::backend::IntoBackend;
use larder::codec::Postcard;
use larder::{Cache, Quick, Strategy, Tiered};
use larder_redis::RedisBackend;
use redis::AsyncCommands as _;

use super::far::{RedisRs, bare_key, redis_rs};
use crate::load::Value;

const TTL: Duration = Duration::from_secs(3_600);
const NEAR: u64 = 20_000;

type Loading = Pin<Box<dyn Future<Output = Value> + Send>>;

/// The source of the values; counts its loads.
#[derive(Clone)]
pub struct Source {
    load: Arc<dyn Fn(u64) -> Loading + Send + Sync>,
    loads: Arc<AtomicU64>,
}

impl Source {
    pub fn new<F: Future<Output = Value> + Send + 'static>(
        load: impl Fn(u64) -> F + Send + Sync + 'static,
    ) -> Self {
        Self { load: Arc::new(move |key| Box::pin(load(key))), loads: Arc::default() }
    }

    pub async fn load(self, key: u64) -> Value {
        self.loads.fetch_add(1, Ordering::Relaxed);
        (self.load)(key).await
    }

    pub fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }
}

/// A cache beside a source.
pub trait Whole: Clone + Send + Sync + 'static {
    /// From the cache, or loaded and kept.
    fn get(&self, key: u64) -> impl Future<Output = Value> + Send;
    /// After a write.
    fn invalidate(&self, key: u64) -> impl Future<Output = ()> + Send;
}

/// `GET`, load, `SET`, and `DEL` after a write: what is mostly written.
#[derive(Clone)]
pub struct ByHand {
    redis: RedisRs,
    source: Source,
}

pub async fn by_hand(url: &str, source: Source) -> ByHand {
    ByHand { redis: redis_rs(url).await, source }
}

impl ByHand {
    async fn far(&self, key: u64) -> Value {
        let mut redis = self.redis.0.clone();
        let found: Option<Value> = redis.get(bare_key(key)).await.expect("the server answers");
        if let Some(found) = found {
            return found;
        }
        let value = self.source.clone().load(key).await;
        redis.set_ex::<_, _, ()>(bare_key(key), &value, TTL.as_secs()).await.expect("the server answers");
        value
    }
}

impl Whole for ByHand {
    async fn get(&self, key: u64) -> Value {
        self.far(key).await
    }
    async fn invalidate(&self, key: u64) {
        self.redis.0.clone().del::<_, ()>(bare_key(key)).await.expect("the server answers");
    }
}

/// The same behind moka for a second: what is added when Redis is asked too often.
#[derive(Clone)]
pub struct MokaByHand {
    near: moka::future::Cache<u64, Arc<Value>>,
    far: ByHand,
}

pub async fn moka_by_hand(url: &str, source: Source) -> MokaByHand {
    let near = moka::future::Cache::builder().max_capacity(NEAR).time_to_live(Duration::from_secs(1)).build();
    MokaByHand { near, far: by_hand(url, source).await }
}

impl Whole for MokaByHand {
    async fn get(&self, key: u64) -> Value {
        self.near.get_with(key, async { Arc::new(self.far.far(key).await) }).await.as_ref().clone()
    }
    async fn invalidate(&self, key: u64) {
        self.far.invalidate(key).await;
        self.near.invalidate(&key).await;
    }
}

#[derive(Clone)]
pub struct Larder {
    cache: Cache<u64, Value>,
    source: Source,
}

fn larder(
    backend: impl IntoBackend<u64, Value> + Send + 'static,
    source: Source,
    strategy: Strategy<Value>,
) -> Larder {
    let built = Cache::builder().namespace("bench").backend(backend).strategy(strategy).build();
    Larder { cache: built.expect("the parts fit together"), source }
}

pub async fn larder_far(url: &str, source: Source) -> Larder {
    let redis = RedisBackend::connect(url).await.expect("an address");
    larder(redis.encoded(Postcard), source, Strategy::aside(TTL))
}

pub async fn larder_locked(url: &str, source: Source) -> Larder {
    let redis = RedisBackend::connect(url).await.expect("an address");
    let locks = redis.locks();
    larder(redis.encoded(Postcard), source, Strategy::aside(TTL).locked(locks))
}

pub async fn larder_limited(url: &str, source: Source) -> Larder {
    let redis = RedisBackend::connect(url).await.expect("an address");
    // as many as the source can take, and a queue: who comes later is told so, and asks again
    let strategy = Strategy::aside(TTL).max_concurrent_loads(8).max_queued_loads(256);
    larder(redis.encoded(Postcard), source, strategy)
}

pub async fn larder_tiered(url: &str, source: Source) -> Larder {
    let redis = RedisBackend::connect(url).await.expect("an address");
    larder(Tiered::new(Quick::new(NEAR), redis.encoded(Postcard)), source, Strategy::aside(TTL))
}

impl Whole for Larder {
    async fn get(&self, key: u64) -> Value {
        loop {
            let source = self.source.clone();
            let load = move || async move { Ok::<_, Infallible>(source.load(key).await) };
            match self.cache.get_or_load(&key, load).await {
                Ok(value) => return value.map(|value| value.as_ref().clone()).unwrap_or_default(),
                Err(error) if error.is_transient() => tokio::time::sleep(Duration::from_millis(2)).await,
                Err(error) => panic!("{error}"),
            }
        }
    }
    async fn invalidate(&self, key: u64) {
        self.cache.invalidate(&key).await.expect("the server answers");
    }
}

#[derive(Clone)]
pub struct MultiTier {
    cache: Arc<multi_tier_cache::CacheManager>,
    source: Source,
}

/// Two tiers, invalidated over pub/sub.
pub async fn multi_tier(url: &str, source: Source) -> MultiTier {
    let config =
        multi_tier_cache::MokaCacheConfig { max_capacity: NEAR, time_to_live: TTL, time_to_idle: TTL };
    let near = Arc::new(multi_tier_cache::L1Cache::new(config).expect("it is in memory"));
    let far = Arc::new(multi_tier_cache::L2Cache::with_url(url).await.expect("the server answers"));
    let told = multi_tier_cache::InvalidationConfig::default();
    let cache = multi_tier_cache::CacheManager::new_with_invalidation(near, far, url, told).await;
    MultiTier { cache: Arc::new(cache.expect("the server answers")), source }
}

/// Its Redis tier alone.
pub async fn multi_tier_far(url: &str, source: Source) -> MultiTier {
    let redis = multi_tier_cache::L2Cache::with_url(url).await.expect("the server answers");
    let tier = multi_tier_cache::CacheTier::new(Arc::new(redis), 1, false, 1, 1.0);
    let cache = multi_tier_cache::CacheManager::new_with_tiers(vec![tier], None).expect("one tier");
    MultiTier { cache: Arc::new(cache), source }
}

impl Whole for MultiTier {
    async fn get(&self, key: u64) -> Value {
        let load = || async { Ok(self.source.clone().load(key).await) };
        let strategy = multi_tier_cache::CacheStrategy::Custom(TTL);
        self.cache.get_or_compute_typed(&format!("multi:{key}"), strategy, load).await.expect("it loads")
    }
    async fn invalidate(&self, key: u64) {
        let name = format!("multi:{key}");
        self.cache.invalidate(&name).await.expect("the server answers");
    }
}

#[derive(Clone)]
pub struct Amalgam {
    cache: amalgam::Cache<Value>,
    source: Source,
}

async fn amalgam(url: &str, source: Source, options: amalgam::EntryOptions) -> Amalgam {
    use amalgam::provider::{
        PostcardSerializer, RedisBackplane, RedisDistributedCache, RedisDistributedLocker,
    };
    let redis = RedisDistributedCache::connect(url).await.expect("the server answers");
    let told = RedisBackplane::connect(url.to_owned()).await.expect("the server answers");
    let locker = RedisDistributedLocker::connect(url.to_owned()).await.expect("the server answers");
    let built = amalgam::Cache::builder()
        .distributed(Arc::new(redis))
        .serializer(Arc::new(PostcardSerializer))
        .backplane(Arc::new(told))
        .distributed_locker(Arc::new(locker))
        .max_capacity(NEAR)
        .default_options(options)
        .try_build();
    Amalgam { cache: built.expect("the parts fit together"), source }
}

/// Memory and Redis with its backplane and locker.
pub async fn amalgam_tiered(url: &str, source: Source) -> Amalgam {
    amalgam(url, source, amalgam::EntryOptions::new(TTL)).await
}

pub async fn amalgam_far(url: &str, source: Source) -> Amalgam {
    amalgam(url, source, amalgam::EntryOptions::new(TTL).with_skip_memory(true, true)).await
}

impl Whole for Amalgam {
    async fn get(&self, key: u64) -> Value {
        let source = self.source.clone();
        let load = move |_| async move { Ok::<_, Infallible>(source.load(key).await) };
        self.cache.get_or_set(key.to_string(), load).await.expect("it loads")
    }
    async fn invalidate(&self, key: u64) {
        self.cache.remove(key.to_string()).await.expect("the server answers");
    }
}
