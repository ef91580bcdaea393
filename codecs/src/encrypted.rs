//! Encryption, as a store around a store of bytes, since only there are namespace and key known.

use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use larder::backend::{
    BackendContext, BeginOutcome, Encoded, Entry, Fence, FillOutcome, IntoBackend, LoadIntent, Payload,
    Recency, Watcher, WriteIntent,
};
use larder::clock::Timestamp;
use larder::codec::CodecId;
use larder::key::StoreKey;
use larder::observe::Event;
use larder::tag::{Pruned, Stamp};
use larder::{CacheBackend, Error, ErrorKind, Result, Tag};

use crate::keys::KeyRing;
use crate::sealed::{Content, Place, open, refused, seal};

/// The mark of encrypted values in a store.
const ENCRYPTED: CodecId = CodecId::new(6);

/// A store of bytes whose values are encrypted and authenticated with XChaCha20-Poly1305: `Encrypted::new(redis, keys)`.
///
/// | attacker | can | cannot |
/// |---|---|---|
/// | reads the store | see keys, tags, validators, times, sizes, and if two values were written by one key | see values, or if one is "absent" |
/// | writes to it | remove, make misses, **restore an older value of the same key** (a replay) | alter a value, move it to another key, namespace, schema version or environment, change its tags or validator, forge "absent" |
///
/// A value that cannot be decrypted is a counted miss, and the next load overwrites it. It never fails a read. The
/// causes are bytes that were altered, moved or truncated, and a key that is not in the ring.
///
/// A replay does not differ from the original, so only its age can reveal it, and the header with the age is not
/// encrypted. With [`clock_tolerance`](Self::clock_tolerance) a value is refused once the life that it was
/// encrypted with is over. If replays within that life also matter, keep others from writing to the store.
///
/// Compress before you encrypt: `Encrypted::new(redis, keys).encoded(Compressed::zstd(Json))`. The size of
/// compressed data reveals something of its content: never mix secrets and data that an attacker may choose in one
/// value.
///
/// Costs 63 bytes a value, and one request to the system for random numbers a write.
///
/// # Examples
/// ```
/// use larder::codec::Json;
/// use larder_codecs::{Encrypted, KeyRing, SecretKey};
/// # fn with<S: larder::backend::IntoBackend<larder::key::StoreKey, larder::backend::Payload>>(redis: S) {
/// let store = Encrypted::new(redis, KeyRing::new(1, SecretKey::random())).encoded(Json);
/// # let _ = store; }
/// ```
#[derive(Debug, Clone)]
pub struct Encrypted<S> {
    store: S,
    keys: KeyRing,
    tolerance: Option<Duration>,
    wall: fn() -> SystemTime,
}

impl<S> Encrypted<S> {
    /// Returns `store` with its values encrypted.
    ///
    /// # Examples
    /// See [`Encrypted`].
    pub fn new(store: S, keys: KeyRing) -> Self {
        Self { store, keys, tolerance: None, wall: SystemTime::now }
    }

    /// Refuses a value whose encrypted life ended longer ago than `tolerance`, or that was encrypted later than
    /// `tolerance` from now. A program that writes to the store can then not extend the life of a value. The
    /// tolerance must be larger than the differences between the wall clocks of your machines; with less, values
    /// are loaded needlessly. Off by default.
    ///
    /// # Examples
    /// ```
    /// # use larder_codecs::{Encrypted, KeyRing, SecretKey};
    /// # fn with<S>(redis: S, keys: KeyRing) {
    /// let store = Encrypted::new(redis, keys).clock_tolerance(std::time::Duration::from_secs(60));
    /// # let _ = store; }
    /// ```
    #[must_use]
    pub fn clock_tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = Some(tolerance);
        self
    }

    /// Returns the store with values encoded by `codec`.
    ///
    /// # Examples
    /// See [`Encrypted`].
    pub fn encoded<C>(self, codec: C) -> Encoded<Self, C> {
        Encoded::new(self, codec)
    }
}

impl<S: IntoBackend<StoreKey, Payload>> IntoBackend<StoreKey, Payload> for Encrypted<S> {
    type Backend = EncryptedBackend<S::Backend>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        let Self { store, keys, tolerance, wall } = self;
        keys.check()?;
        let store = store.into_backend(scope)?;
        // the whole name, with prefix and schema version
        let namespace = scope.namespace();
        Ok(EncryptedBackend { store, keys, tolerance, wall, namespace, scope: scope.clone() })
    }
}

