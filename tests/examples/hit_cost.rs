//! Compares a hit through `Cache::get` with a bare one: `cargo run --release -p larder-testkit --example hit_cost`
//!
//! 100,000 keys, Zipf 0.99, 200-byte values in `Arc`, one thread; the contenders take turns, and the ratio is taken round
//! by round, so that a machine whose speed drifts does not matter. All of it several times with rebuilt caches, since
//! where entries happen to lie in memory moves a figure by a tenth. Allocations are counted, not estimated.

use std::hint::black_box;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use larder::backend::{
    BeginOutcome, Direct, Entry, Fence, FillOutcome, IntoBackend, LoadIntent, Recency, Watcher, WriteIntent,
};
use larder::cache::Origin;
use larder::clock::Timestamp;
use larder::tag::{Pruned, Stamp};
use larder::{Cache, CacheBackend, Quick, Result, Strategy, Tag, Tiered};
use larder_moka::Moka;
use rand::{Rng, SeedableRng, rngs::SmallRng};
use tokio::runtime::Runtime;

const KEYS: u64 = 100_000;
const READS: usize = 400_000;
const BUILDS: usize = 5;
const ROUNDS: usize = 6;

/// The index of the contender that each is compared with.
const BARE: [usize; 6] = [0, 0, 0, 3, 3, 3];

type Value = [u8; 200];

