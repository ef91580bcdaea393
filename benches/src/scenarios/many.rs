//! A hundred keys at once, and a miss: what larder adds to what the commands cost.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use larder::codec::{Codec, Postcard};
use larder_redis::RedisBackend;
use larder_testkit::servers::RedisServer;
use redis::AsyncCommands as _;

use crate::load::{Value, value};
use crate::measure::{Contender, allocations, cpu_time, double, interleave, single};
use crate::peers::far::{self, Far as _};
use crate::report::{Table, number};

use super::Effort;

const KEYS: u64 = 10_000;
const BATCH: u64 = 100;

pub fn run(effort: Effort) -> Vec<Table> {
    let Some(server) = RedisServer::start(&[]) else { return vec![] };
    vec![batches(effort, &server.url()), misses(effort, &server.url())]
}

fn encoded_key(key: u64) -> String {
    format!("encoded:{key}")
}

/// `MGET` by hand, with the decoding that anybody needs.
async fn mget(connection: &mut redis::aio::MultiplexedConnection, keys: &[u64]) -> usize {
    let named: Vec<String> = keys.iter().copied().map(encoded_key).collect();
    let found: Vec<Option<Vec<u8>>> = connection.mget(named).await.expect("the server answers");
    let decode = |bytes: Option<Vec<u8>>| -> Option<Value> { Postcard.decode(&bytes?.into()).ok() };
    found.into_iter().filter_map(decode).count()
}

fn batches(effort: Effort, url: &str) -> Table {
    let about = "Microseconds for 100 keys of 200-byte values, one task; the bare client's `MGET` with the same codec. Allocations for all 100.";
    let mut table =
        Table::new("100 keys at once from Redis", about, &["through", "us", "x MGET", "allocations"]);
    let runtime = single();
    let mut bare = runtime.block_on(far::redis_rs(url));
    let mut larder = runtime.block_on(far::larder_redis_rs(url));
    let mut fred = runtime.block_on(far::larder_fred(url));
    runtime.block_on(async {
        for key in 0..KEYS {
            let bytes = Postcard.encode(&value(key)).expect("a string can be encoded");
            bare.0.set::<_, _, ()>(encoded_key(key), &bytes[..]).await.expect("the server answers");
            larder.set(key).await;
            fred.set(key).await;
        }
    });
    let reads = effort.pick(200, 500);
    let batch = |at: u64| (0..BATCH).map(|key| (at * 37 + key * 61) % KEYS).collect::<Vec<u64>>();
    let timed = |read: &dyn Fn(&[u64]) -> usize| {
        let began = Instant::now();
        (0..reads).for_each(|at| assert_eq!(read(&batch(at)), BATCH as usize));
        began.elapsed().as_nanos() as f64 / 1_000.0 / reads as f64
    };
    let by_hand = |keys: &[u64]| runtime.block_on(mget(&mut bare.0.clone(), keys));
    let many = |cache: &far::Larder, keys: &[u64]| {
        let found = runtime.block_on(cache.0.get_many(keys)).expect("the server answers");
        found.into_iter().flatten().count()
    };
    let singly = |keys: &[u64]| {
        let found = keys.iter().map(|key| larder.0.get(key));
        let found = runtime.block_on(futures_util::future::join_all(found));
        found.into_iter().flatten().flatten().count()
    };
    type Read<'a> = (&'a str, Box<dyn Fn(&[u64]) -> usize + 'a>);
    let reads: [Read<'_>; 4] = [
        ("redis-rs `MGET`, decoded", Box::new(by_hand)),
        ("larder `get_many` over redis-rs", Box::new(|keys: &[u64]| many(&larder, keys))),
        ("larder `get_many` over fred", Box::new(|keys: &[u64]| many(&fred, keys))),
        ("larder, 100 times `get` at once", Box::new(singly)),
    ];
    let contenders = reads.iter().map(|(name, read)| Contender::new(*name, || timed(read.as_ref())));
    let mut contenders: Vec<Contender<'_>> = contenders.collect();
    let figures = interleave(&mut contenders, effort.pick(7, 15));
    drop(contenders);
    for (row, (_, read)) in figures.iter().zip(&reads) {
        let allocated = allocations(50, || (0..50).for_each(|at| _ = read(&batch(at))));
        table.row([
            row.name.clone(),
            number(row.median()),
            number(row.ratio(&figures[0])),
            number(allocated),
        ]);
    }
    table
}

/// `GET`, a value that is there at once, `SET`: cache-aside by hand, unfenced.
async fn by_hand(connection: &mut far::RedisRs, key: u64) {
    if connection.get(key).await.is_none() {
        connection.set(key).await;
    }
}

fn misses(effort: Effort, url: &str) -> Table {
    let about = "A miss whose source answers at once, 16 tasks on two threads: microseconds of this process's processor time (the server is \
                 another process), and misses a second. By hand it is `GET` and `SET`, without single flight and without a fence.";
    let mut table = Table::new(
        "A miss with Redis",
        about,
        &["through", "us of CPU", "more than by hand", "misses/s", "x by hand"],
    );
    let runtime = double();
    let larder = {
        let redis = runtime.block_on(RedisBackend::connect(url)).expect("an address");
        far::larder_over(&redis, "misses")
    };
    let locked = {
        let redis = runtime.block_on(RedisBackend::connect(url)).expect("an address");
        let source = larder::source_fn(|key: u64| async move { Ok::<_, Infallible>(Some(value(key))) });
        let ttl = std::time::Duration::from_secs(60);
        let strategy = larder::Strategy::aside(ttl).locked(redis.locks());
        let builder = larder::Cache::builder().namespace("locked").backend(redis.encoded(Postcard));
        builder.source(source).strategy(strategy).build().expect("the parts fit together")
    };
    let bare = runtime.block_on(far::redis_rs(url));
    let next = AtomicU64::new(1_000_000);
    let count = effort.pick(4_000, 10_000);
    let spent: [std::cell::RefCell<Vec<f64>>; 3] = Default::default();
    let measure = |at: usize| {
        let (cpu, began) = (cpu_time(), Instant::now());
        runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for _ in 0..16 {
                let first = next.fetch_add(count / 16, Ordering::Relaxed);
                let keys = first..first + count / 16;
                let (mut bare, larder, locked) = (bare.clone(), larder.clone(), locked.clone());
                tasks.spawn(async move {
                    for key in keys {
                        match at {
                            0 => by_hand(&mut bare, key).await,
                            1 => _ = larder.0.get(&key).await.expect("it loads"),
                            _ => _ = locked.get(&key).await.expect("it loads"),
                        }
                    }
                });
            }
            tasks.join_all().await;
        });
        spent[at].borrow_mut().push((cpu_time() - cpu).as_nanos() as f64 / 1_000.0 / count as f64);
        count as f64 / began.elapsed().as_secs_f64()
    };
    let names = ["by hand over redis-rs", "larder over redis-rs", "larder, locked"];
    let mut contenders: Vec<Contender<'_>> =
        names.iter().enumerate().map(|(at, name)| Contender::new(*name, move || measure(at))).collect();
    let figures = interleave(&mut contenders, effort.pick(5, 11));
    drop(contenders);
    let cpu: Vec<f64> = spent.into_iter().map(|spent| crate::measure::median(spent.into_inner())).collect();
    for (row, cpu_of) in figures.iter().zip(&cpu) {
        table.row([
            row.name.clone(),
            number(*cpu_of),
            number(cpu_of - cpu[0]),
            number(row.median()),
            number(row.ratio(&figures[0])),
        ]);
    }
    table
}
