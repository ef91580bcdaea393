//! The format of one encrypted value.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 1 | format, 1: XChaCha20-Poly1305 |
//! | 1 | 4 | number of the key, little-endian |
//! | 5 | 24 | nonce, random |
//! | 29 | n | encrypted: the table below |
//! | 29 + n | 16 | authentication tag |
//!
//! | offset | bytes | encrypted content |
//! |---|---|---|
//! | 0 | 1 | 1 for a value, 0 for a known absence |
//! | 1 | 1 | codec of the value |
//! | 2 | 8 | time of encryption, in milliseconds since 1970 by the writer's clock |
//! | 10 | 8 | remaining life at that time, in milliseconds; 2⁶⁴ − 1 for no expiry |
//! | 18 | | the value |
//!
//! Also authenticated, and stored elsewhere: the first 5 bytes, the namespace, the whole key, the tags, the
//! validator, each with its length before it.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use chacha20poly1305::aead::{AeadInOut as _, Generate as _};
use chacha20poly1305::{Tag, XNonce};
use larder::backend::Payload;
use larder::codec::CodecId;
use larder::{Error, ErrorKind, Result};

use crate::keys::KeyRing;

const FORMAT: u8 = 1;
const NONCE: std::ops::Range<usize> = 5..29;
const TAG: usize = 16;
const PRELUDE: usize = 18;

/// The place to which an encrypted value belongs. It opens at no other place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) key: &'a str,
    pub(crate) tags: &'a [larder::Tag],
    pub(crate) validator: Option<&'a str>,
}

/// The encrypted content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content {
    /// The value. `None` for a known absence.
    pub(crate) payload: Option<Payload>,
    pub(crate) sealed_ms: u64,
    pub(crate) life_ms: u64,
}

impl Place<'_> {
    fn associated(self, start: &[u8]) -> Vec<u8> {
        let Self { namespace, key, tags, validator } = self;
        let mut out = Vec::with_capacity(64 + namespace.len() + key.len());
        out.put_slice(b"larder sealed");
        out.put_slice(start);
        let mut part = |text: &str| {
            // texts longer than 4 GiB do not fit a header either
            out.put_u32_le(u32::try_from(text.len()).unwrap_or(u32::MAX));
            out.put_slice(text.as_bytes());
        };
        part(namespace);
        part(key);
        // one more byte distinguishes an empty validator from none
        part(&validator.map_or_else(String::new, |validator| format!("={validator}")));
        tags.iter().for_each(|tag| part(tag.as_str()));
        out
    }
}

pub(crate) fn seal(keys: &KeyRing, place: Place<'_>, content: &Content) -> Result<Bytes> {
    let (id, cipher) = keys.writing();
    let nonce = XNonce::try_generate().map_err(|cause| Error::codec("encrypt", cause.to_string()))?;
    let value = content.payload.as_ref().map_or(&[][..], |payload| payload.bytes());
    let mut out = BytesMut::with_capacity(NONCE.end + PRELUDE + value.len() + TAG);
    out.put_u8(FORMAT);
    out.put_u32_le(id);
    let associated = place.associated(&out);
    out.put_slice(&nonce);
    out.put_u8(u8::from(content.payload.is_some()));
    out.put_u8(content.payload.as_ref().map_or(0, |payload| payload.codec().get()));
    out.put_u64_le(content.sealed_ms);
    out.put_u64_le(content.life_ms);
    out.put_slice(value);
    let tag = cipher
        .encrypt_inout_detached(&nonce, &associated, (&mut out[NONCE.end..]).into())
        .map_err(|_| refused("the value is too large to encrypt"))?;
    out.put_slice(&tag);
    Ok(out.freeze())
}

