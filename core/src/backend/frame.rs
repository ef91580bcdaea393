//! The binary format of an entry in a shared store.
//!
//! All numbers are little-endian. Times are milliseconds of the *store's* clock, so that processes whose clocks
//! differ agree on them; 2⁶⁴ − 1 means never.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 4 | `lrdr` |
//! | 4 | 1 | format version, 1 |
//! | 5 | 1 | flags: bit 0 set for a negative entry; the others 0 |
//! | 6 | 1 | codec of the payload ([`CodecId`]) |
//! | 7 | 1 | reserved, 0 |
//! | 8 | 4 | schema version |
//! | 12 | 4 | time the load took, in microseconds |
//! | 16 | 8 | created |
//! | 24 | 8 | soft expiry (equal to the hard one unless stale values are kept) |
//! | 32 | 8 | hard expiry |
//! | 40 | 4 | length of the key |
//! | 44 | 4 | length of the extensions |
//! | 48 | 4 | length of the payload |
//! | 52 | 4 | reserved, 0 |
//! | 56 | 8 | identity of the namespace's tag ledger when the load began (5.4 of the design: tags, `clear`) |
//! | 64 | 8 | count of that ledger |
//! | 72 | 8 | XXH3-64 of the bytes `80..`, seeded with the XXH3-64 of the bytes `0..72` |
//! | 80 | | the whole encoded key, the extensions, the payload |
//!
//! An extension is a byte of kind, its length in 4 bytes, and its text in UTF-8. Kind 1 is a [`Tag`] that the entry
//! carries (one extension each). Kind 2 is the validator by which the source recognizes this version of the value.
//!
//! All other bytes are a miss. A read does not fail on bytes that it cannot decode.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use twox_hash::XxHash3_64;

use crate::backend::{Entry, Payload};
use crate::clock::Timestamp;
use crate::codec::CodecId;
use crate::key::StoreKey;
use crate::tag::{Stamp, Tag};

const MAGIC: &[u8; 4] = b"lrdr";
const VERSION: u8 = 1;
const NEGATIVE: u8 = 1;
const LENGTH: usize = 80;
const TAG: u8 = 1;
const VALIDATOR: u8 = 2;
const CHECKSUM: std::ops::Range<usize> = 72..80;

/// The fields of a stored entry. [`Frame::encode`] writes them, and [`Frame::decode`] reads them.
///
/// # Examples
/// ```
/// use larder::backend::{Frame, Payload};
/// use larder::codec::CodecId;
/// use larder::key::StoreKey;
/// use larder::tag::Stamp;
/// let key = StoreKey::new(&7u64);
/// let frame = Frame {
///     payload: Some(Payload::new(CodecId::JSON, "{}")),
///     schema: 0,
///     cost_us: 1500,
///     created_ms: 1_000,
///     soft_ms: 61_000,
///     expires_ms: 61_000,
///     stamp: Stamp::default(),
///     tags: vec![],
///     validator: None,
/// };
/// let bytes = frame.encode(&key);
/// assert_eq!(Frame::decode(bytes.clone(), &key, 0)?, frame);
/// assert!(Frame::decode(bytes, &StoreKey::new(&8u64), 0).is_err());
/// # Ok::<(), larder::backend::FrameError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The encoded value, or `None` for a negative entry.
    pub payload: Option<Payload>,
    /// The schema version of the cache.
    pub schema: u32,
    /// The duration of the load, in microseconds.
    pub cost_us: u32,
    /// The time when the value was stored, in milliseconds of the store's clock.
    pub created_ms: u64,
    /// The time when the value becomes stale, in milliseconds of the store's clock.
    pub soft_ms: u64,
    /// The time when the value expires, in milliseconds of the store's clock.
    pub expires_ms: u64,
    /// The stamp of the namespace's tag ledger when the load began; zeros in a store without a ledger.
    pub stamp: Stamp,
    /// The tags that the entry carries.
    pub tags: Vec<Tag>,
    /// The validator by which the source recognizes this version of the value.
    pub validator: Option<Box<str>>,
}

