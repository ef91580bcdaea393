//! A hit in Redis.

use std::time::{Duration, Instant};

use larder_testkit::servers::RedisServer;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::load::VALUE_BYTES;
use crate::measure::{Contender, allocations, double, interleave, single};
use crate::peers::far::{self, Far};
use crate::report::{Table, number};

use super::Effort;

const KEYS: u64 = 1_000;

pub fn run(effort: Effort) -> Vec<Table> {
    let Some(server) = RedisServer::start(&[]) else { return vec![] };
    let (url, runtime) = (server.url(), double());
    let peers = runtime.block_on(peers(&url));
    let mut tables: Vec<Table> =
        [1, 16, 64, 256].into_iter().map(|tasks| table(effort, &runtime, &peers, tasks)).collect();
    let counted = allocated(&url);
    for (name, allocations) in counted {
        for row in tables.iter_mut().flat_map(|table| &mut table.rows).filter(|row| row[0] == name) {
            row.push(number(allocations));
        }
    }
    if let Some(at) = tables.iter().position(|table| table.title.contains("64 tasks")) {
        let bars = tables[at]
            .rows
            .iter()
            .filter_map(|row| Some((row[0].clone(), row[1].replace(' ', "").parse().ok()?)));
        let bars = bars.collect();
        tables[at] = tables[at].clone().drawn("hits a second: more is better", bars);
    }
    tables
}

type Rate = Box<dyn Fn(&Runtime, u64, Duration) -> f64>;

/// A peer whose type is out of sight: reads with so many tasks for so long, and says how many answers a second came.
struct Peer {
    name: &'static str,
    rate: Rate,
}

async fn ready<F: Far>(name: &'static str, mut peer: F) -> Peer {
    for key in 0..KEYS {
        peer.set(key).await;
    }
    Peer {
        name,
        rate: Box::new(move |runtime, tasks, time| runtime.block_on(rate(name, &peer, tasks, time))),
    }
}

async fn peers(url: &str) -> Vec<Peer> {
    vec![
        ready("redis-rs", far::redis_rs(url).await).await,
        ready("fred", far::fred(url).await).await,
        ready("larder over redis-rs", far::larder_redis_rs(url).await).await,
        ready("larder over fred", far::larder_fred(url).await).await,
        ready("cached", far::cached(url).await).await,
        ready("hitbox-redis", far::hitbox(url)).await,
        ready("multi-tier-cache", far::multi_tier(url).await).await,
        ready("amalgam-cache", far::amalgam(url).await).await,
    ]
}

/// Answers a second of `tasks` tasks that read at once, each with a handle of its own.
async fn rate<F: Far>(name: &'static str, peer: &F, tasks: u64, time: Duration) -> f64 {
    let began = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let mut own = peer.clone();
        running.spawn(async move {
            let (mut key, mut answers) = (task * 7, 0u64);
            while began.elapsed() < time {
                key = (key + 31) % KEYS;
                let found = own.get(key).await;
                assert!(found.is_some_and(|value| value.len() == VALUE_BYTES), "{name} missed {key}");
                answers += 1;
            }
            answers
        });
    }
    let answers: u64 = running.join_all().await.into_iter().sum();
    answers as f64 / began.elapsed().as_secs_f64()
}

fn table(effort: Effort, runtime: &Runtime, peers: &[Peer], tasks: u64) -> Table {
    let title = format!("A hit in Redis: {tasks} task{}", if tasks == 1 { "" } else { "s" });
    let about = "Hits a second of 200-byte values on a runtime of two threads, the server on the same cores, and the ratio to a bare `GET` of \
                 redis-rs; allocations on a runtime of one thread, one task. cachet has no Redis tier of its own, and oxcache's cannot be built beside hitbox.";
    let mut table = Table::new(title, about, &["through", "hits/s", "x redis-rs", "allocations"]);
    let time = Duration::from_millis(effort.pick(150, 400));
    let mut contenders: Vec<Contender<'_>> =
        peers.iter().map(|peer| Contender::new(peer.name, || (peer.rate)(runtime, tasks, time))).collect();
    let figures = interleave(&mut contenders, effort.pick(5, 11));
    for row in &figures {
        table.row([row.name.clone(), number(row.median()), number(row.ratio(&figures[0]))]);
    }
    table
}

/// Counts the allocations of one read, on a thread that does everything itself.
fn allocated(url: &str) -> Vec<(&'static str, f64)> {
    const READS: usize = 2_000;
    fn one<F: Far>(name: &'static str, runtime: &Runtime, mut peer: F) -> (&'static str, f64) {
        let mut read = |count: usize| {
            runtime.block_on(async {
                for key in 0..count {
                    peer.get(key as u64 % KEYS).await;
                }
            });
        };
        read(100);
        (name, allocations(READS, || read(READS)))
    }
    let runtime = single();
    let rt = &runtime;
    vec![
        one("redis-rs", rt, rt.block_on(far::redis_rs(url))),
        one("fred", rt, rt.block_on(far::fred(url))),
        one("larder over redis-rs", rt, rt.block_on(far::larder_redis_rs(url))),
        one("larder over fred", rt, rt.block_on(far::larder_fred(url))),
        one("cached", rt, rt.block_on(far::cached(url))),
        one("hitbox-redis", rt, far::hitbox(url)),
        one("multi-tier-cache", rt, rt.block_on(far::multi_tier(url))),
        one("amalgam-cache", rt, rt.block_on(far::amalgam(url))),
    ]
}
