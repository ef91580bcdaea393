//! Tests of what an attacker who reads or writes the store can and cannot do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use larder::backend::{BackendContext, EncodedBackend, Frame, IntoBackend, Payload};
use larder::clock::ManualClock;
use larder::codec::{CodecId, Json};
use larder::key::StoreKey;
use larder::observe::{Event, Observer};
use larder::{Cache, Codec, Strategy, Tag};
use larder_codecs::{Compressed, Encrypted, EncryptedBackend, KeyRing, SecretKey};
use larder_memory::{Memory, MemoryBackend, MemoryServer};
use larder_testkit::{Fixture, SharedFixture, Time};

const MINUTE: Duration = Duration::from_secs(60);

fn key(byte: u8) -> SecretKey {
    SecretKey::new([byte; 32])
}

fn ring() -> KeyRing {
    KeyRing::new(1, key(1))
}

type Packed = EncodedBackend<EncryptedBackend<MemoryBackend>, Compressed<Json>, String>;
type Bare = EncodedBackend<EncryptedBackend<MemoryBackend>, Json, String>;

fn open<C: Codec<String>>(
    memory: Memory,
    codec: C,
) -> EncodedBackend<EncryptedBackend<MemoryBackend>, C, String> {
    let store = Encrypted::new(memory, ring()).encoded(codec);
    IntoBackend::<String, String>::into_backend(store, &BackendContext::new("suite").unwrap()).unwrap()
}

#[derive(Default)]
struct Sealed(Time);

impl Fixture for Sealed {
    type Backend = Packed;

    async fn open(&self) -> Packed {
        let server = MemoryServer::with_clock(self.0.clone());
        open(server.connect("one"), Compressed::lz4(Json).threshold(0))
    }

    fn time(&self) -> &Time {
        &self.0
    }
}

impl SharedFixture for Sealed {
    type Backend = Bare;

    async fn open_two(&self) -> [Bare; 2] {
        let server = MemoryServer::with_clock(self.0.clone());
        ["one", "two"].map(|name| open(server.connect(name), Json))
    }

    fn time(&self) -> &Time {
        &self.0
    }
}

mod conformance {
    use super::*;
    larder_testkit::backend_suite!(Sealed::default());
}

mod two_processes {
    use super::*;
    larder_testkit::shared_suite!(Sealed::default());
}

/// Notes why bytes did not open.
#[derive(Debug, Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Observer for Told {
    fn on_event(&self, event: &Event<'_>) {
        if let Event::Undecodable { error, .. } = event {
            self.0.lock().unwrap().push(error.to_string());
        }
    }
}

struct World {
    server: MemoryServer,
    clock: ManualClock,
    told: Told,
}

impl World {
    fn new() -> Self {
        let clock = ManualClock::new();
        Self { server: MemoryServer::with_clock(clock.clone()), clock, told: Told::default() }
    }

    fn cache(&self, namespace: &str, schema: u32, keys: KeyRing) -> Cache<u64, String> {
        Cache::builder()
            .namespace(namespace)
            .schema(schema)
            .backend(Encrypted::new(self.server.connect("one"), keys).encoded(Json))
            .strategy(
                Strategy::aside(MINUTE).negative_ttl(MINUTE).tagged(|text: &String| [Tag::new("of", text)]),
            )
            .clock(self.clock.clone())
            .observer(self.told.clone())
            .build()
            .unwrap()
    }

    fn frame(&self, namespace: &str, key: u64, schema: u32) -> Frame {
        let key = StoreKey::new(&key);
        Frame::decode(self.server.bytes(namespace, &key).unwrap(), &key, schema).unwrap()
    }

    /// Writes a frame as the store's administrator can: with a right checksum.
    fn poke(&self, namespace: &str, key: u64, frame: &Frame) {
        let key = StoreKey::new(&key);
        self.server.poke(namespace, &key, frame.encode(&key), MINUTE);
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut *self.told.0.lock().unwrap())
    }
}

/// Is not served, is counted, costs one load, and is overwritten.
async fn is_refused(world: &World, cache: &Cache<u64, String>, key: u64, why: &str) {
    world.told();
    let before = cache.stats();
    assert!(cache.get_if_present(&key).await.unwrap().is_none(), "{why}: served");
    assert!(world.told().iter().all(|told| told.contains(why)), "{why}");
    assert_eq!(cache.stats().undecodable, before.undecodable + 1, "{why}: counted once");
    let load = || async { Ok::<_, std::io::Error>("loaded".to_owned()) };
    assert_eq!(cache.get_or_load(&key, load).await.unwrap().unwrap().as_str(), "loaded", "{why}");
    let now = cache.get_if_present(&key).await.unwrap().expect("overwritten").value.unwrap();
    assert_eq!((now.as_str(), cache.stats().backend_errors), ("loaded", 0), "{why}");
}