fn zipf(count: usize) -> Vec<u64> {
    let mut weights: Vec<f64> = (1..=KEYS).map(|rank| 1.0 / (rank as f64).powf(0.99)).collect();
    let mut sum = 0.0;
    for weight in &mut weights {
        sum += *weight;
        *weight = sum;
    }
    let mut random = SmallRng::seed_from_u64(7);
    (0..count).map(|_| weights.partition_point(|&edge| edge < random.random::<f64>() * sum) as u64).collect()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn cache<B>(backend: B) -> Cache<u64, Value>
where
    B: IntoBackend<u64, Value> + Send + 'static,
{
    let cache =
        Cache::builder().backend(backend).strategy(Strategy::aside(Duration::from_secs(3600))).build();
    let cache: Cache<u64, Value> = cache.expect("the parts fit together");
    runtime().block_on(async {
        for key in 0..KEYS {
            cache.insert(&key, [key as u8; 200]).await.expect("a local store takes everything");
        }
    });
    cache
}

/// A far tier elsewhere: it takes what is filled, has no place in this process, and proves all the time that nothing changed.
#[derive(Debug)]
struct Elsewhere;

impl CacheBackend<u64, Value> for Elsewhere {
    fn look<T>(
        &self,
        _: &u64,
        _: Timestamp,
        _: Recency,
        _: impl FnOnce(&mut Entry<Value>) -> Option<T>,
    ) -> Option<T> {
        None
    }
    fn shared_name(&self, key: &u64) -> Option<String> {
        Some(key.to_string())
    }
    fn is_bounded(&self) -> bool {
        true
    }
    fn watch(&self, watcher: Weak<dyn Watcher>) -> bool {
        tokio::spawn(async move {
            while let Some(watcher) = watcher.upgrade() {
                watcher.proven(watcher.now());
                tokio::time::sleep(watcher.max_staleness() / 3).await;
            }
        });
        true
    }
    async fn get(&self, _: &u64, _: Timestamp) -> Result<Option<Entry<Value>>> {
        Ok(None)
    }
    async fn get_many(&self, keys: &[u64], _: Timestamp) -> Result<Vec<Option<Entry<Value>>>> {
        Ok(vec![None; keys.len()])
    }
    async fn begin(&self, _: &u64, _: LoadIntent, _: Timestamp) -> Result<BeginOutcome<Value>> {
        Ok(BeginOutcome::Granted(Fence::created(1)))
    }
    async fn fill(&self, _: &u64, _: Fence, _: Entry<Value>, _: Timestamp) -> Result<FillOutcome> {
        Ok(FillOutcome::Stored)
    }
    async fn renew(&self, _: &u64, _: Fence, _: Duration, _: Timestamp) -> Result<bool> {
        Ok(true)
    }
    async fn release(&self, _: &u64, _: Fence, _: Timestamp) -> Result<()> {
        Ok(())
    }
    async fn put(&self, _: &u64, _: Entry<Value>, _: Timestamp) -> Result<()> {
        Ok(())
    }
    async fn remove(&self, _: &u64) -> Result<()> {
        Ok(())
    }
    async fn remove_many(&self, _: &[u64]) -> Result<()> {
        Ok(())
    }
    async fn clear(&self) -> Result<()> {
        Ok(())
    }
    async fn invalidate_tags(&self, _: &[Tag]) -> Result<Stamp> {
        Ok(Stamp::new(1, 1))
    }
    async fn prune_tags(&self, _: u64, _: Duration) -> Result<Pruned> {
        Ok(Pruned::Removed(0))
    }
    async fn guard(&self, _: &u64, _: WriteIntent, _: Timestamp) -> Result<()> {
        Ok(())
    }
    async fn unguard(&self, _: &u64, _: WriteIntent, _: Timestamp) -> Result<()> {
        Ok(())
    }
}

/// Two tiers with all keys near, proven in the background.
fn tiered<N>(background: &Runtime, near: N) -> Cache<u64, Value>
where
    N: IntoBackend<u64, Value> + Send + 'static,
    N::Backend: Send + Sync,
{
    let tiers = Tiered::new(near, Direct(Elsewhere));
    let cache = Cache::builder().backend(tiers).strategy(Strategy::aside(Duration::from_secs(3600))).build();
    let cache: Cache<u64, Value> = cache.expect("the parts fit together");
    let load = async |key: u64| {
        let loaded =
            cache.get_or_load(&key, move || async move { Ok::<_, std::io::Error>([key as u8; 200]) });
        loaded.await.expect("it loads")
    };
    background.block_on(async {
        // what is placed before the first proof lives for a moment only
        load(KEYS).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    });
    // on this thread, as all the others: another's memory would be another measurement
    runtime().block_on(async {
        for key in 0..KEYS {
            load(key).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(cache.get_entry(&0).await.expect("it is there").origin, Origin::Near);
    });
    cache
}

type Read<'a> = Box<dyn Fn(&[u64]) -> usize + 'a>;

struct Contender<'a> {
    name: &'a str,
    /// Reads all keys, says how many it found.
    read: Read<'a>,
}

async fn get_all(cache: &Cache<u64, Value>, keys: &[u64]) -> usize {
    let mut hits = 0;
    for key in keys {
        hits += usize::from(black_box(cache.get(key).await).is_ok_and(|value| value.is_some()));
    }
    hits
}

fn nanos(contender: &Contender<'_>, keys: &[u64]) -> f64 {
    let began = Instant::now();
    assert_eq!((contender.read)(keys), keys.len(), "{} missed", contender.name);
    began.elapsed().as_nanos() as f64 / keys.len() as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The results of one contender.
#[derive(Default)]
struct Figures {
    name: String,
    nanos: Vec<f64>,
    allocations: f64,
}

/// Rebuilds all caches and lets them take turns.
fn measure(keys: &[u64], figures: &mut Vec<Figures>) {
    let bare_quick = quick_cache::sync::Cache::<u64, Arc<Value>>::new(2 * KEYS as usize);
    let bare_moka = moka::sync::Cache::<u64, Arc<Value>>::new(2 * KEYS);
    // one after the other, each as near together in memory as it can be
    (0..KEYS).for_each(|key| bare_quick.insert(key, Arc::new([key as u8; 200])));
    (0..KEYS).for_each(|key| bare_moka.insert(key, Arc::new([key as u8; 200])));
    bare_moka.run_pending_tasks();
    let (quick, moka) = (cache(Quick::new(2 * KEYS)), cache(Moka::new(2 * KEYS)));
    let background = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let quick_before_far = tiered(&background, Quick::new(2 * KEYS));
    let moka_before_far = tiered(&background, Moka::new(2 * KEYS));
    let runtime = runtime();
    let get = |cache: &Cache<u64, Value>, keys: &[u64]| runtime.block_on(get_all(cache, keys));
    let contender = |name, read| Contender { name, read };
    let contenders = [
        contender(
            "quick_cache",
            Box::new(|keys: &[u64]| {
                keys.iter().filter(|&key| black_box(bare_quick.get(key)).is_some()).count()
            }) as Read<'_>,
        ),
        contender("larder over quick_cache", Box::new(|keys: &[u64]| get(&quick, keys))),
        contender("quick_cache before a far tier", Box::new(|keys: &[u64]| get(&quick_before_far, keys))),
        contender(
            "moka",
            Box::new(|keys: &[u64]| {
                keys.iter().filter(|&key| black_box(bare_moka.get(key)).is_some()).count()
            }),
        ),
        contender("larder over moka", Box::new(|keys: &[u64]| get(&moka, keys))),
        contender("moka before a far tier", Box::new(|keys: &[u64]| get(&moka_before_far, keys))),
    ];
    figures.resize_with(contenders.len(), Figures::default);
    for round in 0..=ROUNDS {
        for (contender, figures) in contenders.iter().zip(figures.iter_mut()) {
            let nanos = nanos(contender, keys);
            if round > 0 {
                figures.nanos.push(nanos);
            }
        }
    }
    for (contender, figures) in contenders.iter().zip(figures.iter_mut()) {
        let counted = allocation_counter::measure(|| _ = nanos(contender, &keys[..10_000]));
        figures.name = contender.name.to_owned();
        figures.allocations = counted.count_total as f64 / 10_000.0;
    }
}

fn main() {
    let (keys, mut figures) = (zipf(READS), Vec::new());
    for _ in 0..BUILDS {
        measure(&keys, &mut figures);
    }
    println!("{:<31}{:>12}{:>14}{:>16}", "a hit through", "ns (median)", "x bare", "allocations");
    for (own, bare) in figures.iter().zip(BARE) {
        let bare = &figures[bare];
        let ratio = median(own.nanos.iter().zip(&bare.nanos).map(|(own, bare)| own / bare).collect());
        let (name, time, allocations) = (&own.name, median(own.nanos.clone()), own.allocations);
        println!("{name:<31}{time:>12.0}{ratio:>14.2}{allocations:>16.4}");
    }
}
