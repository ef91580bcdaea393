//! Four processes with two tiers each on one Redis, with and without faults: no process reads what is older than its own
//! acknowledged invalidation, and none what is older than the bound.
//!
//! `LARDER_TIERS_SECONDS=60 cargo test --release -p larder-redis --test tiers -- --nocapture --test-threads 1` runs each for
//! a minute and prints the figures.

mod common;

use std::time::{Duration, Instant};

use common::tiers::{BOUND, Processes, Report};
use common::{LIBRARIES, Library, or_skip};
use larder::cache::Origin;
use larder::codec::Json;
use larder::{Cache, Quick, Strategy, Tag, Tiered, source_fn};
use larder_redis::{Pushes, RedisBackend};
use larder_testkit::servers::{RedisCluster, RedisSentinels, RedisServer};

const COMMAND: Duration = Duration::from_millis(300);

/// Returns the duration of each run.
fn span() -> Duration {
    let seconds = std::env::var("LARDER_TIERS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(2))
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

async fn processes(library: Library, url: &str, pushes: Pushes, strict: bool) -> Processes {
    let mut handles = Vec::new();
    for _ in 0..4 {
        let config = library.config(url).command_timeout(COMMAND).pushes(pushes);
        let redis: RedisBackend = config.connect().await.expect("it starts");
        handles.push(if strict { redis.strict() } else { redis });
    }
    Processes::new(&handles)
}

/// Closes the connections over which the server tells of changes.
fn deafen(server: &RedisServer) {
    for client in server.command(&["CLIENT", "LIST"]).lines() {
        let field = |name: &str| client.split(' ').find_map(|field| field.strip_prefix(name));
        let (Some(id), Some(flags)) = (field("id="), field("flags=")) else { continue };
        if flags.contains(['t', 'B', 'P']) {
            server.command(&["CLIENT", "KILL", "ID", id]);
        }
    }
}

/// The number of runs in which a busy machine may show what a machine with time to spare shows in the first.
/// Promises are asserted in each run.
const RUNS: usize = 5;

/// The time after which what is still not there never comes. Nothing in these tests ends by itself within it.
const NEVER: Duration = Duration::from_secs(20);

/// Repeats a run until it shows the figures, and returns nothing else.
async fn until_shown(
    what: &str,
    processes: &Processes,
    fault: impl AsyncFn(),
    shows: impl Fn(&Report) -> bool,
) {
    for _ in 0..RUNS {
        let report = processes.run(fault()).await;
        println!("{what}: {report}");
        if shows(&report) {
            return;
        }
    }
    panic!("{what}: no run of {RUNS} shows the figures");
}

/// One run with each client and each way of telling.
macro_rules! runs {
    ($($name:ident($server:ident, $span:ident) $fault:block => |$report:ident| $shows:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for &library in LIBRARIES {
                for pushes in [Pushes::Tracking, Pushes::PubSub] {
                    let $server = or_skip!(RedisServer::start(&[]));
                    let processes = processes(library, &$server.url(), pushes, false).await;
                    let $span = span();
                    let what = format!("{} {library:?} {pushes:?}", stringify!($name));
                    until_shown(&what, &processes, async || $fault, |$report| $shows).await;
                }
            }
        }
    )*};
}

runs! {
    without_faults(_server, span) {
        tokio::time::sleep(span).await;
    } => |report| {
        let (near_serves, push_takes_a_moment) =
            (report.near * 5 > report.reads, report.stalest < BOUND / 2);
        near_serves && push_takes_a_moment && report.pushes > 0 && report.unacknowledged == 0
    };

    the_listening_connection_is_cut_every_second(server, span) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            pause(1_000).await;
            deafen(&server);
        }
    } => |report| {
        let (near_serves_on, cuts_are_noticed) = (report.near * 5 > report.reads, report.flushes > 4);
        near_serves_on && cuts_are_noticed
    };

    paused_for_three_seconds(server, span) {
        pause(1_000).await;
        server.command(&["CLIENT", "PAUSE", "3000", "ALL"]);
        // the time without heartbeats is counted when they come again
        tokio::time::sleep(Duration::from_secs(3) + span).await;
    } => |report| report.unverified > Duration::from_secs(1);

    frozen_and_thawed(server, span) {
        pause(1_000).await;
        server.freeze();
        pause(3_000).await;
        server.thaw();
        tokio::time::sleep(span).await;
    } => |report| report.unverified > Duration::from_secs(1);

    restarted_empty(server, span) {
        pause(1_000).await;
        server.kill();
        pause(300).await;
        server.start_again();
        tokio::time::sleep(span).await;
        server.command(&["FLUSHALL"]);
        tokio::time::sleep(span / 2).await;
    } => |report| report.flushes > 4;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_over() {
    for &library in LIBRARIES {
        let sentinels = or_skip!(RedisSentinels::start());
        let processes = processes(library, &sentinels.url(), Pushes::Tracking, true).await;
        let report = processes
            .run(async {
                pause(1_500).await;
                let primary = sentinels.primary();
                let of = |server: &&RedisServer| Some(server.port()) == primary;
                sentinels.servers().iter().find(of).expect("one is the primary").kill();
                for _ in 0..200 {
                    pause(100).await;
                    if sentinels.primary() != primary {
                        break;
                    }
                }
                tokio::time::sleep(span()).await;
            })
            .await;
        println!("failed over {library:?}: {report}");
        assert!(report.flushes > 4 && report.flushes < 1_000, "{report:?}");
        // how long the outage was is up to the sentinels; what follows is not
        let began = Instant::now();
        while {
            let calm = processes.run(pause(500)).await;
            calm.unacknowledged > 0 || calm.unverified > Duration::ZERO
        } {
            assert!(began.elapsed() < NEVER, "service resumes");
        }
        // the near tier serves again, and changes are acknowledged
        let served = |after: &Report| after.near * 5 > after.reads && after.unacknowledged == 0;
        until_shown(&format!("after it {library:?}"), &processes, || tokio::time::sleep(span()), served)
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_every_node_tells() {
    for &library in LIBRARIES {
        let cluster = or_skip!(RedisCluster::start());
        let processes = processes(library, &cluster.url(), Pushes::Tracking, false).await;
        // the near tier serves, and a push takes a moment from any node
        let is_told = |report: &Report| report.near * 5 > report.reads && report.stalest < BOUND / 2;
        let what = format!("in a cluster {library:?}");
        until_shown(&what, &processes, || tokio::time::sleep(span()), is_told).await;
    }
}

/// A cache over a table that stands still, whose near tier is verified by heartbeats.
async fn told(redis: &RedisBackend, namespace: &str) -> Cache<u64, u64> {
    let cache = Cache::builder()
        .namespace(namespace)
        .backend(Tiered::new(Quick::new(1_000), redis.encoded(Json)).max_staleness(BOUND))
        .source(source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(key)) }))
        .strategy(
            Strategy::aside(Duration::from_secs(600)).tagged(|value: &u64| [Tag::new("tens", value / 10)]),
        )
        .build()
        .expect("a sound configuration");
    let began = Instant::now();
    // what lives longer than the bound is told of
    while {
        cache.get(&1).await.expect("it loads");
        tokio::time::sleep(BOUND + Duration::from_millis(100)).await;
        cache.get_entry(&1).await.expect("it loads").origin != Origin::Near
    } {
        assert!(began.elapsed() < 3 * NEVER, "never proven: {}", cache.stats());
    }
    cache
}

