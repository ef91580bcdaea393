//! The growth of the costs with the number of keys, caches and tags.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::{Cache, Quick, Strategy, Tag, source_fn};
use rand::{Rng, SeedableRng, rngs::SmallRng};

use crate::load::{Draw, Skew};
use crate::measure::{Contender, block_on, interleave, kept_bytes, median, nanos};
use crate::report::{Table, number};

use super::Effort;

const TTL: Duration = Duration::from_secs(3_600);

pub fn run(effort: Effort) -> Vec<Table> {
    vec![keys(effort), caches(effort), tags(effort)]
}

fn cache(capacity: u64, tags: usize) -> Cache<u64, u64> {
    let source = source_fn(|key: u64| async move { Ok::<_, Infallible>(Some(key)) });
    let strategy = Strategy::aside(TTL);
    let strategy = match tags {
        0 => strategy,
        _ => strategy.tagged(move |value: &u64| {
            let value = *value;
            (0..tags as u64).map(move |tag| Tag::new("group", (value + tag) % 1_000)).collect::<Vec<Tag>>()
        }),
    };
    let built = Cache::builder().backend(Quick::new(capacity)).source(source).strategy(strategy).build();
    built.expect("the parts fit together")
}

fn fill(cache: &Cache<u64, u64>, count: u64) {
    block_on(async {
        for key in 0..count {
            cache.insert(&key, key).await.expect("a local store");
        }
    });
}

fn hits(cache: &Cache<u64, u64>, keys: &[u64], then: impl Fn(u64)) {
    block_on(async {
        for key in keys {
            assert!(black_box(cache.get(key).await).is_ok_and(|value| value.is_some()), "{key} is missing");
            then(*key);
        }
    });
}

fn bare_hits(cache: &quick_cache::sync::Cache<u64, Arc<u64>>, keys: &[u64], then: impl Fn(u64)) {
    for key in keys {
        assert!(black_box(cache.get(key)).is_some(), "{key} is missing");
        then(*key);
    }
}

/// Some 160 instructions that need no memory.
#[inline(always)]
fn work(key: u64) {
    let mut parts = [key, key ^ 5, key.wrapping_add(7), key.wrapping_mul(3)];
    for round in 0..20 {
        for (part, turn) in parts.iter_mut().zip([5, 7, 9, 11]) {
            *part = part.rotate_left(turn) ^ round;
        }
    }
    black_box(parts[0] ^ parts[1] ^ parts[2] ^ parts[3]);
}

/// From ten thousand keys to ten million.
fn keys(effort: Effort) -> Table {
    let about = "Nanoseconds of a hit, one thread, uniform u64 keys with u64 values in `Arc`: bare quick_cache, larder over it, and the ratio. \
                 Once hit after hit, where a processor waits for the memory of several hits at the same time, the more of them the shorter each is; and once with 160 \
                 instructions of other work after each hit (9 ns of the figures), as in a program that does something with what it has read.";
    let columns = [
        "keys",
        "quick_cache",
        "larder",
        "ratio",
        "quick_cache amid work",
        "larder amid work",
        "ratio amid work",
        "bytes an entry, larder",
    ];
    let mut table = Table::new("More keys", about, &columns);
    for count in effort.pick(&[10_000u64, 100_000, 1_000_000][..], &[10_000, 100_000, 1_000_000, 10_000_000])
    {
        let bare = quick_cache::sync::Cache::<u64, Arc<u64>>::new(*count as usize + *count as usize / 4);
        (0..*count).for_each(|key| bare.insert(key, Arc::new(key)));
        let mut own = None;
        let bytes = kept_bytes(|| {
            let filled = cache(count + count / 4, 0);
            fill(&filled, *count);
            own = Some(filled);
        }) / *count as f64;
        let Some(own) = own else { continue };
        let mut random = SmallRng::seed_from_u64(3);
        let order: Vec<u64> =
            (0..effort.pick(50_000, 200_000)).map(|_| random.random_range(0..*count)).collect();
        let mut contenders = [
            Contender::new("quick_cache", || nanos(order.len(), || bare_hits(&bare, &order, |_| ()))),
            Contender::new("larder", || nanos(order.len(), || hits(&own, &order, |_| ()))),
            Contender::new("quick_cache amid work", || nanos(order.len(), || bare_hits(&bare, &order, work))),
            Contender::new("larder amid work", || nanos(order.len(), || hits(&own, &order, work))),
        ];
        let figures = interleave(&mut contenders, effort.pick(5, 11));
        table.row([
            number(*count as f64),
            number(figures[0].median()),
            number(figures[1].median()),
            number(figures[1].ratio(&figures[0])),
            number(figures[2].median()),
            number(figures[3].median()),
            number(figures[3].ratio(&figures[2])),
            number(bytes),
        ]);
    }
    table
}

