use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use super::{Codec, CodecId};
use crate::{Error, Result};

/// A codec of JSON by `serde_json`: readable with `redis-cli` and by any other language. The default.
///
/// # Examples
/// ```
/// use larder::codec::Json;
/// use larder::Codec;
/// let bytes = Json.encode(&vec![1, 2])?;
/// assert_eq!(&bytes[..], b"[1,2]");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Json;

impl<V: Serialize + DeserializeOwned> Codec<V> for Json {
    fn id(&self) -> CodecId {
        CodecId::JSON
    }

    fn encode(&self, value: &V) -> Result<Bytes> {
        serde_json::to_vec(value).map(Bytes::from).map_err(|cause| Error::codec("encode", cause))
    }

    fn decode(&self, bytes: &Bytes) -> Result<V> {
        serde_json::from_slice(bytes).map_err(|cause| Error::codec("decode", cause))
    }
}
