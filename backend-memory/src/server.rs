//! The server, and what its administrator can do.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use larder::{Clock, StoreKey, SystemClock, Timestamp};
use tokio::sync::Notify;

use crate::fault::Faults;
use crate::memory::Memory;
use crate::push::Push;
use crate::record::Operation;
use crate::state::{Data, State, millis, millis_up, name};

/// A cache server in this process, with a clock of its own. Clones are the same server.
///
/// # Examples
/// Two processes on one server:
/// ```
/// use std::time::Duration;
/// use larder::{Cache, Strategy, codec::Json};
/// use larder_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// let server = MemoryServer::new();
/// let process = |name| -> larder::Result<Cache<u64, String>> {
///     Cache::builder()
///         .namespace("product")
///         .backend(server.connect(name).encoded(Json))
///         .strategy(Strategy::aside(Duration::from_secs(60)))
///         .build()
/// };
/// let (one, two) = (process("one")?, process("two")?);
/// one.insert(&1, "bread".to_owned()).await?;
/// assert_eq!(two.lookup(&1).await?.unwrap().value.unwrap().as_str(), "bread");
/// two.invalidate(&1).await?;
/// assert!(one.lookup(&1).await?.is_none());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct MemoryServer(Arc<Shared>);

struct Shared {
    clock: Box<dyn Clock>,
    state: Mutex<State>,
    faults: Faults,
    released: Notify,
}

/// What the server held at one moment, for [`MemoryServer::restart_from`].
///
/// # Examples
/// ```
/// use larder_memory::MemoryServer;
/// let server = MemoryServer::new();
/// let snapshot = server.snapshot();
/// server.restart_from(&snapshot);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Snapshot(Data);

