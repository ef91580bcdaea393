//! Values shared with other programs, and what other programs may do to larder's own.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use common::{Library, NODE, namespace, node, or_skip};
use larder::backend::Frame;
use larder::cache::Origin;
use larder::codec::Json;
use larder::key::StoreKey;
use larder::{Cache, ErrorKind, Strategy, source_fn};

fn builder(namespace: &str) -> larder::CacheBuilder<u64, String> {
    Cache::builder()
        .namespace(namespace)
        .source(source_fn(|key: u64| async move {
            Ok::<_, std::io::Error>((key != 404).then(|| format!("loaded {key}")))
        }))
        .strategy(Strategy::aside(Duration::from_secs(60)))
}

#[tokio::test]
async fn plain_values_are_bare_json_for_everybody() {
    for &library in common::LIBRARIES {
        let reached = or_skip!(node(library));
        let (redis, server, space) = (reached.connect().await, &reached.server, namespace());
        let own = space.clone();
        let name = move |key: &u64| format!("{own}:session:{key}");
        let cache = builder(&space).backend(redis.plain(Json, name.clone())).build().unwrap();
        assert_eq!(cache.get(&1).await.unwrap().unwrap().as_str(), "loaded 1");
        assert_eq!(server.command(&["GET", &name(&1)]), "\"loaded 1\"");
        let left: u64 = server.command(&["PTTL", &name(&1)]).parse().unwrap();
        assert!(left > 50_000 && left <= 60_000, "{left}");

        server.command(&["SET", &name(&2), "\"from elsewhere\"", "PX", "5000"]);
        let found = cache.get_entry(&2).await.unwrap();
        assert_eq!((found.origin, found.value.unwrap().as_str()), (Origin::Far, "from elsewhere"));
        server.command(&["SET", &name(&3), "\"for ever\""]);
        assert_eq!(cache.get_many(&[3, 2, 404]).await.unwrap().iter().flatten().count(), 2);
        server.command(&["SET", &name(&4), "{broken"]);
        assert_eq!(
            cache.get(&4).await.unwrap().unwrap().as_str(),
            "loaded 4",
            "what cannot be read is loaded"
        );
        assert_eq!(server.command(&["GET", &name(&4)]), "\"loaded 4\"", "and overwritten");

        cache.invalidate(&1).await.unwrap();
        assert_eq!(server.command(&["EXISTS", &name(&1)]), "0");
        assert!(cache.get(&404).await.unwrap().is_none(), "absence is not kept");
        assert_eq!(server.command(&["EXISTS", &name(&404)]), "0");
        let error = cache.clear().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains("invalidate the keys"), "{error}");
    }
}

/// Among larder's own processes a plain fill is fenced, and anybody may end it by removing the fence.
#[tokio::test]
async fn plain_fills_are_fenced_among_larders_own() {
    let reached = or_skip!(node(common::LIBRARIES[0]));
    let (redis, space) = (reached.connect().await, namespace());
    let own = space.clone();
    let name = move |key: &u64| format!("{own}:{key}");
    let open = || builder(&space).backend(redis.plain(Json, name.clone())).build().unwrap();
    let (one, other) = (open(), open());
    let load = {
        let other = other.clone();
        move || async move { other.invalidate(&7).await.map(|()| "old".to_owned()) }
    };
    assert_eq!(one.get_or_load(&7, load).await.unwrap().unwrap().as_str(), "old", "its own caller gets it");
    assert_eq!(one.stats().refused_fills, 1);
    assert!(other.get_if_present(&7).await.unwrap().is_none());
}

/// The names and formats that the documentation gives to other languages.
#[tokio::test]
async fn other_programs_can_read_invalidate_and_clear() {
    let reached = or_skip!(node(common::LIBRARIES[0]));
    let (redis, server, space) = (reached.connect().await, &reached.server, namespace());
    let cache = builder(&space).backend(redis.encoded(Json)).build().unwrap();
    cache.get(&7).await.unwrap();
    let (value, fence) = (format!("{space}:v:{{7}}"), format!("{space}:f:{{7}}"));
    let (head, tags) = (format!("{space}:l:{{{space}}}"), format!("{space}:t:{{{space}}}"));
    assert_eq!(server.command(&["STRLEN", &value]), (80 + 1 + "\"loaded 7\"".len()).to_string());
    assert_eq!(server.command(&["GETRANGE", &value, "0", "3"]), "lrdr");
    assert!(server.command(&["GETRANGE", &value, "80", "-1"]).ends_with("7\"loaded 7\""));
    let identity = server.command(&["GET", &head]);
    assert_eq!((identity.len(), &identity[16..]), (18, ":0"));

    assert_eq!(server.command(&["UNLINK", &value, &fence]), "1");
    assert_eq!(
        cache.get_entry(&7).await.unwrap().origin,
        Origin::Loaded,
        "UNLINK of the two keys is an invalidation"
    );

    // a load under way: its fence stands, and the same command ends it
    let unlink = [value.clone(), fence.clone()];
    let load = move || async move {
        let server = NODE.get().expect("it runs");
        assert_eq!(server.command(&["EXISTS", &unlink[1]]), "1");
        server.command(&["UNLINK", &unlink[0], &unlink[1]]);
        Ok::<_, std::io::Error>("old".to_owned())
    };
    server.command(&["UNLINK", &value, &fence]);
    cache.get_or_load(&7, load).await.unwrap();
    assert!(cache.get_if_present(&7).await.unwrap().is_none(), "what was loaded before is not stored after");

    cache.get(&7).await.unwrap();
    server.command(&["UNLINK", &head, &tags]);
    assert!(cache.get_if_present(&7).await.unwrap().is_none(), "UNLINK of the ledger clears the namespace");
    assert_eq!(cache.get_entry(&7).await.unwrap().origin, Origin::Loaded);
    assert_eq!(cache.get_entry(&7).await.unwrap().origin, Origin::Far);
    assert!(Frame::decode("rubbish".into(), &StoreKey::new(&7u64), 0).is_err());
    server.command(&["SET", &value, "rubbish"]);
    assert_eq!(cache.get_entry(&7).await.unwrap().origin, Origin::Loaded, "foreign bytes are a miss");
    assert!(cache.stats().undecodable > 0);
    server.command(&["DEL", &value]);
    server.command(&["LPUSH", &value, "another type"]);
    assert_eq!(cache.get_entry(&7).await.unwrap().origin, Origin::Loaded, "and so is another type");
    assert_eq!(cache.get_entry(&7).await.unwrap().origin, Origin::Far, "which is overwritten");
    _ = Library::config;
}

/// A clear is one small command for any number of entries, and revokes the fences of running loads.
#[tokio::test]
async fn a_clear_is_constant_and_defeats_loads() {
    let reached = or_skip!(node(common::LIBRARIES[0]));
    let (redis, space) = (reached.connect().await, namespace());
    let open = || builder(&space).backend(redis.encoded(Json)).build().unwrap();
    let (one, other) = (open(), open());
    let keys: Vec<u64> = (0..300).collect();
    one.get_many(&keys).await.unwrap();
    let cleared = other.clone();
    let load = move || async move { cleared.clear().await.map(|()| "old".to_owned()) };
    one.get_or_load(&1_000, load).await.unwrap();
    assert_eq!(one.stats().refused_fills, 1, "loaded before the clear");
    for key in keys.iter().chain([&1_000]) {
        assert!(one.get_if_present(key).await.unwrap().is_none(), "key {key}");
    }
}
