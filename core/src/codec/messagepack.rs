use bytes::{Buf, Bytes};
use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecId, depth};
use crate::{Error, ErrorKind, Result};

/// A codec of MessagePack by `rmp-serde`, with field names: compact, self-describing, read by many languages.
///
/// # Examples
/// ```
/// use larder::codec::MessagePack;
/// use larder::Codec;
/// let bytes = MessagePack.encode(&vec![1u8, 2])?;
/// assert_eq!(&bytes[..], &[0x92, 1, 2]);
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct MessagePack;

impl<V: Serialize + DeserializeOwned> Codec<V> for MessagePack {
    fn id(&self) -> CodecId {
        CodecId::MESSAGEPACK
    }

    fn encode(&self, value: &V) -> Result<Bytes> {
        rmp_serde::to_vec_named(value).map(Bytes::from).map_err(|cause| Error::codec("encode", cause))
    }

    fn decode(&self, bytes: &Bytes) -> Result<V> {
        let mut reader = bytes.clone().reader();
        let mut decoder = rmp_serde::Deserializer::new(&mut reader);
        let value = depth::decode(&mut decoder).map_err(|cause| Error::codec("decode", cause))?;
        match reader.get_ref().remaining() {
            0 => Ok(value),
            rest => Err(Error::new(ErrorKind::Codec, format!("{rest} bytes after the value"))),
        }
    }
}
