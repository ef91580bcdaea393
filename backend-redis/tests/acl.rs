//! The rights that the deployment guide gives a user are enough for every feature.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::{Duration, Instant};

use common::{LIBRARIES, or_skip};
use larder::cache::Origin;
use larder::codec::Json;
use larder::lock::Locking;
use larder::{Cache, CacheBuilder, Quick, Strategy, Tag, Tiered, source_fn};
use larder_redis::{Pushes, RedisBackend};
use larder_testkit::servers::RedisServer;

const PAGE: &str = include_str!("../../docs/deployment-with-redis.md");

/// The user of the page's `ACL SETUSER` line, which is run on the server.
fn with_rights(server: &RedisServer, more: &[&str]) {
    let line =
        PAGE.lines().find(|line| line.starts_with("ACL SETUSER shop ")).expect("the page has the line");
    let words: Vec<&str> = line.split_whitespace().chain(more.iter().copied()).collect();
    assert_eq!(server.command(&words), "OK");
}

fn assert_nothing_was_refused(server: &RedisServer, what: &str) {
    let log = server.command(&["ACL", "LOG"]);
    assert!(log.is_empty(), "{what}: the server refused\n{log}");
}

fn builder() -> CacheBuilder<u64, String> {
    Cache::builder()
        .namespace("shop")
        .source(source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(format!("loaded {key}"))) }))
        .tag_keys(|key: &u64| [Tag::new("parity", key % 2)])
}

fn strategy() -> Strategy<String> {
    Strategy::aside(Duration::from_secs(60))
}

/// Every call of a cache, over fences, tags and guards.
async fn used(cache: &Cache<u64, String>) {
    assert_eq!(cache.get_entry(&1).await.unwrap().origin, Origin::Loaded);
    assert_ne!(cache.get_entry(&1).await.unwrap().origin, Origin::Loaded);
    cache.get_many(&[1, 2, 3, 4]).await.unwrap();
    cache.insert(&5, "given".to_owned()).await.unwrap();
    cache.refresh(&1).await.unwrap();
    cache.invalidate(&1).await.unwrap();
    cache.invalidate_many(&[2, 3]).await.unwrap();
    let guard = cache.write_guard(&[4, 5], Duration::from_secs(5)).await.unwrap();
    cache.get(&4).await.unwrap();
    guard.finish().await.unwrap();
    // a load that is longer than a part of its lease renews its fence
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        Ok::<_, std::io::Error>("slow".to_owned())
    };
    cache.get_or_load(&6, slow).await.unwrap();
}

async fn tagged(cache: &Cache<u64, String>) {
    cache.invalidate_tag(&Tag::new("parity", 1)).await.unwrap();
    cache.get(&1).await.unwrap();
    cache.invalidate_tags(&[Tag::new("parity", 0), Tag::new("parity", 1)]).await.unwrap();
    cache.clear().await.unwrap();
    cache.get(&1).await.unwrap();
}

/// Two processes that want the same key, one of which waits for the other's lock.
async fn locked(one: &RedisBackend, other: &RedisBackend) {
    let open = |redis: &RedisBackend| {
        let strategy = strategy().locked(Locking::new(redis.locks())).lease(Duration::from_secs(1));
        builder().backend(redis.encoded(Json)).strategy(strategy).build().unwrap()
    };
    let (one, other) = (open(one), open(other));
    let slow = || async {
        tokio::time::sleep(Duration::from_millis(900)).await;
        Ok::<_, std::io::Error>("slow".to_owned())
    };
    let (first, second) = tokio::join!(one.get_or_load(&7, slow), other.get_or_load(&7, slow));
    assert_eq!(first.unwrap().unwrap(), second.unwrap().unwrap());
    assert_eq!(one.stats().loads + other.stats().loads, 1, "one waited for the lock of the other");
}

/// A near tier that is told by the server or by the other process, and proven by heartbeats.
async fn tiered(one: &RedisBackend, other: &RedisBackend) {
    let open = |redis: &RedisBackend| {
        let tiers =
            Tiered::new(Quick::new(100), redis.encoded(Json)).max_staleness(Duration::from_millis(300));
        builder().backend(tiers).strategy(strategy()).build().unwrap()
    };
    let (one, other) = (open(one), open(other));
    used(&one).await;
    let began = Instant::now();
    while one.get_entry(&9).await.unwrap().origin != Origin::Near || one.stats().pushes == 0 {
        other.insert(&8, "told".to_owned()).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(20), "nothing is told: {:?}", one.stats());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // two heartbeats more
    let beats = Instant::now();
    while beats.elapsed() < Duration::from_millis(700) {
        assert!(one.get(&9).await.unwrap().is_some());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tagged(&one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rights_of_the_deployment_guide_are_enough() {
    for &library in LIBRARIES {
        for pushes in [Pushes::Tracking, Pushes::PubSub] {
            let server = or_skip!(RedisServer::start(&[]));
            with_rights(&server, &[]);
            let url = format!("redis://shop:password@127.0.0.1:{}", server.port());
            let connect = async || {
                let connected = library.config(&url).pushes(pushes).connect().await;
                assert_nothing_was_refused(&server, "connecting");
                connected.unwrap()
            };
            let (one, other) = (connect().await, connect().await);
            let strict = connect().await.strict();
            for redis in [&one, &strict] {
                let strategy = strategy().lease(Duration::from_secs(1));
                let cache = builder().backend(redis.encoded(Json)).strategy(strategy).build().unwrap();
                used(&cache).await;
                tagged(&cache).await;
            }
            assert_nothing_was_refused(&server, "caches");
            locked(&one, &other).await;
            assert_nothing_was_refused(&server, "locks");
            tiered(&one, &other).await;
            assert_nothing_was_refused(&server, "near tiers");
            let plain = one.plain(Json, |key: &u64| format!("shop:session:{key}"));
            let plain = builder().backend(plain).strategy(strategy()).build().unwrap();
            used(&plain).await;
            assert_nothing_was_refused(&server, "plain values");
        }
        let server = or_skip!(RedisServer::start(&[]));
        with_rights(&server, &["+select"]);
        let url = format!("redis://shop:password@127.0.0.1:{}/3", server.port());
        let redis = library.config(&url).connect().await.unwrap();
        let cache = builder().backend(redis.encoded(Json)).strategy(strategy()).build().unwrap();
        used(&cache).await;
        assert_nothing_was_refused(&server, "another database");
    }
}

/// Also of the commands that scripts call only when something went wrong.
#[test]
fn every_command_of_a_script_is_allowed() {
    let server = or_skip!(RedisServer::start(&[]));
    with_rights(&server, &[]);
    let mut checked = 0;
    for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/scripts")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        for call in text.split("call('").skip(1) {
            let command = call.split('\'').next().unwrap();
            let answers = (0..8).map(|arguments| {
                let mut dry = vec!["ACL", "DRYRUN", "shop", command];
                dry.extend(std::iter::repeat_n("larder:a", arguments));
                server.command(&dry)
            });
            let answer = answers.into_iter().find(|answer| !answer.contains("wrong number of arguments"));
            assert_eq!(answer.as_deref(), Some("OK"), "{command} in {}", path.display());
            checked += 1;
        }
    }
    assert!(checked > 20, "{checked} commands");
}
