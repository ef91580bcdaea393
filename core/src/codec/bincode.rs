use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecId, depth};
use crate::{Error, ErrorKind, Result};

/// The maximum memory that decoding may request: 64 MiB.
const LIMIT: usize = 64 << 20;

/// A codec of bincode 2.0.1. It works, but is no longer maintained (RUSTSEC-2025-0141; version 3 holds no code), so
/// it is behind its own feature. For new code choose [`Postcard`](super::Postcard). Not self-describing.
///
/// # Examples
/// ```
/// # #[cfg(feature = "bincode")] {
/// use larder::codec::Bincode;
/// use larder::Codec;
/// let bytes = Bincode.encode(&(1u8, "a".to_owned()))?;
/// assert_eq!(&bytes[..], &[1, 1, b'a']);
/// # }
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Bincode;

impl<V: Serialize + DeserializeOwned> Codec<V> for Bincode {
    fn id(&self) -> CodecId {
        CodecId::BINCODE
    }

    fn encode(&self, value: &V) -> Result<Bytes> {
        bincode::serde::encode_to_vec(value, bincode::config::standard())
            .map(Bytes::from)
            .map_err(|cause| Error::codec("encode", cause))
    }

    fn decode(&self, bytes: &Bytes) -> Result<V> {
        let config = bincode::config::standard().with_limit::<LIMIT>();
        let (value, read) = bincode::serde::seed_decode_from_slice(depth::seed(), bytes, config)
            .map_err(|cause| Error::codec("decode", cause))?;
        if read != bytes.len() {
            return Err(Error::new(
                ErrorKind::Codec,
                format!("{} bytes after the value", bytes.len() - read),
            ));
        }
        Ok(value)
    }
}
