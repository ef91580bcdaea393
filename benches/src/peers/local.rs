//! Caches in this process, filled and read by their own API.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use larder::Quick;
use larder::backend::IntoBackend;
use larder::{Cache, Strategy, source_fn};
use larder_moka::Moka;

use crate::load::{Key, Value, value};
use crate::measure::block_on;

const TTL: Duration = Duration::from_secs(3_600);

/// One cache, as its user would call it.
pub trait Local<K>: Send + Sync {
    fn fill(&self, keys: &[K]);
    /// Reads all keys, says how many it found.
    fn read(&self, keys: &[K]) -> usize;
    /// Reads keys that are not there, and so loads and keeps them: from a source that answers at once.
    fn load(&self, keys: &[K]);
}

pub struct Peer<K> {
    pub name: &'static str,
    pub build: fn(u64) -> Box<dyn Local<K>>,
}

/// The bare stores, larder over them, and the others.
pub fn all<K: Key>() -> Vec<Peer<K>> {
    let peer = |name, build| Peer { name, build };
    vec![
        peer("quick_cache", |capacity| Box::new(BareQuick::new(capacity))),
        peer("larder over quick_cache", |capacity| Box::new(larder(Quick::new(capacity)))),
        peer("moka (sync)", |capacity| Box::new(BareMoka::new(capacity))),
        peer("larder over moka", |capacity| Box::new(larder(Moka::new(capacity)))),
        peer("moka (future)", |capacity| Box::new(FutureMoka::new(capacity))),
        peer("cached", |capacity| Box::new(Cached::new(capacity))),
        peer("foyer-memory", |capacity| Box::new(Foyer::new(capacity))),
        peer("cachet", |capacity| Box::new(Cachet::new(capacity))),
        peer("amalgam-cache", |capacity| Box::new(Amalgam::new(capacity))),
        peer("multi-tier-cache", |capacity| Box::new(MultiTier::new(capacity))),
        peer("hitbox over moka", |capacity| Box::new(Hitbox::new(capacity))),
        peer("oxcache", |capacity| Box::new(Oxcache::new(capacity))),
    ]
}

/// Counts those of `$keys` for which `$read` returns `Some`; `$read` may await.
macro_rules! count {
    ($keys:expr, |$key:ident| $read:expr) => {{
        let mut found = 0;
        for $key in $keys {
            found += usize::from(black_box($read).is_some());
        }
        found
    }};
}

/// Does something for each of `$keys`; it may await.
macro_rules! each {
    ($keys:expr, |$key:ident| $act:expr) => {
        for $key in $keys {
            _ = black_box($act);
        }
    };
}

fn shared(key: impl std::fmt::Display) -> Arc<Value> {
    Arc::new(value(key))
}

struct Larder<K: larder::cache::Key>(Cache<K, Value>);

fn larder<K: Key, B: IntoBackend<K, Value> + Send + 'static>(backend: B) -> Larder<K> {
    let source = source_fn(|key: K| async move { Ok::<_, Infallible>(Some(value(key))) });
    let strategy = Strategy::aside(TTL);
    let cache = Cache::builder().backend(backend).source(source).strategy(strategy).build();
    Larder(cache.expect("the parts fit together"))
}

impl<K: Key> Local<K> for Larder<K> {
    fn fill(&self, keys: &[K]) {
        block_on(async { each!(keys, |key| self.0.insert(key, value(key)).await.expect("a local store")) });
    }
    fn read(&self, keys: &[K]) -> usize {
        block_on(async { count!(keys, |key| self.0.get(key).await.expect("a local store")) })
    }
    fn load(&self, keys: &[K]) {
        self.read(keys);
    }
}

struct BareQuick<K>(quick_cache::sync::Cache<K, Arc<Value>>);

impl<K: Key> BareQuick<K> {
    fn new(capacity: u64) -> Self {
        Self(quick_cache::sync::Cache::new(capacity as usize))
    }
}

impl<K: Key> Local<K> for BareQuick<K> {
    fn fill(&self, keys: &[K]) {
        each!(keys, |key| self.0.insert(key.clone(), shared(key)));
    }
    fn read(&self, keys: &[K]) -> usize {
        count!(keys, |key| self.0.get(key))
    }
    fn load(&self, keys: &[K]) {
        let load = |key: &K| {
            let key = key.clone();
            async move { Ok::<_, Infallible>(shared(key)) }
        };
        block_on(async { each!(keys, |key| self.0.get_or_insert_async(key, load(key)).await) });
    }
}

struct BareMoka<K>(moka::sync::Cache<K, Arc<Value>>);

impl<K: Key> BareMoka<K> {
    fn new(capacity: u64) -> Self {
        Self(moka::sync::Cache::new(capacity))
    }
}

