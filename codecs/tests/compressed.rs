//! Tests of which values are stored compressed, and of what bytes from outside can do.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use bytes::Bytes;
use larder::backend::{Entry, Frame, Payload};
use larder::clock::Timestamp;
use larder::codec::{CodecId, Json, Postcard};
use larder::key::StoreKey;
use larder::tag::Stamp;
use larder::{Cache, Codec, Result, Strategy};
use larder_codecs::Compressed;
use larder_memory::MemoryServer;
use proptest::prelude::*;

const MIB: usize = 1 << 20;

/// Bytes as they are.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec<Vec<u8>> for Raw {
    fn id(&self) -> CodecId {
        CodecId::new(200)
    }
    fn encode(&self, value: &Vec<u8>) -> Result<Bytes> {
        Ok(value.clone().into())
    }
    fn decode(&self, bytes: &Bytes) -> Result<Vec<u8>> {
        Ok(bytes.to_vec())
    }
}

fn both() -> [Compressed<Raw>; 2] {
    [Compressed::zstd(Raw), Compressed::lz4(Raw)]
}

/// The text of an error and of its causes.
fn told(error: &larder::Error) -> String {
    format!("{error} {:?}", std::error::Error::source(error).map(ToString::to_string))
}

#[test]
fn small_values_and_such_as_do_not_get_smaller_are_stored_as_they_are() {
    for (codec, mark) in both().into_iter().zip([1, 2]) {
        let small = codec.encode(&vec![7; 511]).unwrap();
        assert_eq!((small.len(), &small[..2]), (513, &[0, 200][..]), "{codec:?}");
        let large = codec.encode(&vec![7; 512]).unwrap();
        assert!(large.len() < 64, "{codec:?}: {}", large.len());
        assert_eq!(large[..6], [mark, 200, 0, 2, 0, 0], "the documented header");
        let mut random = fastrand(4096);
        let noise = codec.encode(&random).unwrap();
        assert_eq!((noise.len(), noise[0]), (4098, 0), "{codec:?}: noise does not get smaller");
        assert_eq!(codec.decode(&noise).unwrap(), random);
        random.truncate(0);
        assert_eq!(codec.decode(&codec.encode(&random).unwrap()).unwrap(), random);
    }
}

/// Bytes that nothing compresses.
fn fastrand(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    (0..length).map(|_| next()).collect()
}

#[test]
fn whichever_wrote_is_read_and_another_inner_codec_is_refused() {
    let [zstd, lz4] = both();
    let value = b"rye bread ".repeat(200);
    assert_eq!(lz4.decode(&zstd.encode(&value).unwrap()).unwrap(), value);
    assert_eq!(zstd.decode(&lz4.encode(&value).unwrap()).unwrap(), value);
    let text = "rye ".repeat(500);
    let json = Compressed::lz4(Json).encode(&text).unwrap();
    let error = Codec::<String>::decode(&Compressed::lz4(Postcard), &json).unwrap_err();
    assert!(told(&error).contains("another codec"), "{error}");
}

#[test]
fn every_truncation_is_an_error_and_no_byte_panics() {
    for codec in both() {
        let value: Vec<u8> = (0..4_000).map(|index: u32| index.to_le_bytes()[0] / 3).collect();
        let bytes = codec.encode(&value).unwrap();
        for end in 0..bytes.len() {
            assert!(codec.decode(&bytes.slice(..end)).is_err(), "{codec:?} took {end} of {}", bytes.len());
        }
        assert!(codec.decode(&[&bytes[..], b"!"].concat().into()).is_err(), "{codec:?} took a trailing byte");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            // without a checksum of its own (the header of the entry has one) a flip may give another value, never a longer one
            if let Ok(other) = codec.decode(&flipped.into()) {
                assert!(other.len() <= 16 * MIB, "{codec:?}, bit {bit}");
            }
        }
    }
}

