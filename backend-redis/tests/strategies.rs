//! Every strategy over Redis, on both clients, on a node and on a cluster, alone and below a near tier.

mod common;

use common::{Library, Reached, cluster, namespace, node, or_skip};
use larder::codec::Json;
use larder::{Cache, Quick, Tiered};
use larder_testkit::{CacheFixture, Process, Time};

/// Two processes on one server: each with connections of its own.
struct Two<S> {
    reached: Reached<S>,
    near: bool,
    /// The seconds by which the processes' clocks are ahead of the server's.
    ahead: [i64; 2],
}

impl<S> CacheFixture for Two<S> {
    async fn open(&self) -> Vec<Process> {
        let namespace = namespace();
        let mut processes = Vec::new();
        for ahead in self.ahead {
            let redis = self.reached.connect().await;
            let builder = Cache::builder().namespace(&namespace);
            let builder = match self.near {
                true => builder.backend(Tiered::new(Quick::new(10_000), redis.encoded(Json))),
                false => builder.backend(redis.encoded(Json)),
            };
            processes.push(Process::new(builder).locking(redis.locks()).ahead(ahead));
        }
        processes
    }

    fn time(&self) -> &Time {
        larder_testkit::Fixture::time(&self.reached)
    }
}

macro_rules! suites {
    ($($feature:literal $name:ident: $library:ident on $servers:ident, near $near:literal, ahead $ahead:expr;)*) => {$(
        #[cfg(feature = $feature)]
        mod $name {
            use super::*;
            larder_testkit::strategy_suite!(Two {
                reached: or_skip!($servers(Library::$library)),
                near: $near,
                ahead: $ahead,
            });
        }
    )*};
}

suites! {
    "redis-rs" redis_rs_node: RedisRs on node, near false, ahead [0, 0];
    "redis-rs" redis_rs_tiers: RedisRs on node, near true, ahead [0, 0];
    "redis-rs" redis_rs_cluster: RedisRs on cluster, near false, ahead [600, -600];
    "fred" fred_node: Fred on node, near false, ahead [-600, 600];
    "fred" fred_cluster: Fred on cluster, near false, ahead [0, 0];
}