impl<K: Key> Local<K> for BareMoka<K> {
    fn fill(&self, keys: &[K]) {
        each!(keys, |key| self.0.insert(key.clone(), shared(key)));
        self.0.run_pending_tasks();
    }
    fn read(&self, keys: &[K]) -> usize {
        count!(keys, |key| self.0.get(key))
    }
    fn load(&self, keys: &[K]) {
        each!(keys, |key| self.0.get_with_by_ref(key, || shared(key)));
    }
}

struct FutureMoka<K>(moka::future::Cache<K, Arc<Value>>);

impl<K: Key> FutureMoka<K> {
    fn new(capacity: u64) -> Self {
        Self(moka::future::Cache::new(capacity))
    }
}

impl<K: Key> Local<K> for FutureMoka<K> {
    fn fill(&self, keys: &[K]) {
        block_on(async {
            each!(keys, |key| self.0.insert(key.clone(), shared(key)).await);
            self.0.run_pending_tasks().await;
        });
    }
    fn read(&self, keys: &[K]) -> usize {
        block_on(async { count!(keys, |key| self.0.get(key).await) })
    }
    fn load(&self, keys: &[K]) {
        block_on(async { each!(keys, |key| self.0.get_with_by_ref(key, async { shared(key) }).await) });
    }
}

struct Cached<K: Key>(cached::ShardedLruTtlCache<K, Arc<Value>>);

impl<K: Key> Cached<K> {
    fn new(capacity: u64) -> Self {
        Self(cached::ShardedLruTtlCache::new(capacity as usize, TTL))
    }
}

impl<K: Key> Local<K> for Cached<K> {
    fn fill(&self, keys: &[K]) {
        each!(keys, |key| self.0.set(key.clone(), shared(key)));
    }
    fn read(&self, keys: &[K]) -> usize {
        count!(keys, |key| self.0.get(key))
    }
    fn load(&self, keys: &[K]) {
        each!(keys, |key| self.0.get_or_set_with(key.clone(), || shared(key)));
    }
}

struct Foyer<K: Key>(foyer_memory::Cache<K, Value>);

impl<K: Key> Foyer<K> {
    fn new(capacity: u64) -> Self {
        Self(foyer_memory::CacheBuilder::new(capacity as usize).build())
    }
}

impl<K: Key> Local<K> for Foyer<K> {
    fn fill(&self, keys: &[K]) {
        each!(keys, |key| self.0.insert(key.clone(), value(key)));
    }
    fn read(&self, keys: &[K]) -> usize {
        count!(keys, |key| self.0.get(key))
    }
    fn load(&self, keys: &[K]) {
        let load = |key: &K| {
            let key = key.clone();
            || async move { Ok::<_, Infallible>(value(key)) }
        };
        block_on(async { each!(keys, |key| self.0.get_or_fetch(key, load(key)).await.expect("it loads")) });
    }
}

struct Cachet<K: Key>(cachet::Cache<K, Arc<Value>>);

impl<K: Key> Cachet<K> {
    fn new(capacity: u64) -> Self {
        // its clock is made on a runtime
        block_on(async {
            let builder = cachet::Cache::builder(tick::Clock::new_tokio());
            let builder = builder.memory_with(|memory| memory.max_capacity(capacity)).ttl(TTL);
            Self(builder.stampede_protection().build())
        })
    }
}

impl<K: Key> Local<K> for Cachet<K> {
    fn fill(&self, keys: &[K]) {
        block_on(async {
            each!(keys, |key| self.0.insert(key.clone(), shared(key)).await.expect("a local store"))
        });
    }
    fn read(&self, keys: &[K]) -> usize {
        block_on(async { count!(keys, |key| self.0.get(key).await.expect("a local store")) })
    }
    fn load(&self, keys: &[K]) {
        block_on(async {
            each!(keys, |key| self.0.get_or_insert(key, || async { shared(key) }).await.expect("it loads"))
        });
    }
}

struct Amalgam(amalgam::Cache<Arc<Value>>);

impl Amalgam {
    fn new(capacity: u64) -> Self {
        let options = amalgam::EntryOptions::new(TTL);
        let builder = amalgam::Cache::builder().max_capacity(capacity).default_options(options);
        Self(block_on(async { builder.try_build().expect("the parts fit together") }))
    }
}

