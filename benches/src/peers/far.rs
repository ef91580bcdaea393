//! Caches in Redis, read by their own API; every value is one of 200 bytes, decoded.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use fred::interfaces::{ClientLike as _, KeysInterface as _};
use larder::codec::Postcard;
use larder::{Cache, Strategy, source_fn};
use larder_redis::RedisBackend;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;

use crate::load::{Value, value};

const TTL: Duration = Duration::from_secs(3_600);

/// One cache, shared by all tasks: each has a handle of its own.
pub trait Far: Clone + Send + Sync + 'static {
    fn set(&mut self, key: u64) -> impl Future<Output = ()> + Send;
    fn get(&mut self, key: u64) -> impl Future<Output = Option<Value>> + Send;
}

/// A bare client as it is mostly used: `GET` and `SET` of a string.
#[derive(Clone)]
pub struct RedisRs(pub MultiplexedConnection);

pub async fn redis_rs(url: &str) -> RedisRs {
    let client = redis::Client::open(url).expect("an address");
    RedisRs(client.get_multiplexed_async_connection().await.expect("the server answers"))
}

pub fn bare_key(key: u64) -> String {
    format!("bare:{key}")
}

impl Far for RedisRs {
    async fn set(&mut self, key: u64) {
        self.0
            .set_ex::<_, _, ()>(bare_key(key), value(key), TTL.as_secs())
            .await
            .expect("the server answers");
    }
    async fn get(&mut self, key: u64) -> Option<Value> {
        self.0.get(bare_key(key)).await.expect("the server answers")
    }
}

#[derive(Clone)]
pub struct Fred(pub fred::clients::Client);

pub async fn fred(url: &str) -> Fred {
    let config = fred::types::config::Config::from_url(url).expect("an address");
    let client = fred::types::Builder::from_config(config).build().expect("a client");
    client.init().await.expect("the server answers");
    Fred(client)
}

impl Far for Fred {
    async fn set(&mut self, key: u64) {
        let life = Some(fred::types::Expiration::EX(3_600));
        self.0
            .set::<(), _, _>(bare_key(key), value(key), life, None, false)
            .await
            .expect("the server answers");
    }
    async fn get(&mut self, key: u64) -> Option<Value> {
        self.0.get(bare_key(key)).await.expect("the server answers")
    }
}

#[derive(Clone)]
pub struct Larder(pub Cache<u64, Value>);

/// With a source that answers at once.
pub fn larder_over(redis: &RedisBackend, namespace: &str) -> Larder {
    let source = source_fn(|key: u64| async move { Ok::<_, Infallible>(Some(value(key))) });
    let built = Cache::builder()
        .namespace(namespace)
        .backend(redis.encoded(Postcard))
        .source(source)
        .strategy(Strategy::aside(TTL))
        .build();
    Larder(built.expect("the parts fit together"))
}

pub async fn larder_redis_rs(url: &str) -> Larder {
    larder_over(&RedisBackend::connect(url).await.expect("an address"), "redis-rs")
}

pub async fn larder_fred(url: &str) -> Larder {
    larder_over(&larder_redis::RedisConfig::new(url).fred().connect().await.expect("an address"), "fred")
}

impl Far for Larder {
    async fn set(&mut self, key: u64) {
        self.0.insert(&key, value(key)).await.expect("the server answers");
    }
    async fn get(&mut self, key: u64) -> Option<Value> {
        // what comes out is shared; a copy is not needed
        self.0
            .get(&key)
            .await
            .expect("the server answers")
            .map(|value| Arc::try_unwrap(value).unwrap_or_default())
    }
}

#[derive(Clone)]
pub struct Cached(Arc<cached::AsyncRedisCache<u64, Value>>);

pub async fn cached(url: &str) -> Cached {
    let builder = cached::AsyncRedisCache::builder("cached").connection_string(url).ttl(TTL);
    Cached(Arc::new(builder.build().await.expect("the server answers")))
}

impl Far for Cached {
    async fn set(&mut self, key: u64) {
        use cached::ConcurrentCachedAsync as _;
        self.0.async_cache_set(key, value(key)).await.expect("the server answers");
    }
    async fn get(&mut self, key: u64) -> Option<Value> {
        use cached::ConcurrentCachedAsync as _;
        self.0.async_cache_get(&key).await.expect("the server answers")
    }
}

/// By its backend: what its middleware does for every call, without the middleware.
#[derive(Clone)]
pub struct Hitbox(Arc<hitbox_redis::RedisBackend>);

pub fn hitbox(url: &str) -> Hitbox {
    let mode = hitbox_redis::ConnectionMode::single(url);
    Hitbox(Arc::new(hitbox_redis::RedisBackend::builder().connection(mode).build().expect("an address")))
}

fn hitbox_key(key: u64) -> hitbox_core::CacheKey {
    hitbox_core::CacheKey::from_str("product", &key.to_string())
}

impl Far for Hitbox {
    async fn set(&mut self, key: u64) {
        use hitbox_backend::CacheBackend as _;
        let mut context = hitbox_core::CacheContext::default().boxed();
        let value = hitbox_core::CacheValue::new(value(key), Some(chrono::Utc::now() + TTL), None);
        self.0.set::<Value>(&hitbox_key(key), &value, &mut context).await.expect("the server answers");
    }
    async fn get(&mut self, key: u64) -> Option<Value> {
        use hitbox_backend::CacheBackend as _;
        let mut context = hitbox_core::CacheContext::default().boxed();
        let found = self.0.get::<Value>(&hitbox_key(key), &mut context).await.expect("the server answers");
        found.map(hitbox_core::CacheValue::into_inner)
    }
}

/// With its Redis tier alone.
#[derive(Clone)]
pub struct MultiTier(Arc<multi_tier_cache::CacheManager>);

pub async fn multi_tier(url: &str) -> MultiTier {
    let redis = multi_tier_cache::L2Cache::with_url(url).await.expect("the server answers");
    let tier = multi_tier_cache::CacheTier::new(Arc::new(redis), 1, false, 1, 1.0);
    MultiTier(Arc::new(multi_tier_cache::CacheManager::new_with_tiers(vec![tier], None).expect("one tier")))
}

impl Far for MultiTier {
    async fn set(&mut self, key: u64) {
        let strategy = multi_tier_cache::CacheStrategy::Custom(TTL);
        let key_text = format!("multi:{key}");
        self.0.set_with_strategy(&key_text, value(key).into(), strategy).await.expect("the server answers");
    }
    async fn get(&mut self, key: u64) -> Option<Value> {
        let found = self.0.get(&format!("multi:{key}")).await.expect("the server answers")?;
        String::from_utf8(found.into()).ok()
    }
}

/// With its memory passed over.
#[derive(Clone)]
pub struct Amalgam(amalgam::Cache<Value>);

pub async fn amalgam(url: &str) -> Amalgam {
    let redis = amalgam::provider::RedisDistributedCache::connect(url).await.expect("the server answers");
    let built = amalgam::Cache::builder()
        .distributed(Arc::new(redis))
        .serializer(Arc::new(amalgam::provider::PostcardSerializer))
        .default_options(amalgam::EntryOptions::new(TTL).with_skip_memory(true, true))
        .try_build();
    Amalgam(built.expect("the parts fit together"))
}

impl Far for Amalgam {
    async fn set(&mut self, key: u64) {
        self.0.set(key.to_string(), value(key)).await.expect("the server answers");
    }
    async fn get(&mut self, key: u64) -> Option<Value> {
        self.0.try_get(key.to_string()).await.expect("the server answers")
    }
}
