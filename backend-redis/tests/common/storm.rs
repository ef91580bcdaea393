//! Readers and writers of several processes, while something goes wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use larder::cache::Origin;
use larder::codec::Json;
use larder::{Cache, Strategy, Tag, source_fn};
use larder_redis::RedisBackend;

const KEYS: u64 = 24;

/// The tag of a key; a few keys share it.
fn shelf(key: u64) -> Tag {
    Tag::new("shelf", key % 6)
}

/// The truth, and what is known of its invalidations.
#[derive(Debug)]
pub(crate) struct Shop {
    versions: Vec<AtomicU64>,
    /// The latest version whose invalidation was acknowledged.
    acknowledged: Vec<AtomicU64>,
    pub(crate) reads: AtomicU64,
    pub(crate) acknowledgements: AtomicU64,
    slowest: AtomicU64,
    over: AtomicBool,
}

impl Shop {
    fn new() -> Arc<Self> {
        let zeros = || (0..KEYS).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Self {
            versions: zeros(),
            acknowledged: zeros(),
            reads: AtomicU64::new(0),
            acknowledgements: AtomicU64::new(0),
            slowest: AtomicU64::new(0),
            over: AtomicBool::new(false),
        })
    }

    pub(crate) fn slowest(&self) -> Duration {
        Duration::from_micros(self.slowest.load(SeqCst))
    }

    /// A load that takes a little and reads first: the race that fences are for.
    async fn load(self: Arc<Self>, key: u64) -> Result<Option<u64>, std::io::Error> {
        let version = self.versions[key as usize].load(SeqCst);
        tokio::time::sleep(Duration::from_micros(fastrand::u64(0..3_000))).await;
        Ok(Some(version))
    }

    /// One read, checked: nothing older than the last acknowledged invalidation before it began.
    async fn read(self: &Arc<Self>, cache: &Cache<u64, u64>, key: u64) -> Origin {
        let floor = self.acknowledged[key as usize].load(SeqCst);
        let began = Instant::now();
        let fetched = cache.get_entry(&key).await.expect("a read never fails for the cache's sake");
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let value = fetched.value.map(|value| *value);
        assert!(
            value >= Some(floor),
            "key {key}: version {floor} was acknowledged, then {value:?} was read ({:?})",
            fetched.origin
        );
        self.slowest.fetch_max(took, SeqCst);
        self.reads.fetch_add(1, SeqCst);
        fetched.origin
    }

    async fn reader(self: Arc<Self>, cache: Cache<u64, u64>) {
        while !self.over.load(SeqCst) {
            self.read(&cache, fastrand::u64(0..KEYS)).await;
            tokio::time::sleep(Duration::from_micros(fastrand::u64(0..500))).await;
        }
    }

    /// One writer for each key: write, invalidate (the key, its tag, or by a guard around the write), and note what was
    /// acknowledged.
    async fn writer(self: Arc<Self>, cache: Cache<u64, u64>, key: u64) {
        while !self.over.load(SeqCst) {
            let write = || self.versions[key as usize].fetch_add(1, SeqCst) + 1;
            let (version, acknowledged) = match key % 3 {
                0 => (write(), cache.invalidate(&key).await),
                1 => (write(), cache.invalidate_tag(&shelf(key)).await),
                _ => match cache.write_guard(&[key], Duration::from_secs(5)).await {
                    Ok(guard) => (write(), guard.finish().await),
                    // not announced: written all the same, as a careless writer would
                    Err(_) => (write(), cache.invalidate(&key).await),
                },
            };
            if acknowledged.is_ok() {
                self.acknowledged[key as usize].store(version, SeqCst);
                self.acknowledgements.fetch_add(1, SeqCst);
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(2..20))).await;
        }
    }
}

/// Several processes on one Redis.
pub(crate) struct Storm {
    shop: Arc<Shop>,
    caches: Vec<Cache<u64, u64>>,
}

impl Storm {
    pub(crate) fn new(handles: &[RedisBackend]) -> Self {
        let (shop, namespace) = (Shop::new(), super::namespace());
        let cache = |redis: &RedisBackend| {
            let source = Arc::clone(&shop);
            Cache::builder()
                .namespace(&namespace)
                .backend(redis.encoded(Json))
                .source(source_fn(move |key: u64| Arc::clone(&source).load(key)))
                // soon stale, and served so for long: what was invalidated must not be
                .strategy(
                    Strategy::aside(Duration::from_millis(100))
                        .stale_while_revalidate(Duration::from_secs(60))
                        .stale_if_error(Duration::from_secs(60)),
                )
                .tag_keys(|key| [shelf(*key)])
                .build()
                .expect("a sound configuration")
        };
        Self { caches: handles.iter().map(cache).collect(), shop }
    }

    /// Runs readers and writers of all processes until `fault` is over and a little longer.
    pub(crate) async fn rage(&self, fault: impl Future<Output = ()>) -> &Shop {
        self.shop.over.store(false, SeqCst);
        let mut tasks = tokio::task::JoinSet::new();
        for cache in &self.caches {
            for _ in 0..4 {
                tasks.spawn(Arc::clone(&self.shop).reader(cache.clone()));
            }
        }
        for key in 0..KEYS {
            let cache = self.caches[key as usize % self.caches.len()].clone();
            tasks.spawn(Arc::clone(&self.shop).writer(cache, key));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        fault.await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        self.shop.over.store(true, SeqCst);
        while let Some(ended) = tasks.join_next().await {
            ended.expect("no reader saw anything stale");
        }
        assert!(self.shop.reads.load(SeqCst) > 100, "{:?}", self.shop);
        &self.shop
    }

    /// After the storm every process is served by Redis again, without a restart, and nothing is left undone.
    pub(crate) async fn passes(&self) {
        let began = Instant::now();
        for (number, cache) in self.caches.iter().enumerate() {
            // in vain as long as the breaker is open or an invalidation is pending
            let is_served = |origin| matches!(origin, Origin::Far | Origin::Stale);
            while !is_served(self.shop.read(cache, number as u64).await) || cache.unacknowledged() > 0 {
                assert!(
                    began.elapsed() < Duration::from_secs(20),
                    "cache {number} is not served: {:?}",
                    cache.stats()
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}
