//! Bytes that are no entry, and what is told of them.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{MINUTE, NOW, entry, key, open};
use larder::backend::{BackendContext, BeginOutcome, Frame, FrameError, IntoBackend, LoadIntent, Payload};
use larder::clock::ManualClock;
use larder::codec::{CodecId, Json};
use larder::key::StoreKey;
use larder::observe::{Event, Observer};
use larder::{Cache, CacheBackend, Strategy};
use larder_memory::{MemoryServer, Outcome};

/// Notes why bytes were no entry, and asks the server in the middle of it.
#[derive(Debug, Clone)]
struct Told(Arc<Mutex<Vec<FrameError>>>, MemoryServer);

impl Observer for Told {
    fn on_event(&self, event: &Event<'_>) {
        if let Event::Undecodable { error, .. } = event {
            assert!(!self.1.is_empty(), "an observer may ask the server: no lock is held");
            self.0.lock().unwrap().push(*error.source_as().unwrap());
        }
    }
}

struct World {
    server: MemoryServer,
    cache: Cache<u64, String>,
    told: Told,
}

fn world() -> World {
    let clock = ManualClock::new();
    let server = MemoryServer::with_clock(clock.clone());
    let told = Told(Arc::default(), server.clone());
    let cache = Cache::builder()
        .namespace("a")
        .backend(server.connect("one").encoded(Json))
        .strategy(Strategy::aside(MINUTE))
        .clock(clock)
        .observer(told.clone())
        .build()
        .unwrap();
    World { server, cache, told }
}

fn frame(key: &StoreKey, schema: u32) -> Vec<u8> {
    let payload = Some(Payload::new(CodecId::JSON, "\"bread\""));
    let forever = u64::MAX;
    let entry = larder::backend::Entry::new(
        payload.map(Into::into),
        larder::clock::Timestamp::ORIGIN,
        std::time::Duration::MAX,
    );
    Frame::of(&entry, schema, larder::tag::Stamp::default(), [0, forever, forever]).encode(key).to_vec()
}

/// The bytes of a good frame, changed so that they are refused for each reason.
fn garbage() -> [(Vec<u8>, FrameError); 7] {
    let good = || frame(&key(1), 0);
    let changed = |index: usize, to: u8| {
        let mut bytes = good();
        bytes[index] = to;
        bytes
    };
    [
        (good()[..70].to_vec(), FrameError::Truncated),
        (b"O:8:\"stdClass\":0:{}".to_vec(), FrameError::Foreign),
        (changed(4, 9), FrameError::Unknown),
        ([good(), vec![0]].concat(), FrameError::Trailing),
        (changed(86, 0), FrameError::Corrupt),
        (frame(&key(2), 0), FrameError::OtherKey),
        (frame(&key(1), 3), FrameError::OtherSchema),
    ]
}

#[tokio::test]
async fn garbage_of_each_kind_is_a_counted_miss_and_is_overwritten() {
    let World { server, cache, told } = world();
    for (bytes, reason) in garbage() {
        server.poke("a", &key(1), bytes, MINUTE);
        assert!(cache.get_if_present(&1).await.unwrap().is_none(), "{reason}");
        assert_eq!(std::mem::take(&mut *told.0.lock().unwrap()), [reason], "a get tells once");
        let load = || async { Ok::<_, std::io::Error>("cake".to_owned()) };
        let loaded = cache.get_or_load(&1, load).await.unwrap().unwrap();
        assert_eq!(loaded.as_str(), "cake", "{reason}: the source answers");
        assert_eq!(std::mem::take(&mut *told.0.lock().unwrap()), [reason], "the read tells, not the begin");
        assert!(cache.get_if_present(&1).await.unwrap().is_some(), "{reason}: overwritten");
    }
    assert_eq!(cache.stats().backend_errors, 0, "garbage is no failure of the server");
}

#[tokio::test]
async fn garbage_among_many_spoils_only_its_own_place() {
    let World { server, cache, told } = world();
    cache.insert(&1, "bread".to_owned()).await.unwrap();
    server.poke("a", &key(2), "garbage", MINUTE);
    server.clear_record();
    let backend = open(&server.connect("two"));
    let found = backend.get_many(&[key(2), key(1), key(3), key(1)], NOW).await.unwrap();
    assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true]);
    let [operation] = &server.record()[..] else { panic!("many keys are one round trip") };
    assert_eq!((operation.keys.join(","), operation.outcome), ("2,1,3,1".into(), Outcome::Found(2)));
    assert!(told.0.lock().unwrap().is_empty(), "another cache's reads are not this one's");
}

#[tokio::test]
async fn raw_bytes_are_put_and_seen_and_end() {
    let clock = ManualClock::new();
    let server = MemoryServer::with_clock(clock.clone());
    server.poke("a", &key(1), "raw", MINUTE);
    assert_eq!(server.bytes("a", &key(1)), Some(Bytes::from("raw")));
    assert_eq!((server.bytes("b", &key(1)), server.bytes("a", &key(2))), (None, None));
    clock.advance(MINUTE);
    assert_eq!(server.bytes("a", &key(1)), None);
}

#[tokio::test]
async fn what_is_stored_is_the_documented_frame_in_the_servers_milliseconds() {
    let clock = ManualClock::new();
    let server = MemoryServer::with_clock(clock);
    let scope = BackendContext::new("a").unwrap().with_schema(3);
    let backend = server.connect("one").into_backend(&scope).unwrap();
    backend.put(&key(1), entry("{}", NOW, MINUTE), NOW).await.unwrap();
    let stored = Frame::decode(server.bytes("a@3", &key(1)).unwrap(), &key(1), 3).unwrap();
    assert_eq!((stored.created_ms, stored.expires_ms), (3_600_000, 3_660_000));
    assert_eq!(stored.payload, Some(Payload::new(CodecId::JSON, "{}")));
}

#[tokio::test]
async fn keys_of_ten_kilobytes_are_told_apart() {
    let server = MemoryServer::new();
    let backend = open(&server.connect("one"));
    let long = |last: char| StoreKey::new(&format!("{}{last}", "x".repeat(10_000)));
    backend.put(&long('a'), entry("bread", NOW, MINUTE), NOW).await.unwrap();
    assert!(backend.get(&long('a'), NOW).await.unwrap().is_some());
    assert!(backend.get(&long('b'), NOW).await.unwrap().is_none());
    let begun = backend.begin(&long('b'), LoadIntent::shared(MINUTE), NOW).await.unwrap();
    assert!(matches!(begun, BeginOutcome::Granted(_)));
    backend.remove(&long('b')).await.unwrap();
    assert!(backend.get(&long('a'), NOW).await.unwrap().is_some());
}
