use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecId, depth};
use crate::{Error, ErrorKind, Result};

/// Bytes reserved before encoding, so that usual values are written without growing the buffer.
const USUAL: usize = 256;

/// A codec of postcard: compact, fast, maintained. Not self-describing: change the cache's
/// [`schema`](crate::CacheBuilder::schema) when the type changes.
///
/// # Examples
/// ```
/// use larder::codec::Postcard;
/// use larder::Codec;
/// let bytes = Postcard.encode(&(1u8, "a".to_owned()))?;
/// assert_eq!(&bytes[..], &[1, 1, b'a']);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Postcard;

impl<V: Serialize + DeserializeOwned> Codec<V> for Postcard {
    fn id(&self) -> CodecId {
        CodecId::POSTCARD
    }

    fn encode(&self, value: &V) -> Result<Bytes> {
        postcard::to_extend(value, Vec::with_capacity(USUAL))
            .map(Bytes::from)
            .map_err(|cause| Error::codec("encode", cause))
    }

    fn decode(&self, bytes: &Bytes) -> Result<V> {
        let mut decoder = postcard::Deserializer::from_bytes(bytes);
        let value = depth::decode(&mut decoder).map_err(|cause| Error::codec("decode", cause))?;
        let rest = decoder.finalize().map_err(|cause| Error::codec("decode", cause))?;
        if !rest.is_empty() {
            return Err(Error::new(ErrorKind::Codec, format!("{} bytes after the value", rest.len())));
        }
        Ok(value)
    }
}
