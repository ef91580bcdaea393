//! Compression, as a codec around another codec.
//!
//! | offset | bytes | content |
//! |---|---|---|
//! | 0 | 1 | 0 uncompressed, 1 zstd, 2 LZ4 |
//! | 1 | 1 | the inner codec |
//! | 2 | 4 | length before compression, little-endian; omitted if uncompressed |
//! | 2 or 6 | | the value: as it is, a zstd frame, or an LZ4 block |

#[cfg(feature = "zstd")]
mod zstd;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use larder::codec::CodecId;
use larder::{Codec, Error, ErrorKind, Result};

/// The mark of compressed values in a store.
const COMPRESSED: CodecId = CodecId::new(5);
/// The default size below which a value is not compressed, since it gains nothing.
const THRESHOLD: usize = 512;
/// The default maximum size of a value before compression.
const LIMIT: usize = 16 << 20;
/// The sizes of the header: uncompressed and compressed.
const HEADERS: [usize; 2] = [2, 6];
const PLAIN: u8 = 0;

/// Compresses the output of another codec. Values below a [`threshold`](Self::threshold), and values that do not
/// get smaller, are stored uncompressed.
///
/// Stored bytes are untrusted. A value that claims or turns out to be larger than [`limit`](Self::limit) is refused
/// before more than that is allocated. It is a counted miss, like all bytes that cannot be decoded. All algorithms
/// whose features are enabled are read, independent of the algorithm that writes.
///
/// # Examples
/// ```
/// # #[cfg(feature = "lz4")] {
/// use larder::codec::Json;
/// use larder::Codec;
/// use larder_codecs::Compressed;
/// let codec = Compressed::lz4(Json).threshold(100);
/// let bytes = codec.encode(&"rye ".repeat(1_000))?;
/// assert!(bytes.len() < 100);
/// assert_eq!(Codec::<String>::decode(&codec, &bytes)?.len(), 4_000);
/// assert_eq!(&codec.encode(&"rye".to_owned())?[2..], b"\"rye\"");
/// # }
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Compressed<C> {
    inner: C,
    algorithm: Algorithm,
    threshold: usize,
    limit: usize,
}

#[derive(Debug, Clone, Copy)]
enum Algorithm {
    #[cfg(feature = "zstd")]
    Zstd { level: i32 },
    #[cfg(feature = "lz4")]
    Lz4,
}

impl Algorithm {
    fn mark(self) -> u8 {
        match self {
            #[cfg(feature = "zstd")]
            Self::Zstd { .. } => 1,
            #[cfg(feature = "lz4")]
            Self::Lz4 => 2,
        }
    }

    fn compress(self, value: &[u8]) -> Result<Vec<u8>> {
        match self {
            #[cfg(feature = "zstd")]
            Self::Zstd { level } => {
                zstd::compress(value, level).map_err(|cause| Error::codec("compress", cause))
            }
            #[cfg(feature = "lz4")]
            Self::Lz4 => Ok(lz4_flex::block::compress(value)),
        }
    }
}

/// Decompresses to exactly `length` bytes, or fails. Allocates only these bytes.
fn decompress(mark: u8, compressed: &[u8], length: usize) -> Result<Vec<u8>> {
    let failed = |cause: larder::error::BoxError| Error::codec("decompress", cause);
    let value = match mark {
        #[cfg(feature = "zstd")]
        1 => zstd::decompress(compressed, length).map_err(|cause| failed(cause.into()))?,
        #[cfg(feature = "lz4")]
        2 => {
            // a byte of LZ4 expands to at most 255: a larger claim is refused before the allocation
            if length > compressed.len().saturating_mul(255) {
                return Err(refused("the value is said to be longer than its bytes can be"));
            }
            let mut value = vec![0; length];
            let written = lz4_flex::block::decompress_into(compressed, &mut value);
            value.truncate(written.map_err(|cause| failed(cause.into()))?);
            value
        }
        #[cfg(not(feature = "zstd"))]
        1 => return Err(refused("compressed with zstd: enable the feature `zstd` of larder-codecs")),
        #[cfg(not(feature = "lz4"))]
        2 => return Err(refused("compressed with LZ4: enable the feature `lz4` of larder-codecs")),
        _ => return Err(refused("not written by `Compressed`, or by a later version of it")),
    };
    if value.len() != length {
        return Err(refused("the value has another length than its header says"));
    }
    Ok(value)
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::Codec, why)
}