/// The reason why stored bytes are not an entry. A read treats it as a miss, never as an error.
///
/// # Examples
/// ```
/// use larder::backend::{Frame, FrameError};
/// use larder::key::StoreKey;
/// let short = Frame::decode("lrdr".into(), &StoreKey::new(&7), 0);
/// assert_eq!(short.unwrap_err(), FrameError::Truncated);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes are shorter than the header, or than the lengths in it.
    #[error("truncated")]
    Truncated,
    /// The bytes do not start with larder's magic number: another program wrote them.
    #[error("not written by larder")]
    Foreign,
    /// The format version, the flags or an extension are unknown to this version of larder.
    #[error("written in a format that this version does not know")]
    Unknown,
    /// The bytes are longer than the lengths in the header.
    #[error("bytes after the payload")]
    Trailing,
    /// The checksum differs.
    #[error("the checksum differs")]
    Corrupt,
    /// The bytes belong to another key: a digest collision, or a key that was copied.
    #[error("the entry of another key")]
    OtherKey,
    /// The value was written for another schema version.
    #[error("another schema version")]
    OtherSchema,
}

impl Frame {
    /// Returns the frame of `entry`. `times_ms` are its creation, soft expiry and hard expiry, in milliseconds of the
    /// store's clock.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::backend::{Entry, Frame};
    /// use larder::clock::Timestamp;
    /// use larder::tag::Stamp;
    /// let absent = Entry::new(None, Timestamp::ORIGIN, Duration::from_secs(60));
    /// let frame = Frame::of(&absent, 0, Stamp::default(), [1_000, 61_000, 61_000]);
    /// assert_eq!((frame.created_ms, frame.expires_ms), (1_000, 61_000));
    /// ```
    #[must_use]
    pub fn of(entry: &Entry<Payload>, schema: u32, stamp: Stamp, times_ms: [u64; 3]) -> Self {
        let [created_ms, soft_ms, expires_ms] = times_ms;
        Self {
            payload: entry.value().map(|payload| Payload::clone(payload)),
            schema,
            cost_us: u32::try_from(entry.load_cost().as_micros()).unwrap_or(u32::MAX),
            created_ms,
            soft_ms,
            expires_ms,
            stamp,
            tags: entry.tags().to_vec(),
            validator: entry.validator().map(Into::into),
        }
    }

    /// Returns the entry in this frame. `times` are its creation, soft expiry and hard expiry, in the reader's clock.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::backend::{Entry, Frame};
    /// use larder::clock::Timestamp;
    /// use larder::tag::Stamp;
    /// let absent = Entry::new(None, Timestamp::ORIGIN, Duration::from_secs(60));
    /// let frame = Frame::of(&absent, 0, Stamp::default(), [1_000, 61_000, 61_000]);
    /// let entry = frame.into_entry([Timestamp::ORIGIN, Timestamp::NEVER, Timestamp::NEVER]);
    /// assert!(entry.value().is_none() && entry.expires() == Timestamp::NEVER);
    /// ```
    #[must_use]
    pub fn into_entry(self, times: [Timestamp; 3]) -> Entry<Payload> {
        let [created, fresh_until, expires] = times;
        let entry = Entry::new(self.payload.map(Into::into), created, Duration::ZERO)
            .with_times(created, fresh_until, expires)
            .with_load_cost(Duration::from_micros(u64::from(self.cost_us)));
        if self.tags.is_empty() && self.validator.is_none() {
            return entry;
        }
        entry.with_tags(self.tags).with_validator(self.validator).stamped(self.stamp)
    }

