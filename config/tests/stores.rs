//! Every store that needs no server, opened by its line.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Page, Text, is_shared, namespace, page, process, text, works};
use larder::cache::Origin;
use larder::{Cache, Strategy};
use larder_config::{StoreConfig, memory_server};
use larder_memory::Fault;
use larder_testkit::Time;

#[tokio::test]
async fn each_store_works_by_its_line() {
    for (line, origin) in [
        ("memory://", Origin::Far),
        ("memory://?codec=postcard&timeout=1s", Origin::Far),
        ("memory://?codec=messagepack&compression=zstd", Origin::Far),
        ("memory://?codec=bincode&compression=lz4&max=1000", Origin::Far),
        ("quick://?max=1000", Origin::Near),
        ("moka://?max=1000", Origin::Near),
        ("tiered:(quick://,memory://?codec=postcard)?max_staleness=500ms", Origin::Near),
        ("tiered:(moka://?max=100,memory://)?near_ttl=5s", Origin::Near),
        ("tiered:(quick://?max=100,tiered:(moka://,memory://?compression=lz4))", Origin::Near),
    ] {
        assert_eq!(works(line).await, origin, "{line}");
    }
}

#[tokio::test]
async fn a_named_memory_server_is_shared_and_an_unnamed_one_is_not() {
    is_shared("memory://shared").await;
    is_shared("tiered:(quick://?max=100,memory://shared-tiers)?max_staleness=200ms").await;
    let namespace = namespace();
    let (one, two) = (process("memory://", &namespace).await, process("memory://", &namespace).await);
    one.cache.get(&page(1)).await.unwrap();
    assert!(two.cache.get_if_present(&page(1)).await.unwrap().is_none());
    // clones of one store are one server
    let third: Cache<Page, Text> = Cache::builder()
        .namespace(namespace)
        .backend(one.store.clone())
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
        .unwrap();
    assert_eq!(third.get_if_present(&page(1)).await.unwrap().unwrap().value.as_deref(), Some(&text(1)));
}

#[tokio::test]
async fn options_do_what_they_say() {
    // the codec, the compression and the prefix, as seen in the server
    let process = process("memory://seen?prefix=staging&codec=postcard&compression=zstd", "page").await;
    process.cache.get(&page(1)).await.unwrap();
    let server = memory_server("seen");
    assert_eq!(server.keys(), [("staging:page".to_owned(), "(=news,1)".to_owned())]);
    let key = larder::key::StoreKey::new(&page(1));
    let bytes = server.bytes("staging:page", &key).unwrap();
    assert!(bytes.len() < 300, "200 words are compressed to {}", bytes.len());
    assert_eq!(bytes[6], 5, "marked as compressed");

    // a bound on sizes
    let small = common::process("memory://?max_bytes=100", "page").await;
    assert!(small.cache.get(&page(1)).await.unwrap().is_some(), "its caller has it");
    assert!(small.cache.get_if_present(&page(1)).await.unwrap().is_none(), "and it is not stored");

    // a bound on entries: the server evicts
    let few = common::process("memory://few?max=3", "page").await;
    few.cache.get_many(&(1..=10).map(page).collect::<Vec<_>>()).await.unwrap();
    assert!(memory_server("few").len() <= 3);
    let few = common::process("quick://?max=3", "page").await;
    few.cache.get_many(&(1..=10).map(page).collect::<Vec<_>>()).await.unwrap();
    assert!(few.cache.stats().evictions >= 7, "{}", few.cache.stats());

    // a time limit: a server that hangs costs it, and no more
    let hasty = common::process("memory://hung?timeout=50ms", "page").await;
    memory_server("hung").faults().when(|_| true, Fault::Delay(Duration::from_secs(60)));
    let began = std::time::Instant::now();
    assert!(hasty.cache.get(&page(1)).await.unwrap().is_some());
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert!(hasty.cache.stats().backend_errors > 0);
}

#[tokio::test]
async fn what_works_on_one_line_works_on_another_so_a_namespace_is_needed_on_all() {
    for line in ["quick://", "moka://", "memory://", "tiered:(quick://,memory://)"] {
        let store = line.parse::<StoreConfig>().unwrap().connect().await.unwrap();
        let unnamed = Cache::<u64, u64>::builder()
            .backend(store)
            .strategy(Strategy::aside(Duration::from_secs(1)))
            .build();
        assert!(unnamed.unwrap_err().to_string().contains(".namespace("), "{line}");
    }
}

/// Values are encrypted when the line names a variable with keys. Another process, since setting a variable here is unsafe.
#[test]
fn keys_come_from_the_environment() {
    let run = |keys: &str| {
        let mut command = std::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "in_an_environment_with_keys", "--nocapture"]);
        let output = command.env("LARDER_TEST_KEYS", keys).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let told = run(&format!("2:{},1:{}", "0f".repeat(32), "ab".repeat(32)));
    assert!(told.contains("encrypted and served"), "{told}");
    let told = run("hunter2");
    let wrong = "LARDER_TEST_KEYS, which `keys_env` names, holds no keys";
    assert!(told.contains(wrong) && !told.contains("hunter2"), "{told}");
}

#[tokio::test]
async fn in_an_environment_with_keys() {
    if std::env::var_os("LARDER_TEST_KEYS").is_none() {
        return;
    }
    let line = "memory://locked?keys_env=LARDER_TEST_KEYS&compression=lz4";
    if let Err(error) = line.parse::<StoreConfig>().unwrap().connect().await {
        println!("{error} {error:?}");
        return;
    }
    assert_eq!(works(line).await, Origin::Far);
    is_shared(line).await;
    let process = process(line, "page").await;
    process.cache.get(&page(1)).await.unwrap();
    let bytes = memory_server("locked").bytes("page", &larder::key::StoreKey::new(&page(1))).unwrap();
    assert_eq!(bytes[6], 6, "marked as encrypted");
    assert!(!format!("{:?}", process.store).contains("0f0f0f0f"));
    println!("encrypted and served");
}

#[tokio::test]
async fn keys_that_are_missing_are_told_at_once() {
    let config: StoreConfig = "memory://?keys_env=LARDER_TEST_NO_SUCH_KEYS".parse().unwrap();
    let error = config.connect().await.unwrap_err().to_string();
    assert!(error.contains("LARDER_TEST_NO_SUCH_KEYS, which `keys_env` names, holds no keys"), "{error}");
}

/// The locks of a store of this process.
mod locks {
    use super::*;

    fn locks() -> (Time, larder_config::StoreLocks) {
        let config: StoreConfig = "quick://".parse().unwrap();
        let connect = std::pin::pin!(config.connect());
        // nothing to wait for
        let std::task::Poll::Ready(store) =
            connect.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
        else {
            panic!("a store of this process opens at once")
        };
        (Time::real(), store.unwrap().locks())
    }

    larder_testkit::lock_suite!(locks());
}
