//! Entries that are valid but for some bytes, for as long as `LARDER_FUZZ_SECONDS` says (1 by default).
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../../fuzz/src/lib.rs"]
#[allow(unreachable_pub, reason = "a crate of its own")]
mod properties;

use std::time::{Duration, Instant};

use bytes::Bytes;
use larder::backend::{Frame, Payload};
use larder::codec::{Bincode, Json, MessagePack, Postcard};
use larder::tag::Stamp;
use larder::{Codec, Tag};
use larder_codecs::Compressed;
use properties::{Value, envelope, key, mended, name, payload, sealed};
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

fn value(random: &mut StdRng) -> Value {
    let text =
        |random: &mut StdRng| (0..random.random_range(0..40)).map(|_| random.random::<char>()).collect();
    let numbers = (0..random.random_range(0..300)).map(|_| random.random()).collect();
    let pairs = (0..random.random_range(0..9)).map(|_| (random.random(), random.random())).collect();
    let result = if random.random() { Ok(random.random::<f64>()) } else { Err(random.random()) };
    (random.random(), text(random), random.random_bool(0.7).then_some(numbers), pairs, result)
}

fn encoded(random: &mut StdRng) -> Payload {
    let value = value(random);
    let codecs: [&dyn Codec<Value>; 6] = [
        &Json,
        &Postcard,
        &MessagePack,
        &Bincode,
        &Compressed::zstd(Json),
        &Compressed::lz4(Postcard).threshold(0),
    ];
    let codec = codecs[random.random_range(0..codecs.len())];
    Payload::new(codec.id(), codec.encode(&value).unwrap())
}

fn frame(random: &mut StdRng) -> Frame {
    Frame {
        payload: random.random_bool(0.9).then(|| encoded(random)),
        schema: random.random(),
        cost_us: random.random(),
        created_ms: random.random(),
        soft_ms: random.random(),
        expires_ms: random.random(),
        stamp: Stamp::new(random.random(), random.random()),
        tags: (0..random.random_range(0..4)).map(|tag: u32| Tag::new("tag", tag)).collect(),
        validator: random.random_bool(0.5).then(|| "v1".into()),
    }
}

/// Some bytes flipped, cut out, doubled, put in, or set to what lengths are afraid of.
fn mutated(random: &mut StdRng, bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = random.random_range(0..bytes.len());
        let end = random.random_range(at..bytes.len().min(at + 16)) + 1;
        match random.random_range(0..6) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, part));
            }
            _ => bytes[at..end].fill([0, 0x7f, 0x80, 0xff][random.random_range(0..4)]),
        }
    }
    bytes
}

#[test]
fn no_mutation_of_a_valid_entry_panics() {
    let seconds = std::env::var("LARDER_FUZZ_SECONDS").map_or(1.0, |text| text.parse().expect("seconds"));
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_micros().try_into().unwrap();
    let seed: u64 =
        std::env::var("LARDER_FUZZ_SEED").map_or_else(|_| now(), |text| text.parse().expect("a seed"));
    println!("LARDER_FUZZ_SEED={seed}");
    let (mut random, began, mut rounds) = (StdRng::seed_from_u64(seed), Instant::now(), 0u64);
    while began.elapsed() < Duration::from_secs_f64(seconds) {
        let frame = frame(&mut random);
        let (valid, name) = (frame.encode(&name()), name());
        assert_eq!(Frame::decode(valid.clone(), &name, frame.schema).unwrap(), frame);
        for _ in 0..20 {
            let wrong = mutated(&mut random, &valid);
            // a changed entry is refused as it is ...
            let read = Frame::decode(Bytes::from(wrong.clone()), &name, frame.schema);
            assert!(read.is_err() || wrong == valid, "seed {seed}: a change went unnoticed");
            // ... and with a right checksum is read or refused, and no more
            envelope(&wrong);
        }
        let inner = frame.payload.map_or_else(Bytes::new, |payload| payload.bytes().clone());
        let wrong = mutated(&mut random, &inner);
        payload(&wrong);
        sealed(&wrong);
        key(&wrong[..wrong.len().min(64)]);
        rounds += 1;
    }
    println!("{rounds} entries, 21 mutations each");
    assert!(rounds > 0);
}

/// Every truncation is refused, also one whose checksum was made right.
#[test]
fn every_truncation_is_a_miss() {
    let mut random = StdRng::seed_from_u64(1);
    for _ in 0..50 {
        let frame = frame(&mut random);
        let valid = frame.encode(&name());
        for end in 0..valid.len() {
            let cut = valid.slice(..end);
            assert!(Frame::decode(cut.clone(), &name(), frame.schema).is_err(), "{end} of {}", valid.len());
            assert!(
                Frame::decode(mended(&cut).into(), &name(), frame.schema).is_err(),
                "{end} of {}",
                valid.len()
            );
        }
    }
}