fn with_bytes(frame: &Frame, bytes: Vec<u8>) -> Frame {
    let codec = frame.payload.as_ref().unwrap().codec();
    Frame { payload: Some(Payload::new(codec, bytes)), ..frame.clone() }
}

#[tokio::test]
async fn the_store_sees_neither_values_nor_absence() {
    let world = World::new();
    let cache = world.cache("a", 0, ring());
    cache.insert(&1, "a plain secret".to_owned()).await.unwrap();
    cache.get_or_load(&2, || async { Ok::<Option<String>, std::io::Error>(None) }).await.unwrap();
    assert!(cache.get_if_present(&2).await.unwrap().unwrap().value.is_none(), "absence is kept");
    let (one, two) = (world.frame("a", 1, 0), world.frame("a", 2, 0));
    let bytes = one.payload.unwrap().bytes().to_vec();
    assert!(!bytes.windows(6).any(|window| window == b"secret"), "{bytes:?}");
    assert_eq!(bytes.len(), "\"a plain secret\"".len() + 63, "the documented cost");
    assert!(two.payload.is_some(), "\"absent\" looks like a value");
    let again = world.cache("a", 0, ring());
    again.insert(&1, "a plain secret".to_owned()).await.unwrap();
    assert_ne!(world.frame("a", 1, 0).payload.unwrap().bytes()[..], bytes[..], "a nonce is used once");
}

#[tokio::test]
async fn a_value_opens_only_where_it_was_put() {
    let world = World::new();
    let cache = world.cache("a", 0, ring());
    let mark = "altered, or of another key";
    let [other_namespace, other_schema] = [world.cache("b", 0, ring()), world.cache("a", 2, ring())];
    for cache in [&cache, &other_namespace, &other_schema] {
        for key in [1, 2] {
            cache.insert(&key, format!("value {key}")).await.unwrap();
        }
    }
    // another key
    let first = world.frame("a", 1, 0);
    world.poke("a", 2, &Frame { tags: first.tags.clone(), ..first.clone() });
    is_refused(&world, &cache, 2, mark).await;
    // another namespace, with its ledger's stamp and the same key and tags
    let stamp = world.frame("b", 1, 0).stamp;
    world.poke("b", 1, &Frame { stamp, ..first.clone() });
    is_refused(&world, &other_namespace, 1, mark).await;
    // another schema version
    let stamp = world.frame("a@2", 1, 2).stamp;
    world.poke("a@2", 1, &Frame { stamp, schema: 2, ..first.clone() });
    is_refused(&world, &other_schema, 1, mark).await;
    // other tags, or none: an invalidation of the tag would not reach it
    for tags in [vec![], vec![Tag::new("of", "another")]] {
        world.poke("a", 1, &Frame { tags, ..first.clone() });
        is_refused(&world, &cache, 1, mark).await;
    }
    // another validator: the source would be asked whether the wrong version has changed
    world.poke("a", 1, &Frame { validator: Some("v2".into()), ..first.clone() });
    is_refused(&world, &cache, 1, mark).await;
    // and as it was it opens
    world.poke("a", 1, &first);
    assert_eq!(cache.get_if_present(&1).await.unwrap().unwrap().value.unwrap().as_str(), "value 1");
}

#[tokio::test]
async fn no_altered_or_truncated_byte_is_taken() {
    let world = World::new();
    let cache = world.cache("a", 0, ring());
    cache.insert(&1, "bread".to_owned()).await.unwrap();
    let good = world.frame("a", 1, 0);
    let bytes = good.payload.as_ref().unwrap().bytes().to_vec();
    for end in 0..bytes.len() {
        world.poke("a", 1, &with_bytes(&good, bytes[..end].to_vec()));
        assert!(
            cache.get_if_present(&1).await.unwrap().is_none(),
            "{end} of {} bytes were taken",
            bytes.len()
        );
    }
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        world.poke("a", 1, &with_bytes(&good, flipped));
        assert!(cache.get_if_present(&1).await.unwrap().is_none(), "bit {bit} went unnoticed");
    }
    let refused = (bytes.len() + bytes.len() * 8) as u64;
    assert_eq!(cache.stats().undecodable, refused, "each was counted");
    world.poke("a", 1, &with_bytes(&good, [&bytes[..], b"!"].concat()));
    is_refused(&world, &cache, 1, "altered").await;
}

