//! Four processes with two tiers each on one Redis, with and without faults: no process reads what is older than its own
//! acknowledged invalidation, and none what is older than the bound.
//!
//! `LARDER_TIERS_SECONDS=60 cargo test --release -p larder-redis --test tiers -- --nocapture --test-threads 1` runs each for
//! a minute and prints the figures.

mod common;

use std::time::{Duration, Instant};

use common::tiers::{BOUND, Processes, Report};
use common::{LIBRARIES, Library, or_skip};
use larder_redis::{Pushes, RedisBackend};
use larder_testkit::servers::{RedisCluster, RedisSentinels, RedisServer};

const COMMAND: Duration = Duration::from_millis(300);

/// How long each runs.
fn span() -> Duration {
    let seconds = std::env::var("LARDER_TIERS_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(seconds.unwrap_or(4))
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

/// One run with each client and each way of telling.
macro_rules! runs {
    ($($name:ident($server:ident, $span:ident) $fault:block => |$report:ident| $check:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for &library in LIBRARIES {
                for pushes in [Pushes::Tracking, Pushes::PubSub] {
                    let $server = or_skip!(RedisServer::start(&[]));
                    let processes = processes(library, &$server.url(), pushes, false).await;
                    let $span = span();
                    let $report: Report = processes.run(async $fault).await;
                    println!("{} {library:?} {pushes:?}: {}", stringify!($name), $report);
                    $check;
                }
            }
        }
    )*};
}

runs! {
    without_faults(_server, span) {
        tokio::time::sleep(span).await;
    } => |report| {
        assert!(report.near * 2 > report.reads, "most reads are near");
        assert!(report.stalest < BOUND / 2, "a push takes a moment");
        assert!(report.pushes > 0 && report.unacknowledged == 0);
    };

    the_listening_connection_is_cut_every_second(server, span) {
        let end = Instant::now() + span;
        while Instant::now() < end {
            pause(1_000).await;
            deafen(&server);
        }
    } => |report| {
        assert!(report.near * 2 > report.reads, "most reads are near");
        assert!(report.flushes > 4, "each cut is noticed");
    };

    paused_for_three_seconds(server, span) {
        pause(1_000).await;
        server.command(&["CLIENT", "PAUSE", "3000", "ALL"]);
        tokio::time::sleep(span + Duration::from_secs(1)).await;
    } => |report| assert!(report.blind > Duration::from_secs(1), "nothing is proven meanwhile");

    frozen_and_thawed(server, span) {
        pause(1_000).await;
        server.freeze();
        pause(3_000).await;
        server.thaw();
        tokio::time::sleep(span).await;
    } => |report| assert!(report.blind > Duration::from_secs(1), "nothing is proven meanwhile");

    restarted_empty(server, span) {
        pause(1_000).await;
        server.kill();
        pause(300).await;
        server.start_again();
        tokio::time::sleep(span).await;
        server.command(&["FLUSHALL"]);
        tokio::time::sleep(span / 2).await;
    } => |report| assert!(report.flushes > 4, "both are noticed");
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
        assert!(report.flushes > 4 && report.near > 0, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_cluster_every_node_tells() {
    for &library in LIBRARIES {
        let cluster = or_skip!(RedisCluster::start());
        let processes = processes(library, &cluster.url(), Pushes::Tracking, false).await;
        let report = processes.run(tokio::time::sleep(span())).await;
        println!("in a cluster {library:?}: {report}");
        assert!(report.near * 2 > report.reads, "most reads are near");
        assert!(report.stalest < BOUND / 2, "a push takes a moment from any node");
    }
}
