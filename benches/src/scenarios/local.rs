//! A hit in this process.

use crate::load::{Key, Skew, reads};
use crate::measure::{Contender, Figures, allocations, interleave, nanos};
use crate::peers::local::{Local, Peer, all};
use crate::report::{Table, number};

use super::Effort;

pub fn run(effort: Effort) -> Vec<Table> {
    let mut tables = vec![];
    for skew in [Skew::Zipf, Skew::Uniform] {
        for keys in effort.pick([10_000, 100_000], [10_000, 1_000_000]) {
            for threads in [1, 2] {
                tables.push(table::<u64>(effort, skew, keys, threads));
                tables.push(table::<String>(effort, skew, keys, threads));
            }
        }
    }
    // what most people ask first
    if let Some(first) = tables.first_mut() {
        let bars =
            first.rows.iter().filter_map(|row| Some((row[0].clone(), row[1].replace(' ', "").parse().ok()?)));
        let bars = bars.collect();
        *first = first.clone().drawn("nanoseconds a hit: less is better", bars);
    }
    tables
}

/// The results of one contender.
struct Row {
    figures: Figures,
    ratio: f64,
    allocations: f64,
}

fn table<K: Key>(effort: Effort, skew: Skew, keys: u64, threads: usize) -> Table {
    let title = format!(
        "A hit in this process: {}, {} keys, {}, {threads} thread{}",
        K::NAME,
        number(keys as f64),
        skew.name(),
        if threads == 1 { "" } else { "s" }
    );
    let about = "Nanoseconds of one thread for each hit, the ratio to bare quick_cache, and allocations; 200-byte values. Typed caches \
                 hold them in `Arc`; those that take only strings or bytes make them from the key, or decode, as their users must.";
    let mut table = Table::new(title, about, &["through", "ns", "x quick_cache", "allocations"]);
    for row in measure::<K>(effort, skew, keys, threads) {
        table.row([
            row.figures.name.clone(),
            number(row.figures.median()),
            number(row.ratio),
            number(row.allocations),
        ]);
    }
    table
}

fn measure<K: Key>(effort: Effort, skew: Skew, keys: u64, threads: usize) -> Vec<Row> {
    let order: Vec<K> = reads(skew, keys, effort.pick(40_000, 200_000));
    let mut peers = all::<K>();
    let base = peers.remove(0);
    // so many caches fit in memory at once; each group has the base anew
    let at_once = if keys > 100_000 { 3 } else { peers.len() };
    let mut rows: Vec<Row> = vec![];
    for group in peers.chunks(at_once) {
        let group: Vec<&Peer<K>> = std::iter::once(&base).chain(group).collect();
        let figures = round_robin(effort, &group, &order, keys, threads);
        let skipped = usize::from(!rows.is_empty());
        rows.extend(figures.into_iter().skip(skipped));
    }
    rows
}

fn round_robin<K: Key>(
    effort: Effort,
    group: &[&Peer<K>],
    order: &[K],
    keys: u64,
    threads: usize,
) -> Vec<Row> {
    let numbered: Vec<K> = (0..keys).map(K::numbered).collect();
    let caches: Vec<Box<dyn Local<K>>> = group
        .iter()
        .map(|peer| {
            // twice what is in them: nothing is evicted
            let cache = (peer.build)(2 * keys);
            cache.fill(&numbered);
            cache
        })
        .collect();
    let mut contenders: Vec<Contender<'_>> = group
        .iter()
        .zip(&caches)
        .map(|(peer, cache)| Contender::new(peer.name, || spread(peer.name, cache.as_ref(), order, threads)))
        .collect();
    let figures = interleave(&mut contenders, effort.pick(3, 9));
    drop(contenders);
    let few = &order[..10_000];
    let allocated = |cache: &dyn Local<K>| allocations(few.len(), || _ = cache.read(few));
    let base = figures[0].clone();
    figures
        .into_iter()
        .zip(&caches)
        .map(|(figures, cache)| Row {
            ratio: figures.ratio(&base),
            allocations: allocated(cache.as_ref()),
            figures,
        })
        .collect()
}

/// Lets each thread read all keys, from another place on.
fn spread<K: Key>(name: &str, cache: &dyn Local<K>, order: &[K], threads: usize) -> f64 {
    let (late, early) = order.split_at(order.len() / 2);
    let read = |turned: bool| {
        let parts = if turned { [early, late] } else { [late, early] };
        let found: usize = parts.iter().map(|part| cache.read(part)).sum();
        assert_eq!(found, order.len(), "{name} missed");
    };
    nanos(order.len(), || {
        std::thread::scope(|scope| {
            // the runtimes of new threads are part of it, and nothing beside so many reads
            (1..threads).for_each(|_| _ = scope.spawn(|| read(true)));
            read(false);
        });
    })
}
