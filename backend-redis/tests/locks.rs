//! Locks among processes: who loads, who waits, and how long.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::proxy::Proxy;
use common::{LIBRARIES, namespace, node, or_skip};
use larder::codec::Json;
use larder::lock::{Acquired, LockTimeout, Locking};
use larder::{Cache, LockProvider as _, Strategy, source_fn};

const LOAD: Duration = Duration::from_millis(200);

/// 250 tasks in each of four processes (connections of their own) ask for one missing key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_askers_make_one_load() {
    for &library in LIBRARIES {
        let reached = or_skip!(node(library));
        let (loads, space) = (Arc::new(AtomicU64::new(0)), namespace());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let redis = reached.connect().await;
            let counted = Arc::clone(&loads);
            let load = source_fn(move |key: u64| {
                let counted = Arc::clone(&counted);
                async move {
                    counted.fetch_add(1, SeqCst);
                    tokio::time::sleep(LOAD).await;
                    Ok::<_, std::io::Error>(Some(key))
                }
            });
            let cache: Cache<u64, u64> = Cache::builder()
                .namespace(&space)
                .backend(redis.encoded(Json))
                .source(load)
                .strategy(Strategy::aside(Duration::from_secs(60)).locked(redis.locks()))
                .build()
                .unwrap();
            for _ in 0..250 {
                let cache = cache.clone();
                tasks.spawn(async move { assert_eq!(cache.get(&7).await.unwrap().as_deref(), Some(&7)) });
            }
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
        assert_eq!(loads.load(SeqCst), 1, "{library:?}");
    }
}

/// The release is sent to the waiters: none has to poll for it, which takes 100 ms and more.
#[tokio::test]
async fn waiters_are_woken_by_the_release() {
    for &library in LIBRARIES {
        let reached = or_skip!(node(library));
        let (one, other) = (reached.connect().await.locks(), reached.connect().await.locks());
        let mut took = Vec::new();
        for round in 0..15 {
            let name = format!("{} {round}", namespace());
            let Acquired::Held(token) = one.try_acquire(&name, Duration::from_secs(10)).await.unwrap() else {
                panic!()
            };
            let waiting = {
                let (other, name) = (other.clone(), name.clone());
                tokio::spawn(async move {
                    other.released(&name, Duration::from_secs(10)).await.unwrap();
                    Instant::now()
                })
            };
            tokio::time::sleep(Duration::from_millis(30)).await;
            let released = Instant::now();
            assert!(one.release(&name, token).await.unwrap());
            took.push(waiting.await.unwrap().saturating_duration_since(released));
        }
        took.sort();
        assert!(took[7] < Duration::from_millis(80), "{library:?}: half of them in {:?}", took[7]);
    }
}

/// The holder's connection ends with its process: the lease ends the lock, and the waiter goes on.
#[tokio::test]
async fn a_dead_holders_lease_ends() {
    let reached = or_skip!(node(LIBRARIES[0]));
    let (one, other) = (reached.connect().await.locks(), reached.connect().await.locks());
    let name = namespace();
    let lease = Duration::from_millis(300);
    let Acquired::Held(token) = one.try_acquire(&name, lease).await.unwrap() else { panic!("it is free") };
    let began = Instant::now();
    other.released(&name, Duration::from_secs(10)).await.unwrap();
    let took = began.elapsed();
    assert!(took > Duration::from_millis(200) && took < Duration::from_secs(5), "{took:?}");
    assert!(matches!(other.try_acquire(&name, lease).await.unwrap(), Acquired::Held(_)));
    assert!(!one.renew(&name, token, lease).await.unwrap(), "the loss is visible");
}

/// Nothing is left of waiting: no subscription, no key.
#[tokio::test]
async fn waiting_leaves_nothing() {
    let server = or_skip!(larder_testkit::servers::RedisServer::start(&[]));
    for &library in LIBRARIES {
        let locks = library.config(&server.url()).connect().await.unwrap().locks();
        let lease = Duration::from_millis(100);
        for name in ["a", "b", "c"] {
            assert!(matches!(locks.try_acquire(name, lease).await.unwrap(), Acquired::Held(_)));
        }
        futures_util::future::join_all(
            ["a", "b", "c"].map(|name| locks.released(name, Duration::from_millis(50))),
        )
        .await;
        let began = Instant::now();
        while !server.command(&["PUBSUB", "CHANNELS"]).is_empty() || server.command(&["DBSIZE"]) != "0" {
            assert!(
                began.elapsed() < Duration::from_secs(20),
                "{:?}",
                server.command(&["PUBSUB", "CHANNELS"])
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// A provider that cannot be reached costs the election, not the load.
#[tokio::test]
async fn without_locks_everybody_loads_for_themselves() {
    let server = or_skip!(larder_testkit::servers::RedisServer::start(&[]));
    let reached = or_skip!(node(LIBRARIES[0]));
    let gone = LIBRARIES[0]
        .config(&server.url())
        .command_timeout(Duration::from_millis(200))
        .connect()
        .await
        .unwrap();
    server.kill();
    let redis = reached.connect().await;
    let cache: Cache<u64, u64> = Cache::builder()
        .namespace(namespace())
        .backend(redis.encoded(Json))
        .source(source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(key)) }))
        .strategy(
            Strategy::aside(Duration::from_secs(60))
                .locked(Locking::new(gone.locks()).on_timeout(LockTimeout::Fail)),
        )
        .build()
        .unwrap();
    assert_eq!(cache.get(&7).await.unwrap().as_deref(), Some(&7));
    assert!(cache.stats().backend_errors > 0);
}

/// A release, or an acquisition, that got no answer may leave the lock held: it is given back as soon as that can be done, and
/// others do not wait for the lease.
#[tokio::test]
async fn what_got_no_answer_is_given_back() {
    let server = or_skip!(larder_testkit::servers::RedisServer::start(&[]));
    for &library in LIBRARIES {
        let proxy = Proxy::to(server.port()).await;
        let connect = async |url: &str| {
            library.config(url).command_timeout(Duration::from_millis(200)).connect().await.unwrap().locks()
        };
        let (cut, other) = (connect(&proxy.url()).await, connect(&server.url()).await);
        let (lease, name) = (Duration::from_secs(600), namespace());
        let free = async || {
            let began = Instant::now();
            loop {
                if let Acquired::Held(token) = other.try_acquire(&name, lease).await.unwrap() {
                    break other.release(&name, token).await.unwrap();
                }
                assert!(began.elapsed() < Duration::from_secs(10), "{library:?}: still held");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let Acquired::Held(token) = cut.try_acquire(&name, lease).await.unwrap() else {
            panic!("it is free")
        };
        proxy.swallow(true);
        assert!(cut.release(&name, token).await.is_err());
        proxy.swallow(false);
        free().await;

        // the request arrives, its answer does not
        server.freeze();
        assert!(cut.try_acquire(&name, lease).await.is_err());
        server.thaw();
        free().await;
    }
}