impl MemoryServer {
    /// A server on the machine's clock, without limit.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// assert!(MemoryServer::new().is_empty());
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(SystemClock::new())
    }

    /// A server on this clock: a [`larder::ManualClock`] for tests.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let clock = larder::ManualClock::new();
    /// let server = MemoryServer::with_clock(clock.clone());
    /// # let _ = server;
    /// ```
    #[must_use]
    pub fn with_clock(clock: impl Clock) -> Self {
        Self(Arc::new(Shared {
            clock: Box::new(clock),
            state: Mutex::default(),
            faults: Faults::default(),
            released: Notify::new(),
        }))
    }

    /// Keeps at most `most` values and fences together; the least recently used of both go first, as with Redis'
    /// `allkeys-lru`.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let small = MemoryServer::new().capacity(100);
    /// # let _ = small;
    /// ```
    #[must_use]
    pub fn capacity(self, most: usize) -> Self {
        self.state().capacity = Some(most);
        self
    }

    /// What random choices (nonces, tokens, [`evict_some`](Self::evict_some)) are drawn from. Default 0: a run repeats itself.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let another_course = MemoryServer::new().seed(7);
    /// # let _ = another_course;
    /// ```
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        self.state().seed(seed);
        self
    }

    /// A handle for the process `name`.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let process = MemoryServer::new().connect("shop");
    /// # let _ = process;
    /// ```
    #[must_use]
    pub fn connect(&self, name: impl Into<String>) -> Memory {
        Memory::new(self.clone(), name.into().into())
    }

    /// The faults, to add and remove.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let server = MemoryServer::new();
    /// server.faults().when(|operation| operation.process == "shop", larder_memory::Fault::Error);
    /// ```
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.0.faults.clone()
    }

    /// The operations so far, in order: those that were executed and those that failed before. One that hangs or was
    /// given up before its turn is not among them. Grows until [`clear_record`](Self::clear_record).
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// assert!(MemoryServer::new().record().is_empty());
    /// ```
    #[must_use]
    pub fn record(&self) -> Vec<Operation> {
        self.state().record.clone()
    }

    /// Forgets the operations recorded so far; the next one's sequence number goes on.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// MemoryServer::new().clear_record();
    /// ```
    pub fn clear_record(&self) {
        self.state().record.clear();
    }

    /// Loses everything, as `FLUSHALL` does; subscribers are told.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// server.flush();
    /// assert!(server.is_empty());
    /// ```
    pub fn flush(&self) {
        self.state().replace(Data::default());
        self.0.released.notify_waiters();
    }

    /// Restarts without data: everything is lost, all processes see a reconnect.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// server.restart_empty();
    /// assert!(server.is_empty());
    /// ```
    pub fn restart_empty(&self) {
        self.restart_from(&Snapshot::default());
    }

    /// What the server holds now.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// let dump = server.snapshot();
    /// # let _ = dump;
    /// ```
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state().data.clone())
    }

    /// Restarts with the data of an earlier moment, as after a failover or a restart from a dump: what was removed since
    /// is back, fences included.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// let dump = server.snapshot();
    /// server.flush();
    /// server.restart_from(&dump);
    /// assert_eq!(server.len(), 1);
    /// ```
    pub fn restart_from(&self, snapshot: &Snapshot) {
        let mut state = self.state();
        state.replace(snapshot.0.clone());
        state.push(&Push::Reconnected);
        self.0.released.notify_waiters();
    }

    /// Evicts the value of a key, as lack of memory would.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// server.evict("product", &StoreKey::new(&7));
    /// assert!(server.is_empty());
    /// ```
    pub fn evict(&self, namespace: &str, key: &StoreKey) {
        self.state().remove_value(&name(namespace, key));
    }

    /// Evicts the fence of a key, as lack of memory would.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// server.evict_fence("product", &StoreKey::new(&7));
    /// assert_eq!(server.len(), 1);
    /// ```
    pub fn evict_fence(&self, namespace: &str, key: &StoreKey) {
        self.state().end_fence(&name(namespace, key));
    }

    /// Evicts the tag ledger of a namespace: the next use makes another, which ends the entries stamped before.
    ///
    /// # Examples
    /// ```
    /// use larder::TagLedger;
    /// use larder_memory::MemoryServer;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// let server = MemoryServer::new();
    /// let ledger = server.connect("shop").ledger("product");
    /// let stamp = ledger.stamp().await?;
    /// server.evict_ledger("product");
    /// assert!(!ledger.view(&[]).await?.allows(stamp));
    /// # Ok(()) }
    /// ```
    pub fn evict_ledger(&self, namespace: &str) {
        self.state().end_ledger(namespace);
    }

    /// Evicts up to `count` values and fences drawn from the seed; returns how many.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert_eq!(server.evict_some(5), 1);
    /// ```
    pub fn evict_some(&self, count: usize) -> usize {
        self.state().evict_some(count)
    }

    /// The stored keys as (namespace, key), in order, expired ones that nobody touched included.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert_eq!(server.keys(), [("product".to_owned(), "7".to_owned())]);
    /// ```
    #[must_use]
    pub fn keys(&self) -> Vec<(String, String)> {
        self.state().names()
    }

    /// How many values are stored, expired ones that nobody touched included.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert_eq!(server.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().names().len()
    }

    /// Whether no value is stored.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert!(!server.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many fences stand.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// assert_eq!(MemoryServer::new().fences(), 0);
    /// ```
    #[must_use]
    pub fn fences(&self) -> usize {
        let now = millis(self.now());
        self.state().fences(now)
    }

    /// Stores raw bytes under a key, as another program would.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert_eq!(server.len(), 1);
    /// ```
    pub fn poke(&self, namespace: &str, key: &StoreKey, bytes: impl Into<Bytes>, ttl: Duration) {
        let now = millis(self.now());
        self.state().set(&name(namespace, key), bytes.into(), now.saturating_add(millis_up(ttl)), now, None);
    }

    /// The raw bytes of a key, if there is a live value.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert_eq!(server.bytes("product", &StoreKey::new(&7)).unwrap(), "bytes");
    /// ```
    #[must_use]
    pub fn bytes(&self, namespace: &str, key: &StoreKey) -> Option<Bytes> {
        let now = millis(self.now());
        self.state().get(&name(namespace, key), now).map(|stored| stored.bytes)
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// How long a lock is still held; `None` when it is free.
    pub(crate) fn locked_for(&self, lock: &str) -> Option<Duration> {
        let now = millis(self.now());
        self.state().locked_for(lock, now)
    }

    pub(crate) fn released(&self) -> &Notify {
        &self.0.released
    }
}

impl Default for MemoryServer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryServer").field("values", &self.len()).finish_non_exhaustive()
    }
}