impl<K: Key> Local<K> for Amalgam {
    fn fill(&self, keys: &[K]) {
        block_on(async {
            each!(keys, |key| self.0.set(key.text(), shared(key)).await.expect("a local store"))
        });
    }
    fn read(&self, keys: &[K]) -> usize {
        block_on(async { count!(keys, |key| self.0.try_get(key.text()).await.expect("a local store")) })
    }
    fn load(&self, keys: &[K]) {
        let load = |key: &K| {
            let key = key.clone();
            self.0
                .get_or_set(key.text().into_owned(), move |_| async move { Ok::<_, Infallible>(shared(key)) })
        };
        block_on(async { each!(keys, |key| load(key).await.expect("it loads")) });
    }
}

struct MultiTier(multi_tier_cache::CacheManager);

impl MultiTier {
    fn new(max_capacity: u64) -> Self {
        let config = multi_tier_cache::MokaCacheConfig { max_capacity, time_to_live: TTL, time_to_idle: TTL };
        let memory = multi_tier_cache::L1Cache::new(config).expect("it is in memory");
        let tier = multi_tier_cache::CacheTier::new(Arc::new(memory), 1, false, 1, 1.0);
        Self(multi_tier_cache::CacheManager::new_with_tiers(vec![tier], None).expect("one tier"))
    }
}

impl<K: Key> Local<K> for MultiTier {
    fn fill(&self, keys: &[K]) {
        let strategy = || multi_tier_cache::CacheStrategy::Custom(TTL);
        block_on(async {
            for key in keys {
                let text = key.text();
                self.0.set_with_strategy(&text, value(key).into(), strategy()).await.expect("a local store");
            }
        });
    }
    fn read(&self, keys: &[K]) -> usize {
        block_on(async { count!(keys, |key| self.0.get(&key.text()).await.expect("a local store")) })
    }
    fn load(&self, keys: &[K]) {
        let strategy = || multi_tier_cache::CacheStrategy::Custom(TTL);
        block_on(async {
            each!(keys, |key| {
                let load = || async { Ok(value(key).into()) };
                self.0.get_or_compute_with(&key.text(), strategy(), load).await.expect("it loads")
            });
        });
    }
}

/// By its backend: what its middleware does for every call, without the middleware.
struct Hitbox(hitbox_moka::MokaBackend);

impl Hitbox {
    fn new(capacity: u64) -> Self {
        Self(hitbox_moka::MokaBackend::builder().max_entries(capacity).build())
    }
}

fn hitbox_key<K: Key>(key: &K) -> hitbox_core::CacheKey {
    hitbox_core::CacheKey::from_str("product", &key.text())
}

async fn hitbox_get<K: Key>(backend: &hitbox_moka::MokaBackend, key: &K) -> Option<Value> {
    use hitbox_backend::CacheBackend as _;
    let mut context = hitbox_core::CacheContext::default().boxed();
    let found = backend.get::<Value>(&hitbox_key(key), &mut context).await.expect("a local store");
    found.map(hitbox_core::CacheValue::into_inner)
}

async fn hitbox_set<K: Key>(backend: &hitbox_moka::MokaBackend, key: &K) {
    use hitbox_backend::CacheBackend as _;
    let mut context = hitbox_core::CacheContext::default().boxed();
    let expire = chrono::Utc::now() + TTL;
    let value = hitbox_core::CacheValue::new(value(key), Some(expire), None);
    backend.set::<Value>(&hitbox_key(key), &value, &mut context).await.expect("a local store");
}

impl<K: Key> Local<K> for Hitbox {
    fn fill(&self, keys: &[K]) {
        block_on(async { each!(keys, |key| hitbox_set(&self.0, key).await) });
    }
    fn read(&self, keys: &[K]) -> usize {
        block_on(async { count!(keys, |key| hitbox_get(&self.0, key).await) })
    }
    fn load(&self, keys: &[K]) {
        block_on(async {
            for key in keys {
                if hitbox_get(&self.0, key).await.is_none() {
                    hitbox_set(&self.0, key).await;
                }
            }
        });
    }
}

struct Oxcache<K: Key>(oxcache::Cache<K, Value>);

impl<K: Key> Oxcache<K> {
    fn new(capacity: u64) -> Self {
        let built = block_on(oxcache::Cache::builder().capacity(capacity).ttl(TTL).build());
        Self(built.expect("it is in memory"))
    }
}

impl<K: Key> Local<K> for Oxcache<K> {
    fn fill(&self, keys: &[K]) {
        block_on(async { each!(keys, |key| self.0.set(key, &value(key)).await.expect("a local store")) });
    }
    fn read(&self, keys: &[K]) -> usize {
        block_on(async { count!(keys, |key| self.0.get(key).await.expect("a local store")) })
    }
    fn load(&self, keys: &[K]) {
        block_on(async {
            each!(keys, |key| self.0.get_or(key, || async { Ok(value(key)) }).await.expect("it loads"))
        });
    }
}
