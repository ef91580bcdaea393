//! Checks of what no bytes from outside may do: one function for each place that reads them, which panics if a
//! promise is broken.
//!
//! `cargo fuzz run envelope` (`payload`, `key`, `sealed`) feeds them what libFuzzer thinks of; `codecs/tests/mutated.rs` feeds
//! them changed valid entries on the stable toolchain, for as long as `LARDER_FUZZ_SECONDS` says.

use std::time::Duration;

use bytes::Bytes;
use larder::backend::{BackendContext, Entry, Frame, IntoBackend, Payload};
use larder::clock::Timestamp;
use larder::codec::{Bincode, CodecId, Json, MessagePack, Postcard};
use larder::key::{KeyWriter, StoreKey};
use larder::tag::Stamp;
use larder::{CacheBackend, CacheKey, Codec, Result};
use larder_codecs::{Compressed, Encrypted, KeyRing, SecretKey};
use larder_memory::MemoryServer;
use twox_hash::XxHash3_64;

/// The key that all entries here are stored under.
pub fn name() -> StoreKey {
    StoreKey::new(&("fuzz", 7u64))
}

/// The maximum size of a value before compression.
const LIMIT: usize = 1 << 20;

/// A type with all that a codec can get wrong: lengths, options, variants, text.
pub type Value = (u64, String, Option<Vec<i32>>, Vec<(bool, char)>, std::result::Result<f64, u8>);

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
pub struct Raw;

impl Codec<Bytes> for Raw {
    fn id(&self) -> CodecId {
        CodecId::new(200)
    }
    fn encode(&self, value: &Bytes) -> Result<Bytes> {
        Ok(value.clone())
    }
    fn decode(&self, bytes: &Bytes) -> Result<Bytes> {
        Ok(bytes.clone())
    }
}

/// Returns the same bytes with the checksum that they should have, as an attacker with write access to the store
/// writes them.
pub fn mended(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 80 {
        let header = XxHash3_64::oneshot(&bytes[..72]);
        let sum = XxHash3_64::oneshot_with_seed(header, &bytes[80..]);
        bytes[72..80].copy_from_slice(&sum.to_le_bytes());
    }
    bytes
}

/// An envelope is read or refused, and what is read is written again as it was, whether its checksum was right or is made so.
pub fn envelope(bytes: &[u8]) {
    let name = name();
    for bytes in [bytes.to_vec(), mended(bytes)] {
        let bytes = Bytes::from(bytes);
        // the schema of the envelope itself, so that this does not stop most of them
        let schema = bytes.get(8..12).and_then(|schema| schema.try_into().ok()).map_or(0, u32::from_le_bytes);
        let Ok(frame) = Frame::decode(bytes.clone(), &name, schema) else { continue };
        let again = Frame::decode(frame.encode(&name), &name, schema).expect("what was read can be written");
        assert_eq!(again, frame);
        let times = [frame.created_ms, frame.soft_ms, frame.expires_ms].map(Timestamp::from_nanos);
        let entry = frame.clone().into_entry(times);
        assert_eq!(entry.value().is_some(), frame.payload.is_some());
        if let Some(payload) = &frame.payload {
            self::payload(payload.bytes());
        }
    }
}

/// A payload is decoded or refused by every codec, alone and compressed; a compressed one is never larger than its limit.
pub fn payload(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let codecs: [&dyn Codec<Value>; 4] = [&Json, &Postcard, &MessagePack, &Bincode];
    for codec in codecs {
        if let Ok(value) = codec.decode(&bytes) {
            codec.encode(&value).expect("what was read can be written");
        }
    }
    if let Ok(value) = Compressed::zstd(Raw).limit(LIMIT).decode(&bytes) {
        assert!(value.len() <= LIMIT);
    }
    _ = Codec::<Value>::decode(&Compressed::lz4(Json), &bytes);
}

/// A key is never empty, printable, without braces or spaces, not too long, and says all of it in full.
pub fn key(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let middle = (0..=text.len() / 2).rev().find(|cut| text.is_char_boundary(*cut)).unwrap_or(0);
    let (left, right) = text.split_at(middle);
    let keys: [&dyn CacheKey; 6] = [
        &&*text,
        &(left, right),
        &[left, right][..].to_vec(),
        &Some(bytes.to_vec()),
        &bytes.len(),
        &(left, Some(right), bytes.len()),
    ];
    for (index, key) in keys.iter().enumerate() {
        let mut writer = KeyWriter::new();
        key.encode(&mut writer);
        let key = writer.finish();
        let name = key.as_str();
        assert!(!name.is_empty() && name.len() <= 229, "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'{' && byte != b'}'), "{name}");
        assert!(key.full().starts_with(&name[..name.len().min(96)]), "{name}");
        for (other, _) in keys.iter().enumerate().filter(|(other, _)| *other != index) {
            let mut writer = KeyWriter::new();
            keys[other].encode(&mut writer);
            assert_ne!(writer.finish().full(), key.full(), "keys of two types meet");
        }
    }
    // whatever is cut in two elsewhere is another key
    for cut in (0..=text.len()).filter(|cut| text.is_char_boundary(*cut) && *cut != left.len()) {
        assert_ne!(StoreKey::new(&text.split_at(cut)), StoreKey::new(&(left, right)));
    }
}

/// Checks that bytes in the place of an encrypted payload are a miss if they were never encrypted.
pub fn sealed(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let server = MemoryServer::new();
        let keys = KeyRing::new(1, SecretKey::new([1; 32]));
        let scope = BackendContext::new("fuzz").expect("a namespace");
        let backend = Encrypted::new(server.connect("one"), keys).into_backend(&scope).expect("a backend");
        let payload = Payload::new(CodecId::new(6), Bytes::copy_from_slice(bytes));
        let entry = Entry::new(Some(payload.into()), Timestamp::ORIGIN, Duration::MAX);
        let frame = Frame::of(&entry, 0, Stamp::default(), [0, u64::MAX, u64::MAX]).encode(&name());
        server.poke("fuzz", &name(), frame, Duration::from_secs(60));
        assert!(backend.get(&name(), Timestamp::ORIGIN).await.expect("never an error").is_none());
    });
}
