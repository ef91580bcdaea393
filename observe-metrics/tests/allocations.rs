//! A watched hit costs no allocation.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use larder::{Cache, Quick, Strategy};
use larder_metrics::Watched;

fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("a local hit must be ready at the first poll"),
    }
}

#[test]
fn a_watched_hit_allocates_nothing() {
    let strategy = Strategy::aside(Duration::from_secs(60));
    let cache: Cache<u64, String> =
        Cache::builder().backend(Quick::new(100)).strategy(strategy).build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(cache.insert(&1, "bread".to_owned())).unwrap();
    let cache = Watched::new(cache);
    let load = || async { Ok::<_, std::io::Error>("another".to_owned()) };
    let read = || {
        assert!(now(cache.get(&1)).unwrap().is_some());
        assert!(now(cache.get_or_load(&1, load)).unwrap().is_some());
    };
    // until the sample has a place for the key
    (0..1_000).for_each(|_| read());
    let counted = allocation_counter::measure(|| (0..10_000).for_each(|_| read()));
    assert_eq!(counted.count_total, 0);
}