impl<C> Compressed<C> {
    /// Returns `inner` compressed with zstd at level 3, for the smallest values.
    ///
    /// # Examples
    /// ```
    /// let codec = larder_codecs::Compressed::zstd(larder::codec::Json);
    /// # let _ = codec;
    /// ```
    #[cfg(feature = "zstd")]
    pub fn zstd(inner: C) -> Self {
        Self::zstd_level(inner, 3)
    }

    /// Returns `inner` compressed with zstd at a given level: 1 (fast) to 22 (small). Other levels are replaced by
    /// the nearest one.
    ///
    /// # Examples
    /// ```
    /// let codec = larder_codecs::Compressed::zstd_level(larder::codec::Json, 9);
    /// # let _ = codec;
    /// ```
    #[cfg(feature = "zstd")]
    pub fn zstd_level(inner: C, level: i32) -> Self {
        Self::by(inner, Algorithm::Zstd { level: level.clamp(1, 22) })
    }

    /// Returns `inner` compressed with LZ4, for the least work.
    ///
    /// # Examples
    /// ```
    /// let codec = larder_codecs::Compressed::lz4(larder::codec::Json);
    /// # let _ = codec;
    /// ```
    #[cfg(feature = "lz4")]
    pub fn lz4(inner: C) -> Self {
        Self::by(inner, Algorithm::Lz4)
    }

    fn by(inner: C, algorithm: Algorithm) -> Self {
        Self { inner, algorithm, threshold: THRESHOLD, limit: LIMIT }
    }

    /// Sets the size in bytes from which on values are compressed. Default 512.
    ///
    /// # Examples
    /// See [`Compressed`].
    #[must_use]
    pub fn threshold(mut self, bytes: usize) -> Self {
        self.threshold = bytes;
        self
    }

    /// Sets the maximum size of a value before compression, in bytes. Default 16 MiB. Larger values are not stored,
    /// and not read. ([`Encoded::max_bytes`](larder::backend::Encoded::max_bytes) bounds the stored size, which is
    /// smaller.)
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "lz4")] {
    /// use larder::codec::Json;
    /// use larder::Codec;
    /// let small = larder_codecs::Compressed::lz4(Json).limit(1 << 10);
    /// assert!(small.encode(&"rye ".repeat(1_000)).is_err());
    /// # }
    /// ```
    #[must_use]
    pub fn limit(mut self, bytes: usize) -> Self {
        self.limit = bytes;
        self
    }

    fn within(&self, length: usize) -> Result<()> {
        if length <= self.limit {
            return Ok(());
        }
        let limit = self.limit;
        Err(refused(&format!("the value has {length} bytes before compression, and `limit` is {limit}")))
    }

    fn pack(&self, inner: CodecId, value: &[u8]) -> Result<Bytes> {
        self.within(value.len())?;
        let [plain, header] = HEADERS;
        // a length above 4 GiB cannot be written; such a value is stored uncompressed
        if let Ok(length) = u32::try_from(value.len())
            && value.len() >= self.threshold
        {
            let compressed = self.algorithm.compress(value)?;
            if compressed.len() + header < value.len() + plain {
                let mut out = BytesMut::with_capacity(header + compressed.len());
                out.put_slice(&[self.algorithm.mark(), inner.get()]);
                out.put_u32_le(length);
                out.put_slice(&compressed);
                return Ok(out.freeze());
            }
        }
        let mut out = BytesMut::with_capacity(plain + value.len());
        out.put_slice(&[PLAIN, inner.get()]);
        out.put_slice(value);
        Ok(out.freeze())
    }

    fn unpack(&self, inner: CodecId, bytes: &Bytes) -> Result<Bytes> {
        let truncated = || refused("truncated");
        let mut rest = bytes.clone();
        let mark = rest.try_get_u8().map_err(|_| truncated())?;
        if rest.try_get_u8().map_err(|_| truncated())? != inner.get() {
            return Err(refused("written by another codec than the one that is compressed here"));
        }
        if mark == PLAIN {
            self.within(rest.len())?;
            return Ok(rest);
        }
        let length = rest.try_get_u32_le().map_err(|_| truncated())? as usize;
        self.within(length)?;
        decompress(mark, &rest, length).map(Bytes::from)
    }
}

impl<V, C: Codec<V>> Codec<V> for Compressed<C> {
    fn id(&self) -> CodecId {
        COMPRESSED
    }

    fn encode(&self, value: &V) -> Result<Bytes> {
        self.pack(self.inner.id(), &self.inner.encode(value)?)
    }

    fn decode(&self, bytes: &Bytes) -> Result<V> {
        self.inner.decode(&self.unpack(self.inner.id(), bytes)?)
    }
}
