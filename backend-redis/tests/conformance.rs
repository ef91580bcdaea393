//! The whole suite, on both clients, on a node and on a cluster.

mod common;

use common::{Library, cluster, node, or_skip};
use larder_testkit::Time;

macro_rules! suites {
    ($($feature:literal $name:ident: $library:ident on $servers:ident;)*) => {$(
        #[cfg(feature = $feature)]
        mod $name {
            use super::*;

            mod alone {
                use super::*;
                larder_testkit::backend_suite!(or_skip!($servers(Library::$library)));
            }

            mod shared {
                use super::*;
                larder_testkit::shared_suite!(or_skip!($servers(Library::$library)));
            }

            mod locks {
                use super::*;
                larder_testkit::lock_suite!((
                    Time::real(),
                    or_skip!($servers(Library::$library)).kept_locks().await,
                ));
            }

            mod ledgers {
                use super::*;
                larder_testkit::ledger_suite!(or_skip!($servers(Library::$library)).kept_ledger().await);
            }
        }
    )*};
}

suites! {
    "redis-rs" redis_rs_node: RedisRs on node;
    "redis-rs" redis_rs_cluster: RedisRs on cluster;
    "fred" fred_node: Fred on node;
    "fred" fred_cluster: Fred on cluster;
}
