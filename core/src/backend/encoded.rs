//! Typed values in a store of bytes.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use bytes::Bytes;

use super::{
    BackendContext, BeginOutcome, CacheBackend, Fence, FillOutcome, IntoBackend, LoadIntent, Recency,
    WriteIntent,
};
use crate::backend::Entry;
use crate::clock::Timestamp;
use crate::codec::{Codec, CodecId};
use crate::key::{CacheKey, StoreKey};
use crate::observe::Event;
use crate::tag::{Pruned, Stamp, Tag};
use crate::{Error, ErrorKind, Result};

/// The default of [`Encoded::max_bytes`]: 16 MiB.
const MAX_BYTES: usize = 16 << 20;

/// A value as bytes, with the codec that wrote it. A store of bytes keeps it under a [`StoreKey`].
///
/// # Examples
/// ```
/// use larder::backend::Payload;
/// use larder::codec::CodecId;
/// let payload = Payload::new(CodecId::JSON, "{}");
/// assert_eq!(&payload.bytes()[..], b"{}");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    codec: CodecId,
    bytes: Bytes,
}

impl Payload {
    /// Creates a payload of bytes that `codec` wrote.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::Payload;
    /// use larder::codec::CodecId;
    /// let payload = Payload::new(CodecId::JSON, "{}");
    /// # let _ = payload;
    /// ```
    pub fn new(codec: CodecId, bytes: impl Into<Bytes>) -> Self {
        Self { codec, bytes: bytes.into() }
    }

    /// Returns the codec that wrote the bytes.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::Payload;
    /// use larder::codec::CodecId;
    /// let payload = Payload::new(CodecId::JSON, "{}");
    /// assert_eq!(payload.codec(), CodecId::JSON);
    /// ```
    #[must_use]
    pub fn codec(&self) -> CodecId {
        self.codec
    }

    /// Returns the bytes.
    ///
    /// # Examples
    /// ```
    /// use larder::backend::Payload;
    /// use larder::codec::CodecId;
    /// let payload = Payload::new(CodecId::JSON, "{}");
    /// assert_eq!(payload.bytes().len(), 2);
    /// ```
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// A store of bytes that keeps typed values through a codec: `redis.encoded(Json)`.
///
/// Bytes that cannot be decoded are a counted miss, and the next load overwrites them. They never fail a read.
///
/// # Examples
/// ```no_run
/// # #[cfg(feature = "json")]
/// # fn with<S: larder::backend::IntoBackend<larder::key::StoreKey, larder::backend::Payload>>(store: S) {
/// use larder::backend::Encoded;
/// use larder::codec::Json;
/// let typed = Encoded::new(store, Json).max_bytes(1 << 20);
/// # let _ = typed;
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Encoded<S, C> {
    store: S,
    codec: C,
    max_bytes: usize,
}

impl<S, C> Encoded<S, C> {
    /// Wraps `store`, with values encoded by `codec`.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "json")] {
    /// # use larder::backend::Encoded;
    /// # use larder::codec::Json;
    /// # use larder::Quick;
    /// let typed = Encoded::new(Quick::new(10_000), Json);
    /// # let _ = typed; }
    /// ```
    pub fn new(store: S, codec: C) -> Self {
        Self { store, codec, max_bytes: MAX_BYTES }
    }

    /// Sets the maximum size of an encoded value, in bytes. Default: 16 MiB.
    ///
    /// A larger value is returned to its caller, counted, traced and not stored. Larger stored bytes are a miss.
    ///
    /// # Examples
    /// ```
    /// # #[cfg(feature = "json")] {
    /// # use larder::backend::Encoded;
    /// # use larder::codec::Json;
    /// # use larder::Quick;
    /// let small_values_only = Encoded::new(Quick::new(10_000), Json).max_bytes(64 << 10);
    /// # let _ = small_values_only; }
    /// ```
    #[must_use]
    pub fn max_bytes(mut self, max_bytes: usize) -> Self {
        self.max_bytes = max_bytes;
        self
    }
}

impl<K, V, S, C> IntoBackend<K, V> for Encoded<S, C>
where
    K: CacheKey + Sync + 'static,
    V: Send + Sync + 'static,
    S: IntoBackend<StoreKey, Payload>,
    C: Codec<V>,
{
    type Backend = EncodedBackend<S::Backend, C, V>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        let Self { store, codec, max_bytes } = self;
        if max_bytes == 0 {
            return Err(Error::config("`max_bytes(0)` would keep nothing: give the largest value to store"));
        }
        let store = store.into_backend(scope)?;
        Ok(EncodedBackend { store, codec, max_bytes, scope: scope.clone(), value: PhantomData })
    }
}

/// An opened [`Encoded`].
pub struct EncodedBackend<B, C, V> {
    store: B,
    codec: C,
    max_bytes: usize,
    scope: BackendContext,
    value: PhantomData<fn() -> V>,
}

