//! The load: readers draw products from a Zipf distribution, writers change them.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use larder::{Cache, Source as _};
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::shop::{Product, Shop};

const READERS: u64 = 4;
/// One write, then a pause of this.
const BETWEEN_WRITES: Duration = Duration::from_millis(5);
const SKEW: f64 = 0.99;

/// The reader of products.
#[derive(Clone)]
pub(crate) enum Reads {
    Database,
    Cache(Cache<i64, Product>),
}

/// The result of a phase.
pub(crate) struct Outcome {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    /// Reads that saw a version below the one acknowledged before they began.
    pub(crate) stale: u64,
    pub(crate) elapsed: Duration,
}

impl Outcome {
    pub(crate) fn reads_per_second(&self) -> f64 {
        self.reads as f64 / self.elapsed.as_secs_f64()
    }
}

#[derive(Default)]
struct Counters {
    reads: AtomicU64,
    writes: AtomicU64,
    stale: AtomicU64,
    stop: AtomicBool,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Zipf by its cumulative weights: exact, and a binary search a draw.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(items: u32) -> Self {
        let mut sum = 0.0;
        let weight = |rank: u32| f64::from(rank).powf(-SKEW);
        Self(
            (1..=items)
                .map(|rank| {
                    sum += weight(rank);
                    sum
                })
                .collect(),
        )
    }

    fn draw(&self, random: &mut SmallRng) -> i64 {
        let sum = self.0.last().copied().unwrap_or(0.0);
        let at = random.random::<f64>() * sum;
        // spread the popular products over the table, as a real one would have them
        let rank = self.0.partition_point(|&edge| edge < at).min(self.0.len() - 1);
        ((rank as u64).wrapping_mul(2_654_435_761) % self.0.len() as u64) as i64
    }
}

pub(crate) async fn run(
    name: &str,
    shop: &Arc<Shop>,
    reads: Reads,
    length: Duration,
) -> Result<Outcome, Failure> {
    let (counters, zipf) = (Arc::new(Counters::default()), Arc::new(Zipf::new(shop.products())));
    let began = Instant::now();
    let mut tasks = Vec::new();
    for seed in 0..READERS {
        let (shop, zipf, reads, counters) = (shop.clone(), zipf.clone(), reads.clone(), counters.clone());
        let random = SmallRng::seed_from_u64(seed);
        tasks.push(tokio::spawn(async move { read(&shop, &zipf, &reads, &counters, random).await }));
    }
    let (writer_shop, writer_counters) = (shop.clone(), counters.clone());
    let random = SmallRng::seed_from_u64(READERS);
    tasks.push(tokio::spawn(
        async move { write(&writer_shop, &zipf, &reads, &writer_counters, random).await },
    ));
    show_progress(name, began, length, &counters).await;
    counters.stop.store(true, Ordering::SeqCst);
    for task in tasks {
        task.await??;
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
    let (reads, writes, stale) = (count(&counters.reads), count(&counters.writes), count(&counters.stale));
    Ok(Outcome { reads, writes, stale, elapsed: began.elapsed() })
}

async fn read(
    shop: &Shop,
    zipf: &Zipf,
    reads: &Reads,
    counters: &Counters,
    mut random: SmallRng,
) -> Result<(), Failure> {
    let source = shop.source();
    while !counters.stop.load(Ordering::Relaxed) {
        for _ in 0..64 {
            let id = zipf.draw(&mut random);
            let floor = shop.floor(id);
            let version = match reads {
                Reads::Database => source.load(&id).await?.map(|product| product.version),
                Reads::Cache(cache) => cache.get(&id).await?.map(|product| product.version),
            };
            if version.is_none_or(|version| version < floor) {
                counters.stale.fetch_add(1, Ordering::Relaxed);
            }
        }
        counters.reads.fetch_add(64, Ordering::Relaxed);
        // hits do not suspend: let the writer have its turn
        tokio::task::yield_now().await;
    }
    Ok(())
}

async fn write(
    shop: &Shop,
    zipf: &Zipf,
    reads: &Reads,
    counters: &Counters,
    mut random: SmallRng,
) -> Result<(), Failure> {
    while !counters.stop.load(Ordering::Relaxed) {
        let id = zipf.draw(&mut random);
        let version = shop.write(id).await?;
        if let Reads::Cache(cache) = reads {
            cache.invalidate(&id).await?;
        }
        shop.acknowledge(id, version);
        counters.writes.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(BETWEEN_WRITES).await;
    }
    Ok(())
}

async fn show_progress(name: &str, began: Instant, length: Duration, counters: &Counters) {
    while began.elapsed() < length {
        tokio::time::sleep(Duration::from_millis(250).min(length.saturating_sub(began.elapsed()))).await;
        let seconds = began.elapsed().as_secs_f64();
        let (reads, writes) =
            (counters.reads.load(Ordering::Relaxed), counters.writes.load(Ordering::Relaxed));
        print!("\r{name}: {seconds:4.1} s, {reads} reads, {writes} writes ");
        // progress that cannot be shown is no reason to stop
        _ = std::io::stdout().flush();
    }
    println!();
}