/// From one cache to a thousand, with as many entries in all.
fn caches(effort: Effort) -> Table {
    const ENTRIES: u64 = 100_000;
    let about = "Caches over quick_cache with 100 000 entries in all: nanoseconds of a hit in one drawn at random, microseconds to build one, and the \
                 bytes that an empty one takes.";
    let mut table = Table::new("More caches", about, &["caches", "ns a hit", "us to build", "bytes empty"]);
    for count in [1u64, 10, 100, 1_000] {
        let each = ENTRIES / count;
        // the allocator tidies up what the tables before have left at the first large block that it is asked for
        drop(cache(each * 2, 0));
        let mut caches = vec![];
        let began = Instant::now();
        let bytes = kept_bytes(|| caches.extend((0..count).map(|_| cache(each * 2, 0))));
        let built = began.elapsed().as_nanos() as f64 / 1_000.0 / count as f64;
        caches.iter().for_each(|cache| fill(cache, each));
        let mut random = SmallRng::seed_from_u64(5);
        let order: Vec<(usize, u64)> = (0..effort.pick(50_000, 200_000))
            .map(|_| (random.random_range(0..count as usize), random.random_range(0..each)))
            .collect();
        let read = || {
            block_on(async {
                for (at, key) in &order {
                    assert!(
                        black_box(caches[*at].get(key).await).is_ok_and(|value| value.is_some()),
                        "it is there"
                    );
                }
            });
        };
        let rounds = (0..effort.pick(3, 7)).map(|_| nanos(order.len(), read)).collect();
        table.row([
            number(count as f64),
            number(median(rounds)),
            number(built),
            number(bytes / count as f64),
        ]);
    }
    table
}

/// From no tag an entry to sixteen.
fn tags(effort: Effort) -> Table {
    let about = "10 000 entries over quick_cache, each with so many of 1 000 tags: nanoseconds of a hit while no tag has been invalidated and after \
                 another tag has been, of an insert, and bytes an entry.";
    let columns = ["tags an entry", "ns a hit", "after an invalidation", "ns an insert", "bytes an entry"];
    let mut table = Table::new("More tags", about, &columns);
    const COUNT: u64 = 10_000;
    let mut draw = Draw::new(Skew::Zipf, COUNT, 9);
    let order: Vec<u64> = (0..effort.pick(50_000, 200_000)).map(|_| draw.next()).collect();
    for tags in [0, 1, 2, 4, 8, 16] {
        let mut own = None;
        let bytes = kept_bytes(|| {
            let filled = cache(COUNT * 2, tags);
            fill(&filled, COUNT);
            own = Some(filled);
        }) / COUNT as f64;
        let Some(own) = own else { continue };
        let rounds = effort.pick(3, 7);
        let before = median((0..rounds).map(|_| nanos(order.len(), || hits(&own, &order, |_| ()))).collect());
        block_on(own.invalidate_tag(&Tag::new("group", 5_000))).expect("a local store");
        let after = median((0..rounds).map(|_| nanos(order.len(), || hits(&own, &order, |_| ()))).collect());
        let insert = median((0..rounds).map(|_| nanos(COUNT as usize, || fill(&own, COUNT))).collect());
        table.row([tags.to_string(), number(before), number(after), number(insert), number(bytes)]);
    }
    table
}
