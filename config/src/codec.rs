//! The codecs by name.

use ::bytes::Bytes;
use larder::codec::CodecId;
use larder::{Codec, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::kind::CodecName;
use crate::words::Word as _;

/// Delegates to one of the compiled-in codecs, which is known only once the line has been read.
impl<V: Serialize + DeserializeOwned> Codec<V> for CodecName {
    fn id(&self) -> CodecId {
        match self {
            Self::Json => CodecId::JSON,
            Self::Postcard => CodecId::POSTCARD,
            Self::MessagePack => CodecId::MESSAGEPACK,
            Self::Bincode => CodecId::BINCODE,
        }
    }

    fn encode(&self, value: &V) -> Result<Bytes> {
        match self {
            #[cfg(feature = "json")]
            Self::Json => larder::codec::Json.encode(value),
            #[cfg(feature = "postcard")]
            Self::Postcard => larder::codec::Postcard.encode(value),
            #[cfg(feature = "messagepack")]
            Self::MessagePack => larder::codec::MessagePack.encode(value),
            #[cfg(feature = "bincode")]
            Self::Bincode => larder::codec::Bincode.encode(value),
            #[allow(unreachable_patterns, reason = "which codecs are left depends on the features")]
            off => Err(off.off()),
        }
    }

    fn decode(&self, bytes: &Bytes) -> Result<V> {
        match self {
            #[cfg(feature = "json")]
            Self::Json => larder::codec::Json.decode(bytes),
            #[cfg(feature = "postcard")]
            Self::Postcard => larder::codec::Postcard.decode(bytes),
            #[cfg(feature = "messagepack")]
            Self::MessagePack => larder::codec::MessagePack.decode(bytes),
            #[cfg(feature = "bincode")]
            Self::Bincode => larder::codec::Bincode.decode(bytes),
            #[allow(unreachable_patterns, reason = "which codecs are left depends on the features")]
            off => Err(off.off()),
        }
    }
}