/// A value that is small compressed and large otherwise, as an attacker would write it.
fn bombs() -> Vec<(&'static str, Bytes)> {
    let zeros = vec![0; 64 * MIB];
    let mut bombs = Vec::new();
    for (name, codec) in ["zstd", "LZ4"].into_iter().zip(both()) {
        let honest = codec.limit(64 * MIB).encode(&zeros).unwrap();
        let mut liar = honest.to_vec();
        liar[2..6].copy_from_slice(&1024_u32.to_le_bytes());
        let mut boaster = honest.to_vec();
        boaster[2..6].copy_from_slice(&u32::MAX.to_le_bytes());
        bombs.extend([(name, honest), (name, liar.into()), (name, boaster.into())]);
        // says that it is as large as may be, and is nothing
        let mut empty = vec![if name == "zstd" { 1 } else { 2 }, 200];
        empty.extend(u32::try_from(MIB).unwrap().to_le_bytes());
        bombs.push((name, [&empty[..], b"\0\0"].concat().into()));
    }
    bombs
}

#[test]
fn a_bomb_is_an_error_and_allocates_no_more_than_the_limit() {
    for (name, bomb) in bombs() {
        let codec = Compressed::zstd(Raw).limit(MIB);
        let (mut refused, header) = (false, bomb.slice(..6));
        let measured = allocation_counter::measure(|| refused = codec.decode(&bomb).is_err());
        assert!(refused, "{name} {header:?}");
        let most = measured.bytes_max;
        assert!(most <= MIB as u64 + 4_096, "{name} {header:?} of {} bytes took {most}", bomb.len());
    }
    let error = Compressed::zstd(Raw).limit(MIB).decode(&bombs()[0].1).unwrap_err();
    assert_eq!(
        error.to_string(),
        "codec: the value has 67108864 bytes before compression, and `limit` is 1048576"
    );
}

#[tokio::test]
async fn a_bomb_in_the_store_is_a_counted_miss_and_is_overwritten() {
    let server = MemoryServer::new();
    let cache: Cache<u64, Vec<u8>> = Cache::builder()
        .namespace("bomb")
        .backend(server.connect("one").encoded(Compressed::zstd(Raw).limit(MIB)))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
        .unwrap();
    let key = StoreKey::new(&7u64);
    for (count, (name, bomb)) in (0..).zip(bombs()) {
        let entry =
            Entry::new(Some(Payload::new(CodecId::new(5), bomb).into()), Timestamp::ORIGIN, Duration::MAX);
        let bytes = Frame::of(&entry, 0, Stamp::default(), [0, u64::MAX, u64::MAX]).encode(&key);
        server.poke("bomb", &key, bytes, Duration::from_secs(60));
        let undecodable = cache.stats().undecodable;
        assert!(cache.get_if_present(&7).await.unwrap().is_none(), "{name}");
        assert_eq!(cache.stats().undecodable, undecodable + 1, "{name}: counted");
        let loaded =
            cache.get_or_load(&7, || async { Ok::<_, std::io::Error>(vec![1; 1000]) }).await.unwrap();
        assert_eq!(loaded.unwrap().len(), 1000);
        assert!(cache.get_if_present(&7).await.unwrap().is_some(), "{name}: overwritten");
        assert_eq!(cache.stats().loads, count + 1, "{name}");
    }
    assert_eq!(cache.stats().backend_errors, 0);
}

proptest! {
    #[test]
    fn what_goes_in_comes_out(
        value in proptest::collection::vec(0u8..4, 0..3_000),
        threshold in 0usize..2_000,
        level in -5i32..30,
    ) {
        let zstd = Compressed::zstd_level(Raw, level).threshold(threshold);
        for codec in [zstd, Compressed::lz4(Raw).threshold(threshold)] {
            let bytes = codec.encode(&value).unwrap();
            prop_assert!(bytes.len() <= value.len() + 2, "never more than two bytes larger");
            prop_assert_eq!(codec.decode(&bytes).unwrap(), value.clone());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), mark in 0u8..4) {
        let codec = Compressed::zstd(Raw).limit(MIB);
        let mut bytes = bytes;
        if let [first, second, ..] = &mut bytes[..] {
            (*first, *second) = (mark, 200);
        }
        if let Ok(value) = codec.decode(&bytes.into()) {
            prop_assert!(value.len() <= MIB);
        }
    }
}