pub(crate) fn open(keys: &KeyRing, place: Place<'_>, bytes: &Bytes) -> Result<Content> {
    if bytes.len() < NONCE.end + PRELUDE + TAG {
        return Err(refused("truncated"));
    }
    if bytes[0] != FORMAT {
        return Err(refused("encrypted in a format that this version does not know"));
    }
    let id = (&bytes[1..NONCE.start]).get_u32_le();
    let Some(cipher) = keys.reading(id) else {
        return Err(refused(&format!("encrypted with key {id}, which this process does not have")));
    };
    let associated = place.associated(&bytes[..NONCE.start]);
    let (body, tag) = bytes[NONCE.end..].split_at(bytes.len() - NONCE.end - TAG);
    let (nonce, tag) = (XNonce::try_from(&bytes[NONCE]), Tag::try_from(tag));
    let (Ok(nonce), Ok(tag)) = (nonce, tag) else { return Err(refused("truncated")) };
    let mut plain = BytesMut::from(body);
    cipher.decrypt_inout_detached(&nonce, &associated, plain.as_mut().into(), &tag).map_err(|_| {
        refused("altered, or of another key or namespace, or encrypted with another key of this number")
    })?;
    let is_value = plain.get_u8();
    let codec = CodecId::new(plain.get_u8());
    let (sealed_ms, life_ms) = (plain.get_u64_le(), plain.get_u64_le());
    let payload = (is_value == 1).then(|| Payload::new(codec, plain.freeze()));
    Ok(Content { payload, sealed_ms, life_ms })
}

pub(crate) fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Codec, why)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use super::*;
    use crate::keys::SecretKey;

    /// Encrypted by libsodium in the format of the tables above, with a nonce of the bytes 100 to 123.
    const BY_LIBSODIUM: &str = concat!(
        "01",
        "07000000",
        "6465666768696a6b6c6d6e6f707172737475767778797a7b",
        "7d72f9d81ae102838730fdd5a66fbdc95bbb70139649abd4ae",
        "79b24f85f1595bf3e9e5c9f0448a5b08",
    );

    #[test]
    fn the_bytes_are_the_documented_ones() {
        let mut bytes = [0; 32];
        (0..).zip(&mut bytes).for_each(|(index, byte)| *byte = index);
        let ring = KeyRing::new(7, SecretKey::new(bytes));
        let tags = [larder::Tag::new("of", "bread")];
        let place = Place { namespace: "shop:order@2", key: "(=a,7)", tags: &tags, validator: Some("v1") };
        let content = Content {
            payload: Some(Payload::new(CodecId::JSON, "\"bread\"")),
            sealed_ms: 1_700_000_000_000,
            life_ms: 60_000,
        };
        let digits = BY_LIBSODIUM.as_bytes().chunks(2);
        let foreign: Vec<u8> =
            digits.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect();
        assert_eq!(open(&ring, place, &foreign.into()).unwrap(), content);
        assert_eq!(open(&ring, place, &seal(&ring, place, &content).unwrap()).unwrap(), content);
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let ring = KeyRing::new(7, SecretKey::new([1; 32]));
        let content = Content { payload: None, sealed_ms: 0, life_ms: 0 };
        let none = Place { namespace: "a", key: "b", tags: &[], validator: None };
        let tags = [larder::Tag::from_stored("b"), larder::Tag::from_stored("")];
        let places = [
            none,
            Place { namespace: "ab", key: "", ..none },
            Place { namespace: "", key: "ab", ..none },
            Place { validator: Some(""), ..none },
            Place { tags: &tags[..1], ..none },
            Place { tags: &tags[1..], ..none },
            Place { tags: &tags[..1], validator: Some(""), ..none },
            Place { validator: Some("b"), ..none },
        ];
        for (index, place) in places.into_iter().enumerate() {
            let sealed = seal(&ring, place, &content).unwrap();
            for (other, elsewhere) in places.into_iter().enumerate() {
                assert_eq!(
                    open(&ring, elsewhere, &sealed).is_ok(),
                    index == other,
                    "{place:?} at {elsewhere:?}"
                );
            }
        }
    }
}
