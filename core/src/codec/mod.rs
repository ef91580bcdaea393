//! Codecs: values to bytes and back, for stores of bytes.
//!
//! | codec | feature | readable | survives added fields | notes |
//! |---|---|---|---|---|
//! | [`Json`] | `json` (default) | by any language | yes | self-describing |
//! | [`MessagePack`] | `messagepack` | by many languages | yes | self-describing, compact |
//! | [`Postcard`] | `postcard` | by Rust | no | smallest and fastest; raise the schema version when the type changes |
//! | [`Bincode`] | `bincode` | by Rust | no | no longer maintained; prefer postcard |
// a codec whose feature is off is not available as a link target
#![cfg_attr(
    not(all(feature = "json", feature = "postcard", feature = "messagepack", feature = "bincode")),
    allow(rustdoc::broken_intra_doc_links)
)]

#[cfg(feature = "bincode")]
mod bincode;
#[cfg(any(feature = "postcard", feature = "messagepack", feature = "bincode"))]
mod depth;
#[cfg(feature = "json")]
mod json;
#[cfg(feature = "messagepack")]
mod messagepack;
#[cfg(feature = "postcard")]
mod postcard;

use std::fmt::Debug;

use bytes::Bytes;

#[cfg(feature = "bincode")]
pub use self::bincode::Bincode;
#[cfg(feature = "json")]
pub use self::json::Json;
#[cfg(feature = "messagepack")]
pub use self::messagepack::MessagePack;
#[cfg(feature = "postcard")]
pub use self::postcard::Postcard;
use crate::Result;

/// Converts values to bytes and back.
///
/// larder's own codecs decode values that nest at most 250 levels of sequences, maps, structs, newtype structs, enums
/// and options (JSON: 128 arrays and objects). Deeper bytes are undecodable, which is a counted miss at each read.
///
/// # Examples
/// ```
/// use bytes::Bytes;
/// use larder::codec::CodecId;
/// use larder::{Codec, Error, Result};
///
/// /// Numbers as eight bytes.
/// #[derive(Debug, Clone, Copy)]
/// struct BigEndian;
///
/// impl Codec<u64> for BigEndian {
///     fn id(&self) -> CodecId {
///         CodecId::new(200)
///     }
///     fn encode(&self, value: &u64) -> Result<Bytes> {
///         Ok(Bytes::copy_from_slice(&value.to_be_bytes()))
///     }
///     fn decode(&self, bytes: &Bytes) -> Result<u64> {
///         let bytes: [u8; 8] = bytes.as_ref().try_into().map_err(|wrong| Error::codec("decode", wrong))?;
///         Ok(u64::from_be_bytes(bytes))
///     }
/// }
///
/// let bytes = BigEndian.encode(&7)?;
/// assert_eq!(BigEndian.decode(&bytes)?, 7);
/// assert!(BigEndian.decode(&bytes.slice(1..)).is_err());
/// # Ok::<(), larder::Error>(())
/// ```
pub trait Codec<V>: Debug + Send + Sync + 'static {
    /// Returns the mark of this codec's bytes in the store, so that another codec does not try to read them.
    fn id(&self) -> CodecId;

    /// Encodes a value.
    ///
    /// # Errors
    /// If the value cannot be written in this form.
    fn encode(&self, value: &V) -> Result<Bytes>;

    /// Decodes a value. Bytes are untrusted: for any content, this must neither panic nor allocate without limit.
    ///
    /// They may be a slice of a larger buffer, such as that of a whole reply: copy small parts that are kept for
    /// long.
    ///
    /// # Errors
    /// If the bytes are not such a value. The cache then reloads it.
    fn decode(&self, bytes: &Bytes) -> Result<V>;
}

/// The mark of a codec: below 128 for larder's own, from 128 on for the users'.
///
/// # Examples
/// ```
/// use larder::codec::CodecId;
/// assert_eq!(CodecId::JSON.get(), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodecId(u8);

impl CodecId {
    /// The mark of [`Json`].
    pub const JSON: Self = Self(1);
    /// The mark of [`Postcard`].
    pub const POSTCARD: Self = Self(2);
    /// The mark of [`MessagePack`].
    pub const MESSAGEPACK: Self = Self(3);
    /// The mark of [`Bincode`].
    pub const BINCODE: Self = Self(4);

    /// Returns the mark with this number.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::codec::CodecId::new(200).get(), 200);
    /// ```
    #[must_use]
    pub const fn new(id: u8) -> Self {
        Self(id)
    }

    /// Returns the number.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder::codec::CodecId::POSTCARD.get(), 2);
    /// ```
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Product {
        id: u64,
        name: String,
        price: Option<i64>,
    }

    fn round_trip(codec: &impl Codec<Product>) {
        let product = Product { id: 7, name: "bread".into(), price: None };
        let bytes = codec.encode(&product).unwrap();
        assert_eq!(codec.decode(&bytes).unwrap(), product);
        for end in 0..bytes.len() {
            assert!(
                codec.decode(&bytes.slice(..end)).is_err(),
                "{codec:?} took {end} of {} bytes",
                bytes.len()
            );
        }
        assert!(codec.decode(&[&bytes[..], b"!"].concat().into()).is_err(), "{codec:?} took a trailing byte");
    }

    #[derive(Debug, serde::Serialize, serde::Deserialize)]
    enum Tree {
        Leaf,
        Boxed(Box<Tree>),
        Many(Vec<Tree>),
        Named { next: Option<Box<Tree>> },
        Mapped(std::collections::BTreeMap<u8, Tree>),
    }

    fn nested(kind: u8, depth: usize) -> Tree {
        (0..depth).fold(Tree::Leaf, |inner, _| match kind {
            0 => Tree::Boxed(Box::new(inner)),
            1 => Tree::Many(vec![inner]),
            2 => Tree::Named { next: Some(Box::new(inner)) },
            _ => Tree::Mapped([(1, inner)].into()),
        })
    }

    /// Encodes and drops the value on a large stack, and decodes it on one as small as that of a runtime's worker.
    fn is_decoded(codec: impl Codec<Tree> + Copy, kind: u8, depth: usize) -> bool {
        let encode = move || codec.encode(&nested(kind, depth)).unwrap();
        let bytes = std::thread::Builder::new().stack_size(256 << 20).spawn(encode).unwrap().join().unwrap();
        let decode = move || codec.decode(&bytes).is_ok();
        std::thread::Builder::new().stack_size(2 << 20).spawn(decode).unwrap().join().unwrap()
    }

    fn depths(codec: impl Codec<Tree> + Copy) {
        for kind in 0..4 {
            assert!(is_decoded(codec, kind, 60), "{codec:?}, {kind}");
            assert!(!is_decoded(codec, kind, 50_000), "{codec:?}, {kind}");
        }
    }

    /// prevents: foreign bytes overflow the stack, which aborts the process.
    #[test]
    fn what_is_nested_too_deeply_is_an_error_and_no_stack_overflow() {
        #[cfg(feature = "json")]
        depths(Json);
        #[cfg(feature = "postcard")]
        depths(Postcard);
        #[cfg(feature = "messagepack")]
        depths(MessagePack);
        #[cfg(feature = "bincode")]
        depths(Bincode);
    }

    #[test]
    fn each_codec_gives_back_what_went_in_and_refuses_every_truncation() {
        #[cfg(feature = "json")]
        round_trip(&Json);
        #[cfg(feature = "postcard")]
        round_trip(&Postcard);
        #[cfg(feature = "messagepack")]
        round_trip(&MessagePack);
        #[cfg(feature = "bincode")]
        round_trip(&Bincode);
    }
}
