//! Builder calls commute, and a configuration that cannot work is refused with a hint.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::future::Future as _;
use std::time::Duration;

use common::Table;
use larder::backend::{Breaker, Encoded, Prefix, Timeout};
use larder::clock::ManualClock;
use larder::codec::Json;
use larder::{Cache, CacheBuilder, ErrorKind, Quick, Strategy, Tiered};
use larder_memory::MemoryServer;
use proptest::prelude::*;
use proptest::strategy::Strategy as _;

type Builder = CacheBuilder<u64, u64>;

/// Returns the behaviour of the cache built from these calls, in a few words.
async fn behaviour(calls: Vec<fn(Builder, &World) -> Builder>) -> Vec<String> {
    let world = World::new();
    let cache =
        calls.into_iter().fold(Cache::builder(), |builder, call| call(builder, &world)).build().unwrap();
    let mut told = vec![format!("{:?}", cache.get(&1).await), format!("{:?}", cache.get(&9).await)];
    for step in [4, 2, 300] {
        world.clock.advance(Duration::from_secs(step));
        let (one, nine) = (cache.get_if_present(&1).await.unwrap(), cache.get_if_present(&9).await.unwrap());
        told.push(format!("{one:?} {nine:?}"));
    }
    told.push(format!("{} loads, keys {:?}", world.table.loads(), world.server.keys()));
    told
}

struct World {
    table: Table,
    clock: ManualClock,
    server: MemoryServer,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        Self { table: Table::with([(1, 10)]), server: MemoryServer::with_clock(clock.clone()), clock }
    }
}

fn calls() -> Vec<fn(Builder, &World) -> Builder> {
    vec![
        |builder, _| builder.namespace("numbers"),
        |builder, _| builder.schema(3),
        |builder, world| builder.backend(world.server.connect("one").encoded(Json)),
        |builder, world| builder.source(world.table.clone()),
        |builder, world| builder.clock(world.clock.clone()),
        |builder, _| builder.backend_timeout(Duration::from_secs(7)),
        |builder, _| builder.strategy(strategy(&[0, 1, 2, 3, 4])),
    ]
}

fn strategy(order: &[usize]) -> Strategy<u64> {
    let calls: [fn(Strategy<u64>) -> Strategy<u64>; 5] = [
        |strategy| strategy.negative_ttl(Duration::from_secs(5)),
        |strategy| strategy.ttl_by(|value| (*value == 10).then_some(Duration::from_secs(200))),
        |strategy| strategy.load_timeout(Duration::from_secs(9)),
        |strategy| strategy.lease(Duration::from_secs(3)),
        |strategy| strategy.jitter(0.0),
    ];
    order.iter().fold(Strategy::aside(Duration::from_secs(60)), |strategy, &call| calls[call](strategy))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn builder_calls_commute(order in Just((0..7).collect::<Vec<usize>>()).prop_shuffle()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let shuffled = order.iter().map(|&call| calls()[call]).collect();
        prop_assert_eq!(runtime.block_on(behaviour(calls())), runtime.block_on(behaviour(shuffled)));
    }

    #[test]
    fn strategy_calls_commute(order in Just((0..5).collect::<Vec<usize>>()).prop_shuffle()) {
        prop_assert_eq!(format!("{:?}", strategy(&[0, 1, 2, 3, 4])), format!("{:?}", strategy(&order)));
    }
}

fn refused(builder: Builder) -> String {
    let error = builder.build().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    error.to_string()
}

#[test]
fn what_cannot_work_is_refused_with_the_mend() {
    let aside = || Strategy::aside(Duration::from_secs(60));
    let local = || Cache::builder().backend(Quick::new(10));
    let backend = |builder: Builder| builder.strategy(aside());
    let server = MemoryServer::new();
    let cases: Vec<(Builder, &str)> = vec![
        (Cache::builder().strategy(aside()), ".backend("),
        (local(), ".strategy("),
        (local().strategy(Strategy::aside(Duration::ZERO)), "at least 1 ms"),
        (local().strategy(aside().negative_ttl(Duration::ZERO)), "`negative_ttl` of zero"),
        (local().strategy(aside().load_timeout(Duration::ZERO)), "`load_timeout` of zero"),
        (local().strategy(aside().lease(Duration::ZERO)), "`lease` of zero"),
        (local().strategy(aside().max_backoff(Duration::ZERO)), "`max_backoff` of zero"),
        (local().strategy(aside().max_concurrent_loads(0)), "give at least 1"),
        (local().strategy(aside().max_queued_loads(9)), "call `.max_concurrent_loads(n)` too"),
        (local().strategy(aside().max_batch(9)), "call `.batch_window(duration)` too"),
        (local().strategy(aside().jitter(1.0)), "from 0 to below 1"),
        (local().strategy(aside().jitter(f64::NAN)), "from 0 to below 1"),
        (local().strategy(aside().jitter(-0.1)), "from 0 to below 1"),
        (local().strategy(aside()).namespace("a b"), "cannot be a namespace"),
        (local().strategy(aside()).namespace("a{b}"), "cannot be a namespace"),
        (local().strategy(aside()).namespace(""), "cannot be a namespace"),
        (local().strategy(aside()).backend_timeout(Duration::ZERO), "timeout of zero"),
        (backend(Cache::builder().backend(Quick::new(0))), "Quick::new(0)"),
        (backend(Cache::builder().backend(larder_moka::Moka::new(0))), "Moka::new(0)"),
        (backend(Cache::builder().backend(server.connect("one").encoded(Json))), ".namespace("),
        (backend(Cache::builder().backend(Timeout::new(Quick::new(1), Duration::ZERO))), "timeout of zero"),
        (backend(Cache::builder().backend(Breaker::new(Quick::new(1)).failures(0))), "at least 1 failure"),
        (backend(Cache::builder().backend(Prefix::new("a b", Quick::new(1)))), "cannot be a namespace"),
        (
            backend(
                Cache::builder().backend(Tiered::new(Quick::new(1), Quick::new(1)).near_ttl(Duration::ZERO)),
            ),
            "`near_ttl` of zero",
        ),
        (
            backend(Cache::builder().backend(Encoded::new(server.connect("one"), Json).max_bytes(0))),
            "`max_bytes(0)`",
        ),
    ];
    for (builder, mend) in cases {
        let message = refused(builder);
        assert!(message.contains(mend), "{message:?} does not say {mend:?}");
    }
}

#[tokio::test]
async fn a_cache_without_a_source_says_what_to_do() {
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(1))
        .strategy(Strategy::aside(Duration::from_secs(1)))
        .build()
        .unwrap();
    let error = cache.get(&1).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("`get_or_load`"), "{error}");
}

#[test]
fn a_load_outside_a_runtime_says_what_to_do() {
    let cache = common::local(&Table::default());
    let mut get = std::pin::pin!(cache.get(&1));
    // the backend's timeout needs the runtime's timer: panics of tokio must not be the way a user learns it
    let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        get.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    }));
    match polled.expect("no panic") {
        std::task::Poll::Ready(Err(error)) => assert!(error.to_string().contains("tokio runtime"), "{error}"),
        other => panic!("{other:?}"),
    }
}
