//! The hit ratio of a cache beside that of its bare store: `cargo run --release -p larder-testkit --example hit_ratio [FOLDER]`
//!
//! Without a folder the traces are synthetic: Zipf alone, Zipf with scans, and hot keys that shift. A folder holds traces as
//! `NAME.lis.zst` (ARC: a first block and a count a line; Megiddo and Modha, FAST 2003) or `NAME.trc.bin.gz` (LIRS: big-endian
//! 32-bit keys; Jiang and Zhang, SIGMETRICS 2002), which `zstd` and `gzip` unpack. Each figure is the mean of five runs,
//! with a hasher of their own each. The program fails if a cache is more than 0.5 points below its store.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use foldhash::fast::RandomState;
use larder::backend::IntoBackend;
use larder::{Cache, Quick, Strategy, source_fn};
use larder_moka::Moka;
use rand::{Rng, SeedableRng, rngs::SmallRng};

const RUNS: usize = 5;
/// The maximum number of points that a cache may be below its store.
const MARGIN: f64 = 0.5;

struct Trace {
    name: String,
    capacity: u64,
    keys: Vec<u64>,
}

/// The capacities at which traces are known to be telling.
const CAPACITIES: [(&str, &[u64]); 5] = [
    ("P3", &[25_000, 100_000]),
    ("multi2", &[500, 2_000]),
    ("glimpse", &[500]),
    ("sprite", &[100]),
    ("cpp", &[50]),
];

fn zipf(keys: usize, count: usize, random: &mut SmallRng) -> Vec<u64> {
    let mut edges: Vec<f64> = (1..=keys).map(|rank| 1.0 / (rank as f64).powf(0.9)).collect();
    let mut sum = 0.0;
    edges.iter_mut().for_each(|edge| {
        sum += *edge;
        *edge = sum;
    });
    let mut draw = || edges.partition_point(|&edge| edge < random.random::<f64>() * sum) as u64;
    (0..count).map(|_| draw()).collect()
}

fn synthetic() -> Vec<Trace> {
    let mut random = SmallRng::seed_from_u64(7);
    let alone = zipf(20_000, 200_000, &mut random);
    let scans = alone.chunks(20_000).enumerate().flat_map(|(scan, some)| {
        let first = 1_000_000 + 5_000 * scan as u64;
        some.iter().copied().chain(first..first + 5_000)
    });
    let shifting = alone.iter().enumerate().map(|(at, key)| key + 500 * (at as u64 / 20_000));
    let traces =
        [("zipf", alone.clone()), ("zipf with scans", scans.collect()), ("shifting", shifting.collect())];
    traces.map(|(name, keys)| Trace { name: name.to_owned(), capacity: 1_000, keys }).into()
}

fn unpacked(program: &str, file: &Path) -> Vec<u8> {
    let output = Command::new(program).arg("-dc").arg(file).output();
    output.unwrap_or_else(|error| panic!("{program} is needed to read {}: {error}", file.display())).stdout
}

fn arc(bytes: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(bytes);
    let blocks = text.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map_while(|number| number.parse::<u64>().ok());
        numbers.next().zip(numbers.next())
    });
    blocks.flat_map(|(first, count)| first..first + count).collect()
}

fn lirs(bytes: &[u8]) -> Vec<u64> {
    bytes.chunks_exact(4).map(|key| u64::from(u32::from_be_bytes([key[0], key[1], key[2], key[3]]))).collect()
}

fn of_folder(folder: &Path) -> Vec<Trace> {
    let mut traces = Vec::new();
    for (name, capacities) in CAPACITIES {
        let (packed, binary) =
            (folder.join(format!("{name}.lis.zst")), folder.join(format!("{name}.trc.bin.gz")));
        let keys = match (packed.exists(), binary.exists()) {
            (true, _) => arc(&unpacked("zstd", &packed)),
            (_, true) => lirs(&unpacked("gzip", &binary)),
            _ => continue,
        };
        traces.extend(capacities.iter().map(|&capacity| Trace {
            name: name.to_owned(),
            capacity,
            keys: keys.clone(),
        }));
    }
    assert!(!traces.is_empty(), "no trace of {CAPACITIES:?} is in {}", folder.display());
    traces
}

/// Hits in percent, the mean of some runs.
fn mean(trace: &Trace, run: impl Fn(&Trace) -> usize) -> f64 {
    let hits: usize = (0..RUNS).map(|_| run(trace)).sum();
    100.0 * hits as f64 / (RUNS * trace.keys.len()) as f64
}

fn bare_moka(trace: &Trace) -> usize {
    let builder = moka::sync::Cache::builder().max_capacity(trace.capacity);
    let store = builder.build_with_hasher(RandomState::default());
    let hit = |key: &&u64| {
        store.get(*key).is_some() || {
            store.insert(**key, ());
            false
        }
    };
    trace.keys.iter().filter(hit).count()
}

fn bare_quick(trace: &Trace) -> usize {
    let capacity = usize::try_from(trace.capacity).expect("small");
    let store = quick_cache::sync::Cache::<u64, ()>::new(capacity);
    let hit = |key: &&u64| {
        store.get(*key).is_some() || {
            store.insert(**key, ());
            false
        }
    };
    trace.keys.iter().filter(hit).count()
}

fn cached<B: IntoBackend<u64, ()> + Send + 'static>(trace: &Trace, backend: B) -> usize {
    let cache = Cache::builder()
        .backend(backend)
        .source(source_fn(|_: u64| async { Ok::<_, std::io::Error>(Some(())) }))
        .strategy(Strategy::aside(Duration::from_secs(3_600)))
        .build()
        .expect("the parts fit together");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        for key in &trace.keys {
            cache.get(key).await.expect("the source answers");
        }
    });
    usize::try_from(cache.stats().hits()).expect("small")
}

fn main() -> ExitCode {
    let traces = std::env::args().nth(1).map_or_else(synthetic, |folder| of_folder(Path::new(&folder)));
    println!(
        "| trace | capacity | requests | moka | larder over moka | quick_cache | larder over quick_cache |"
    );
    println!("|---|---|---|---|---|---|---|");
    let mut is_near = true;
    for trace in &traces {
        let moka = [mean(trace, bare_moka), mean(trace, |trace| cached(trace, Moka::new(trace.capacity)))];
        let quick = [mean(trace, bare_quick), mean(trace, |trace| cached(trace, Quick::new(trace.capacity)))];
        let Trace { name, capacity, keys } = trace;
        println!(
            "| {name} | {capacity} | {} | {:.2} | {:.2} | {:.2} | {:.2} |",
            keys.len(),
            moka[0],
            moka[1],
            quick[0],
            quick[1]
        );
        is_near &= [moka, quick].iter().all(|[bare, cached]| cached + MARGIN >= *bare);
    }
    if is_near { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