/// An opened [`Encrypted`].
#[derive(Debug)]
pub struct EncryptedBackend<B> {
    store: B,
    keys: KeyRing,
    tolerance: Option<Duration>,
    wall: fn() -> SystemTime,
    namespace: String,
    scope: BackendContext,
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Returns the same entry with another payload.
fn with_payload(entry: &Entry<Payload>, payload: Option<Payload>) -> Entry<Payload> {
    Entry::new(payload.map(Arc::new), entry.created(), Duration::ZERO)
        .with_times(entry.created(), entry.fresh_until(), entry.expires())
        .with_load_cost(entry.load_cost())
        .with_tags(entry.tags().iter().cloned())
        .with_validator(entry.validator().map(Into::into))
        .stamped(entry.stamp())
}

impl<B> EncryptedBackend<B> {
    fn place<'a>(&'a self, key: &'a StoreKey, entry: &'a Entry<Payload>) -> Place<'a> {
        Place {
            namespace: &self.namespace,
            key: key.full(),
            tags: entry.tags(),
            validator: entry.validator(),
        }
    }

    fn wall_ms(&self) -> u64 {
        (self.wall)().duration_since(UNIX_EPOCH).map_or(0, millis)
    }

    fn seal(&self, key: &StoreKey, entry: &Entry<Payload>, now: Timestamp) -> Result<Entry<Payload>> {
        let life_ms = match entry.expires() {
            Timestamp::NEVER => u64::MAX,
            _ => millis(entry.remaining(now)),
        };
        let payload = entry.value().map(|payload| Payload::clone(payload));
        let content = Content { payload, sealed_ms: self.wall_ms(), life_ms };
        let sealed = seal(&self.keys, self.place(key, entry), &content)?;
        Ok(with_payload(entry, Some(Payload::new(ENCRYPTED, sealed))))
    }

    fn opened(&self, key: &StoreKey, entry: &Entry<Payload>) -> Result<Entry<Payload>> {
        let payload = entry.value().ok_or_else(|| refused("\"absent\", not encrypted"))?;
        if payload.codec() != ENCRYPTED {
            return Err(refused("not encrypted"));
        }
        let content = open(&self.keys, self.place(key, entry), payload.bytes())?;
        if let Some(tolerance) = self.tolerance.map(millis) {
            let Content { sealed_ms, life_ms, .. } = content;
            let now = self.wall_ms();
            if now > sealed_ms.saturating_add(life_ms).saturating_add(tolerance) {
                return Err(refused("older than it was to live: replayed, or the machines' clocks differ"));
            }
            if sealed_ms > now.saturating_add(tolerance) {
                return Err(refused("encrypted in the future: the machines' clocks differ"));
            }
        }
        Ok(with_payload(entry, content.payload))
    }

    /// Decrypts an entry. Returns `None` if that fails: a counted miss, which the next load overwrites.
    fn open(&self, key: &StoreKey, entry: &Entry<Payload>) -> Option<Entry<Payload>> {
        self.opened(key, entry).inspect_err(|error| self.scope.record(&Event::undecodable(error))).ok()
    }
}

impl<B: CacheBackend<StoreKey, Payload>> CacheBackend<StoreKey, Payload> for EncryptedBackend<B> {
    fn look<T>(
        &self,
        key: &StoreKey,
        now: Timestamp,
        recency: Recency,
        look: impl FnOnce(&mut Entry<Payload>) -> Option<T>,
    ) -> Option<T> {
        self.store.look(key, now, recency, |entry| look(&mut self.open(key, entry)?))
    }

    fn shared_name(&self, key: &StoreKey) -> Option<String> {
        self.store.shared_name(key)
    }

    fn is_bounded(&self) -> bool {
        self.store.is_bounded()
    }

    fn watch(&self, watcher: Weak<dyn Watcher>) -> bool {
        self.store.watch(watcher)
    }