    /// Returns the bytes to store under `key`.
    #[must_use]
    pub fn encode(&self, key: &StoreKey) -> Bytes {
        let Self { payload, schema, cost_us, created_ms, soft_ms, expires_ms, stamp, tags, validator } = self;
        let extensions = extensions(tags, validator.as_deref());
        let key = key.full().as_bytes();
        let (flags, codec, body) = match payload {
            Some(payload) => (0, payload.codec().get(), &payload.bytes()[..]),
            None => (NEGATIVE, 0, &[][..]),
        };
        let mut out = BytesMut::with_capacity(LENGTH + key.len() + extensions.len() + body.len());
        out.put_slice(MAGIC);
        out.put_slice(&[VERSION, flags, codec, 0]);
        out.put_u32_le(*schema);
        out.put_u32_le(*cost_us);
        out.put_u64_le(*created_ms);
        out.put_u64_le(*soft_ms);
        out.put_u64_le(*expires_ms);
        out.put_u32_le(length(key));
        out.put_u32_le(length(&extensions));
        out.put_u32_le(length(body));
        out.put_u32_le(0);
        out.put_u64_le(stamp.ledger());
        out.put_u64_le(stamp.count());
        out.put_u64_le(0);
        out.put_slice(key);
        out.put_slice(&extensions);
        out.put_slice(body);
        let sum = checksum(&out);
        out[CHECKSUM].copy_from_slice(&sum.to_le_bytes());
        out.freeze()
    }

    /// Decodes `bytes`, if they are an entry of this `key` and `schema`. The payload is not copied. Without tags and
    /// a validator, nothing is allocated.
    ///
    /// # Errors
    /// A [`FrameError`] for all other bytes.
    pub fn decode(mut bytes: Bytes, key: &StoreKey, schema: u32) -> Result<Self, FrameError> {
        if bytes.len() < LENGTH {
            return Err(if bytes.starts_with(MAGIC) { FrameError::Truncated } else { FrameError::Foreign });
        }
        let mut header = &bytes[..LENGTH];
        if &header[..4] != MAGIC {
            return Err(FrameError::Foreign);
        }
        header.advance(4);
        let (version, flags, codec) = (header.get_u8(), header.get_u8(), header.get_u8());
        let reserved = header.get_u8();
        if version != VERSION || flags & !NEGATIVE != 0 || reserved != 0 {
            return Err(FrameError::Unknown);
        }
        let found_schema = header.get_u32_le();
        let cost_us = header.get_u32_le();
        let (created_ms, soft_ms, expires_ms) =
            (header.get_u64_le(), header.get_u64_le(), header.get_u64_le());
        let [key_length, extensions, payload_length] = [(); 3].map(|()| header.get_u32_le() as usize);
        header.advance(4);
        let stamp = Stamp::new(header.get_u64_le(), header.get_u64_le());
        match bytes.len().cmp(&(LENGTH + key_length + extensions + payload_length)) {
            std::cmp::Ordering::Less => return Err(FrameError::Truncated),
            std::cmp::Ordering::Greater => return Err(FrameError::Trailing),
            std::cmp::Ordering::Equal => {}
        }
        if checksum(&bytes).to_le_bytes() != bytes[CHECKSUM] {
            return Err(FrameError::Corrupt);
        }
        let key_end = LENGTH + key_length;
        if &bytes[LENGTH..key_end] != key.full().as_bytes() {
            return Err(FrameError::OtherKey);
        }
        if found_schema != schema {
            return Err(FrameError::OtherSchema);
        }
        let body = key_end + extensions;
        let (tags, validator) = extended(&bytes[key_end..body])?;
        let payload = (flags & NEGATIVE == 0).then(|| {
            bytes.advance(body);
            Payload::new(CodecId::new(codec), bytes)
        });
        Ok(Self { payload, schema, cost_us, created_ms, soft_ms, expires_ms, stamp, tags, validator })
    }
}

fn extensions(tags: &[Tag], validator: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let tags = tags.iter().map(|tag| (TAG, tag.as_str()));
    for (kind, text) in tags.chain(validator.map(|text| (VALIDATOR, text))) {
        out.put_u8(kind);
        out.put_u32_le(length(text.as_bytes()));
        out.put_slice(text.as_bytes());
    }
    out
}

type Extended = (Vec<Tag>, Option<Box<str>>);