impl<B: Debug, C: Debug, V> Debug for EncodedBackend<B, C, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoded")
            .field("store", &self.store)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl<B, C: Codec<V>, V> EncodedBackend<B, C, V> {
    fn encode(&self, entry: Entry<V>) -> Result<Entry<Payload>> {
        entry.try_map(|value| {
            let bytes = caught("encoding", || self.codec.encode(value))?;
            if bytes.len() > self.max_bytes {
                let (size, max) = (bytes.len(), self.max_bytes);
                let message =
                    format!("the encoded value has {size} bytes and `max_bytes` is {max}: not stored");
                return Err(Error::new(ErrorKind::Codec, message));
            }
            Ok(Payload::new(self.codec.id(), bytes))
        })
    }

    /// Decodes a stored entry. Returns `None` if this codec did not write the bytes: a counted miss.
    fn decode(&self, entry: Entry<Payload>) -> Option<Entry<V>> {
        let decoded = entry.try_map(|payload| {
            if payload.codec != self.codec.id() {
                let (found, own) = (payload.codec, self.codec.id());
                return Err(Error::new(
                    ErrorKind::Codec,
                    format!("written by codec {found:?}, not by {own:?}"),
                ));
            }
            if payload.bytes.len() > self.max_bytes {
                return Err(Error::new(ErrorKind::Codec, "larger than `max_bytes`"));
            }
            caught("decoding", || self.codec.decode(&payload.bytes))
        });
        // foreign bytes, or those of another version during a rollout: the next load overwrites them
        decoded.inspect_err(|error| self.scope.record(&Event::Undecodable { error })).ok()
    }
}

/// Runs the codec and the value's own code in it. A panic becomes an error, so that the key stays usable.
fn caught<T>(what: &str, code: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(code)).unwrap_or_else(|panic| Err(Error::panicked(what, &*panic)))
}

impl<K, V, B, C> CacheBackend<K, V> for EncodedBackend<B, C, V>
where
    K: CacheKey + Sync + 'static,
    V: Send + Sync + 'static,
    B: CacheBackend<StoreKey, Payload>,
    C: Codec<V>,
{
    #[inline]
    fn look<T>(
        &self,
        _key: &K,
        _now: Timestamp,
        _recency: Recency,
        _look: impl FnOnce(&mut Entry<V>) -> Option<T>,
    ) -> Option<T> {
        // the hit path does not encode keys and decode values
        None
    }

    fn shared_name(&self, key: &K) -> Option<String> {
        self.store.shared_name(&StoreKey::new(key))
    }

    fn watch(&self, watcher: std::sync::Weak<dyn super::Watcher>) -> bool {
        self.store.watch(watcher)
    }

    fn is_bounded(&self) -> bool {
        self.store.is_bounded()
    }

    async fn get(&self, key: &K, now: Timestamp) -> Result<Option<Entry<V>>> {
        let found = self.store.get(&StoreKey::new(key), now).await?;
        Ok(found.and_then(|entry| self.decode(entry)))
    }

    async fn get_many(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        let keys: Vec<_> = keys.iter().map(StoreKey::new).collect();
        let found = self.store.get_many(&keys, now).await?;
        Ok(found.into_iter().map(|entry| entry.and_then(|entry| self.decode(entry))).collect())
    }

    async fn begin(&self, key: &K, announce: LoadIntent, now: Timestamp) -> Result<BeginOutcome<V>> {
        let key = StoreKey::new(key);
        let begun = match self.store.begin(&key, announce, now).await? {
            BeginOutcome::Hit(entry) => match self.decode(entry) {
                Some(entry) => return Ok(BeginOutcome::Hit(entry)),
                None => self.store.begin(&key, announce.despite_hit(), now).await?,
            },
            begun => begun,
        };
        match begun {
            BeginOutcome::Granted(fence) => Ok(BeginOutcome::Granted(fence)),
            BeginOutcome::Busy(lease) => Ok(BeginOutcome::Busy(lease)),
            BeginOutcome::Guarded => Ok(BeginOutcome::Guarded),
            // only a store that breaks its contract answers so; loading unfenced is safe
            BeginOutcome::Hit(_) => {
                Err(Error::new(ErrorKind::Backend, "begin answered a hit although told to ignore it"))
            }
        }
    }

    async fn fill(&self, key: &K, fence: Fence, entry: Entry<V>, now: Timestamp) -> Result<FillOutcome> {
        self.store.fill(&StoreKey::new(key), fence, self.encode(entry)?, now).await
    }

    async fn renew(&self, key: &K, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        self.store.renew(&StoreKey::new(key), fence, lease, now).await
    }

    async fn release(&self, key: &K, fence: Fence, now: Timestamp) -> Result<()> {
        self.store.release(&StoreKey::new(key), fence, now).await
    }

    async fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()> {
        self.store.put(&StoreKey::new(key), self.encode(entry)?, now).await
    }

    async fn remove(&self, key: &K) -> Result<()> {
        self.store.remove(&StoreKey::new(key)).await
    }

    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        let keys: Vec<_> = keys.iter().map(StoreKey::new).collect();
        self.store.remove_many(&keys).await
    }

    async fn clear(&self) -> Result<()> {
        self.store.clear().await
    }

    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        self.store.invalidate_tags(tags).await
    }

    async fn prune_tags(&self, count: u64, longest: Duration) -> Result<Pruned> {
        self.store.prune_tags(count, longest).await
    }

    async fn guard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.store.guard(&StoreKey::new(key), guard, now).await
    }

    async fn unguard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.store.unguard(&StoreKey::new(key), guard, now).await
    }
}