    async fn get(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry<Payload>>> {
        Ok(self.store.get(key, now).await?.and_then(|entry| self.open(key, &entry)))
    }

    async fn get_many(&self, keys: &[StoreKey], now: Timestamp) -> Result<Vec<Option<Entry<Payload>>>> {
        let found = self.store.get_many(keys, now).await?;
        Ok(keys.iter().zip(found).map(|(key, entry)| self.open(key, &entry?)).collect())
    }

    async fn begin(
        &self,
        key: &StoreKey,
        announce: LoadIntent,
        now: Timestamp,
    ) -> Result<BeginOutcome<Payload>> {
        let begun = match self.store.begin(key, announce, now).await? {
            BeginOutcome::Hit(entry) => match self.open(key, &entry) {
                Some(entry) => return Ok(BeginOutcome::Hit(entry)),
                None => self.store.begin(key, announce.despite_hit(), now).await?,
            },
            begun => begun,
        };
        match begun {
            // only a store that breaks its contract returns an unreadable hit; loading unfenced is safe
            BeginOutcome::Hit(_) => {
                Err(Error::new(ErrorKind::Backend, "begin answered a hit although told to ignore it"))
            }
            begun => Ok(begun),
        }
    }

    async fn fill(
        &self,
        key: &StoreKey,
        fence: Fence,
        entry: Entry<Payload>,
        now: Timestamp,
    ) -> Result<FillOutcome> {
        self.store.fill(key, fence, self.seal(key, &entry, now)?, now).await
    }

    async fn renew(&self, key: &StoreKey, fence: Fence, lease: Duration, now: Timestamp) -> Result<bool> {
        self.store.renew(key, fence, lease, now).await
    }

    async fn release(&self, key: &StoreKey, fence: Fence, now: Timestamp) -> Result<()> {
        self.store.release(key, fence, now).await
    }

    async fn put(&self, key: &StoreKey, entry: Entry<Payload>, now: Timestamp) -> Result<()> {
        self.store.put(key, self.seal(key, &entry, now)?, now).await
    }

    async fn remove(&self, key: &StoreKey) -> Result<()> {
        self.store.remove(key).await
    }

    async fn remove_many(&self, keys: &[StoreKey]) -> Result<()> {
        self.store.remove_many(keys).await
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

    async fn guard(&self, key: &StoreKey, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.store.guard(key, guard, now).await
    }

    async fn unguard(&self, key: &StoreKey, guard: WriteIntent, now: Timestamp) -> Result<()> {
        self.store.unguard(key, guard, now).await
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod tests {
    use std::cell::Cell;

    use larder::clock::ManualClock;
    use larder_memory::{Memory, MemoryBackend, MemoryServer};

    use super::*;
    use crate::keys::SecretKey;

    const MINUTE: Duration = Duration::from_secs(60);
    const HOUR: Duration = Duration::from_secs(3600);

    thread_local! {
        /// The simulated wall clock of this test.
        static WALL: Cell<Duration> = const { Cell::new(Duration::from_secs(1_700_000_000)) };
    }

    fn shift(by: Duration) {
        WALL.set(WALL.get() + by);
    }

    fn at(memory: &Memory, tolerance: Option<Duration>) -> EncryptedBackend<MemoryBackend> {
        let store = Encrypted {
            tolerance,
            wall: || UNIX_EPOCH + WALL.get(),
            ..Encrypted::new(memory.clone(), KeyRing::new(1, SecretKey::new([1; 32])))
        };
        store.into_backend(&BackendContext::new("a").unwrap()).unwrap()
    }

    fn entry(now: Timestamp, ttl: Duration) -> Entry<Payload> {
        Entry::new(Some(Payload::new(CodecId::JSON, "1").into()), now, ttl)
    }

    #[tokio::test]
    async fn a_life_that_was_made_longer_in_the_store_ends_all_the_same() {
        let clock = ManualClock::new();
        let server = MemoryServer::with_clock(clock.clone());
        let memory = server.connect("one");
        let (careful, careless) = (at(&memory, Some(MINUTE)), at(&memory, None));
        let (key, now) = (StoreKey::new(&7), larder::clock::Clock::now(&clock));
        careful.put(&key, entry(now, MINUTE), now).await.unwrap();
        // an attacker with write access takes the entry and extends its life by an hour
        let raw = memory.into_backend(&BackendContext::new("a").unwrap()).unwrap();
        let stored = raw.get(&key, now).await.unwrap().unwrap();
        let later = now.saturating_add(HOUR);
        raw.put(&key, stored.with_times(now, later, later), now).await.unwrap();
        shift(MINUTE * 2);
        assert!(careful.get(&key, now).await.unwrap().is_some(), "within the tolerance");
        shift(Duration::from_secs(1));
        assert!(careful.get(&key, now).await.unwrap().is_none(), "its life is over");
        assert!(careful.get_many(std::slice::from_ref(&key), now).await.unwrap()[0].is_none());
        assert!(careless.get(&key, now).await.unwrap().is_some(), "by default nothing tells");
        let begun = careful.begin(&key, LoadIntent::shared(MINUTE), now).await.unwrap();
        assert!(matches!(begun, BeginOutcome::Granted(_)), "and is loaded anew");
    }

    #[tokio::test]
    async fn a_value_from_the_future_is_refused_and_one_for_ever_is_not() {
        let server = MemoryServer::new();
        let memory = server.connect("one");
        let careful = at(&memory, Some(MINUTE));
        let (key, now) = (StoreKey::new(&7), Timestamp::from_nanos(1));
        careful.put(&key, entry(now, Duration::MAX), now).await.unwrap();
        shift(HOUR * 24 * 365);
        assert!(careful.get(&key, now).await.unwrap().is_some(), "for ever");
        careful.put(&key, entry(now, Duration::MAX), now).await.unwrap();
        WALL.set(WALL.get() - MINUTE);
        assert!(careful.get(&key, now).await.unwrap().is_some(), "within the tolerance");
        WALL.set(WALL.get() - Duration::from_millis(1));
        assert!(careful.get(&key, now).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn an_entry_keeps_everything_else_that_it_has() {
        let clock = ManualClock::new();
        let server = MemoryServer::with_clock(clock.clone());
        let backend = at(&server.connect("one"), None);
        let (key, now) = (StoreKey::new(&7), larder::clock::Clock::now(&clock));
        let whole = entry(now, MINUTE)
            .with_stale(HOUR)
            .with_load_cost(Duration::from_millis(7))
            .with_tags([Tag::new("of", 1), Tag::new("of", 2)])
            .with_validator(Some("v1".into()));
        backend.put(&key, whole.clone(), now).await.unwrap();
        let found = backend.get(&key, now).await.unwrap().unwrap();
        assert_eq!(found.value(), whole.value());
        assert_eq!(
            (found.tags(), found.validator(), found.load_cost()),
            (whole.tags(), Some("v1"), Duration::from_millis(7))
        );
        assert_eq!((found.remaining(now), found.freshness(now)), (MINUTE + HOUR, MINUTE));
    }
}