fn extended(mut bytes: &[u8]) -> Result<Extended, FrameError> {
    let (mut tags, mut validator) = (Vec::new(), None);
    while !bytes.is_empty() {
        let kind = bytes.try_get_u8().map_err(|_| FrameError::Unknown)?;
        let length = bytes.try_get_u32_le().map_err(|_| FrameError::Unknown)? as usize;
        let (text, rest) = bytes.split_at_checked(length).ok_or(FrameError::Unknown)?;
        let text = std::str::from_utf8(text).map_err(|_| FrameError::Unknown)?;
        match kind {
            TAG => tags.push(Tag::from_stored(text)),
            VALIDATOR => validator = Some(text.into()),
            _ => return Err(FrameError::Unknown),
        }
        bytes = rest;
    }
    Ok((tags, validator))
}

fn length(part: &[u8]) -> u32 {
    // `Encoded::max_bytes` and the reader's own limits keep values far below; a longer one would not match its length
    u32::try_from(part.len()).unwrap_or(u32::MAX)
}

/// Returns the checksum of the body, seeded with that of the header. Two calls over whole slices cost a third of a
/// stream of parts.
fn checksum(frame: &[u8]) -> u64 {
    let header = XxHash3_64::oneshot(&frame[..CHECKSUM.start]);
    XxHash3_64::oneshot_with_seed(header, &frame[CHECKSUM.end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Frame {
        Frame {
            payload: Some(Payload::new(CodecId::JSON, "{\"id\":7}")),
            schema: 3,
            cost_us: 1500,
            created_ms: 1_000,
            soft_ms: 31_000,
            expires_ms: 61_000,
            stamp: Stamp::new(0xfeed, 41),
            tags: vec![],
            validator: None,
        }
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_bytes_are_the_documented_ones() {
        let bytes = sample().encode(&StoreKey::new(&("a b", 7u64)));
        assert_eq!(
            hex(&bytes),
            concat!(
                "6c726472",
                "01",
                "00",
                "01",
                "00",
                "03000000",
                "dc050000", // magic, version, flags, codec, schema, cost
                "e803000000000000",
                "1879000000000000",
                "48ee000000000000", // created, soft, hard
                "0a000000",
                "00000000",
                "08000000",
                "00000000", // lengths
                "edfe000000000000",
                "2900000000000000", // ledger
                "4c3848141a6de12e",
                "283d61253230622c3729", // (=a%20b,7)
                "7b226964223a377d"      // {"id":7}
            )
        );
        let tagged = Frame { tags: vec![Tag::new("a", 1)], validator: Some("e".into()), ..sample() };
        let bytes = tagged.encode(&StoreKey::new(&7u64));
        assert_eq!(hex(&bytes[44..48]), "0e000000");
        assert_eq!(hex(&bytes[81..95]), concat!("01", "03000000", "613a31", "02", "01000000", "65"));
        let absent = Frame { payload: None, ..sample() }.encode(&StoreKey::new(&7u64));
        assert_eq!(hex(&absent[4..8]), "01010000");
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_refused() {
        let key = StoreKey::new(&7u64);
        let tagged = Frame { tags: vec![Tag::new("a", 1)], validator: Some("e".into()), ..sample() };
        let bytes = tagged.encode(&key);
        assert_eq!(Frame::decode(bytes.clone(), &key, 3), Ok(tagged));
        for end in 0..bytes.len() {
            assert!(Frame::decode(bytes.slice(..end), &key, 3).is_err(), "{end} bytes were taken");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::decode(flipped.into(), &key, 3).is_err(), "bit {bit} went unnoticed");
        }
    }

    #[test]
    fn another_key_or_schema_is_refused() {
        let bytes = sample().encode(&StoreKey::new(&7u64));
        assert_eq!(Frame::decode(bytes.clone(), &StoreKey::new(&8u64), 3), Err(FrameError::OtherKey));
        assert_eq!(Frame::decode(bytes.clone(), &StoreKey::new(&7u64), 4), Err(FrameError::OtherSchema));
        let trailing = Bytes::from([&bytes[..], b"!"].concat());
        assert_eq!(Frame::decode(trailing, &StoreKey::new(&7u64), 3), Err(FrameError::Trailing));
    }
}