#[tokio::test]
async fn nothing_is_taken_that_was_not_encrypted() {
    let world = World::new();
    let cache = world.cache("a", 0, ring());
    cache.insert(&1, "bread".to_owned()).await.unwrap();
    let good = world.frame("a", 1, 0);
    world.poke("a", 1, &Frame { payload: None, ..good.clone() });
    is_refused(&world, &cache, 1, "not encrypted").await;
    world.poke("a", 1, &Frame { payload: Some(Payload::new(CodecId::JSON, "\"forged\"")), ..good.clone() });
    is_refused(&world, &cache, 1, "not encrypted").await;
    world.poke("a", 1, &with_bytes(&good, vec![2; 100]));
    is_refused(&world, &cache, 1, "a format that this version does not know").await;
}

#[tokio::test]
async fn keys_are_changed_without_a_miss() {
    let world = World::new();
    let old = world.cache("a", 0, ring());
    old.insert(&1, "bread".to_owned()).await.unwrap();
    // every process learns to read the new key, then it begins to write
    let reads_both = world.cache("a", 0, ring().readable(2, key(2)));
    let writes_new = world.cache("a", 0, KeyRing::new(2, key(2)).readable(1, key(1)));
    assert!(writes_new.get_if_present(&1).await.unwrap().is_some());
    writes_new.insert(&2, "cake".to_owned()).await.unwrap();
    assert!(reads_both.get_if_present(&2).await.unwrap().is_some());
    assert_eq!(writes_new.stats().undecodable + reads_both.stats().undecodable, 0);
    // and the old one is dropped
    let new = world.cache("a", 0, KeyRing::new(2, key(2)));
    assert!(new.get_if_present(&2).await.unwrap().is_some());
    is_refused(&world, &new, 1, "encrypted with key 1, which this process does not have").await;
    // the same number for another key
    is_refused(&world, &world.cache("a", 0, KeyRing::new(2, key(3))), 2, "another key of this number").await;
}

/// Shows a limit of encryption that its documentation states.
#[tokio::test]
async fn a_replay_of_the_same_key_is_not_told_from_the_original() {
    let world = World::new();
    let cache = world.cache("a", 0, ring());
    cache.insert(&1, "old".to_owned()).await.unwrap();
    let old = world.frame("a", 1, 0);
    cache.invalidate(&1).await.unwrap();
    world.poke("a", 1, &old);
    assert_eq!(cache.get_if_present(&1).await.unwrap().unwrap().value.unwrap().as_str(), "old");
}

#[test]
fn secrets_are_not_printed_and_what_cannot_work_is_refused() {
    let store = Encrypted::new(MemoryServer::new().connect("one"), KeyRing::new(7, key(0xab))).encoded(Json);
    let printed = format!("{store:?} {:?}", key(0xab));
    assert!(printed.contains("writes: 7"), "{printed}");
    // two bytes and more of the key: one would be found in an address by chance
    for secret in ["171, 171", "abababab", "ABABABAB"] {
        assert!(!printed.contains(secret), "{secret} in {printed}");
    }
    let scope = BackendContext::new("a").unwrap();
    let twice = Encrypted::new(MemoryServer::new().connect("one"), ring().readable(1, key(2)));
    assert!(twice.into_backend(&scope).unwrap_err().to_string().contains("two keys have the number 1"));
    let secret = "0123456789abcdef".repeat(4);
    for (text, mend) in [
        (format!("1:{secret},1:{secret}"), "two keys have the number 1"),
        (secret.clone(), "`<number>:<64 hex digits>`"),
        (format!("one:{secret}"), "`<number>:<64 hex digits>`"),
        (format!("1:{}", &secret[1..]), "openssl rand -hex 32"),
        (format!("1:{}g", &secret[1..]), "openssl rand -hex 32"),
        (String::new(), "`<number>:<64 hex digits>`"),
    ] {
        let error = format!("{:?}", KeyRing::parse(&text).unwrap_err());
        assert!(error.contains(mend) && !error.contains(&secret[1..]), "{text}: {error}");
    }
}