/// Reads a key until it is answered otherwise than near. A key that no process tells of stays near, by heartbeats.
async fn leaves(cache: &Cache<u64, u64>, key: u64) -> Origin {
    let began = Instant::now();
    loop {
        let origin = cache.get_entry(&key).await.expect("it loads").origin;
        if origin != Origin::Near {
            return origin;
        }
        assert!(began.elapsed() < NEVER, "key {key} is still near: {}", cache.stats());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn clients(server: &RedisServer) -> usize {
    let info = server.command(&["INFO", "clients"]);
    let connected = info.lines().find_map(|line| line.strip_prefix("connected_clients:"));
    connected.and_then(|count| count.trim().parse().ok()).expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_caches_share_the_connections_and_close_them() {
    for &library in LIBRARIES {
        let server = or_skip!(RedisServer::start(&[]));
        let redis = library.config(&server.url()).connect().await.expect("it starts");
        let mut caches = Vec::new();
        let opened = (0..100).map(|number| {
            let (redis, name) = (redis.clone(), format!("cache-{number}"));
            tokio::spawn(async move { told(&redis, &name).await })
        });
        for cache in opened.collect::<Vec<_>>() {
            caches.push(cache.await.expect("it is told"));
        }
        // two for commands, one that listens, and the one that asks
        assert!(clients(&server) <= 4, "{library:?}: {} connections", clients(&server));
        let before = caches[71].stats().pushes;
        server.command(&["UNLINK", "cache-70:v:{1}"]);
        assert_eq!(leaves(&caches[70], 1).await, Origin::Loaded);
        assert_eq!(caches[71].stats().pushes, before, "it concerns another");
        drop(caches);
        let began = Instant::now();
        while clients(&server) > 3 {
            assert!(began.elapsed() < NEVER, "{library:?}: nobody is left to listen");
            pause(50).await;
        }
        // and whoever comes later is told again
        drop(told(&redis, "late").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_any_program_changes_is_told() {
    for &library in LIBRARIES {
        let server = or_skip!(RedisServer::start(&[]));
        let redis = library.config(&server.url()).connect().await.expect("it starts");
        let cache = told(&redis, "shop").await;
        let near = async |key: u64| {
            let began = Instant::now();
            while cache.get_entry(&key).await.expect("it loads").origin != Origin::Near {
                assert!(began.elapsed() < NEVER, "{library:?}: {}", cache.stats());
            }
        };
        for command in [
            &["UNLINK", "shop:v:{7}", "shop:f:{7}"][..],
            &["DEL", "shop:v:{7}"],
            &["SET", "shop:v:{7}", "not ours"],
            &["PEXPIRE", "shop:v:{7}", "0"],
            &["UNLINK", "shop:l:{shop}", "shop:t:{shop}"],
            &["FLUSHALL"],
        ] {
            near(7).await;
            server.command(command);
            assert_eq!(leaves(&cache, 7).await, Origin::Loaded, "{library:?} {command:?}");
            // let what was flushed be proven anew
            pause(100).await;
        }
        // nobody else's key
        near(7).await;
        let before = cache.stats().pushes;
        server.command(&["SET", "shop", "not ours"]);
        server.command(&["SET", "shopping:v:{7}", "not ours"]);
        pause(50).await;
        assert_eq!(cache.stats().pushes, before, "{library:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_are_followed_without_a_round_trip_for_a_hit() {
    for &library in LIBRARIES {
        for pushes in [Pushes::Tracking, Pushes::PubSub] {
            let server = or_skip!(RedisServer::start(&[]));
            let connect =
                async || library.config(&server.url()).pushes(pushes).connect().await.expect("it starts");
            println!("with {library:?} by {pushes:?}");
            let (redis, other) = (connect().await, connect().await);
            let cache = told(&redis, "shop").await;
            let other = Cache::<u64, u64>::builder()
                .namespace("shop")
                .backend(other.encoded(Json))
                .strategy(Strategy::aside(Duration::from_secs(600)))
                .build()
                .expect("a sound configuration");
            let invalidate = async |tens: u64| {
                other.invalidate_tag(&Tag::new("tens", tens)).await.expect("the server is there");
            };
            cache.get_many(&[10, 20, 30]).await.expect("it loads");
            invalidate(1).await;
            assert_eq!(leaves(&cache, 10).await, Origin::Loaded, "{library:?} {pushes:?}");
            // more than the ledger's log holds, of tags that nobody has
            for tens in 100..400 {
                invalidate(tens).await;
            }
            invalidate(2).await;
            assert_eq!(leaves(&cache, 20).await, Origin::Loaded, "{library:?} {pushes:?}");
            let began = Instant::now();
            while {
                pause(50).await;
                let near = cache.stats().near_hits;
                for key in [10, 20, 30].repeat(10) {
                    cache.get(&key).await.expect("it loads");
                }
                cache.stats().near_hits < near + 27
            } {
                assert!(began.elapsed() < NEVER, "{library:?} {pushes:?}: {}", cache.stats());
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_was_lost_is_noticed() {
    for &library in LIBRARIES {
        let server = or_skip!(RedisServer::start(&[]));
        let redis = library.config(&server.url()).pushes(Pushes::PubSub).connect().await.expect("it starts");
        let cache = told(&redis, "shop").await;
        let flushes = cache.stats().near_flushes;
        // as if a message had been told to nobody
        server.command(&["INCR", "shop:n:{shop}"]);
        let began = Instant::now();
        while cache.stats().near_flushes == flushes {
            assert!(began.elapsed() < NEVER, "{library:?}: {}", cache.stats());
            pause(50).await;
        }
        // what lives longer than the bound is proven again
        while {
            cache.get(&1).await.expect("it loads");
            pause(1_500).await;
            cache.get_entry(&1).await.expect("it loads").origin != Origin::Near
        } {
            assert!(began.elapsed() < 3 * NEVER, "{library:?}: {}", cache.stats());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_caches_of_one_handle_tell_each_other() {
    for &library in LIBRARIES {
        for pushes in [Pushes::Tracking, Pushes::PubSub] {
            let server = or_skip!(RedisServer::start(&[]));
            let redis = library.config(&server.url()).pushes(pushes).connect().await.expect("it starts");
            let (first, second) = (told(&redis, "shop").await, told(&redis, "shop").await);
            assert_eq!(second.get_entry(&1).await.expect("it loads").origin, Origin::Near);
            first.refresh(&1).await.expect("it loads");
            assert_eq!(leaves(&second, 1).await, Origin::Far, "{library:?} {pushes:?}");
        }
    }
}

#[tokio::test]
async fn a_cluster_tells_by_tracking_only() {
    let cluster = or_skip!(RedisCluster::start());
    for &library in LIBRARIES {
        let error =
            library.config(&cluster.url()).pushes(Pushes::PubSub).connect().await.expect_err("refused");
        assert!(error.to_string().contains("leave out `.pushes(Pushes::PubSub)`"), "{error}");
    }
}
