//! The server, and its administration.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use larder::clock::{Clock, SystemClock, Timestamp};
use larder::key::StoreKey;
use tokio::sync::Notify;

use crate::fault::Faults;
use crate::memory::Memory;
use crate::push::Push;
use crate::record::{Observer, Operation};
use crate::state::{Data, State, millis, millis_up, name};

/// A cache server in this process, with its own clock. Clones share one server.
///
/// # Examples
/// Sharing a server between two processes:
/// ```
/// use std::time::Duration;
/// use larder::codec::Json;
/// use larder::{Cache, Strategy};
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
/// assert_eq!(two.get_if_present(&1).await?.unwrap().value.unwrap().as_str(), "bread");
/// two.invalidate(&1).await?;
/// assert!(one.get_if_present(&1).await?.is_none());
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

/// The data of the server at one moment, for [`MemoryServer::restart_from`].
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
    /// Creates a server with the system clock and without a capacity limit.
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

    /// Creates a server with this clock, for example a [`larder::clock::ManualClock`] in tests.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let clock = larder::clock::ManualClock::new();
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

    /// Limits the number of values and fences together to `most`. The least recently used of both are evicted first, as
    /// with Redis' `allkeys-lru`.
    ///
    /// Default: no limit.
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

    /// Sets the seed of random choices: nonces, tokens, and [`evict_some`](Self::evict_some).
    ///
    /// Default: 0. Runs with the same seed repeat themselves.
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

    /// Returns a handle for the process `name`.
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

    /// Returns a handle to the fault rules.
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

    /// Returns the operations so far, in order: the executed ones, and those that failed before execution.
    ///
    /// Operations that hang, or whose future was dropped before their execution, are not recorded. The record grows
    /// until [`clear_record`](Self::clear_record).
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

    /// Clears the record. Sequence numbers continue.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// MemoryServer::new().clear_record();
    /// ```
    pub fn clear_record(&self) {
        self.state().record.clear();
    }

    /// Calls `observer` at each operation, in the order in which the server executes them.
    ///
    /// The server waits meanwhile, so `observer` must not call it.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let server = MemoryServer::new();
    /// server.observe(|operation| println!("{} {:?}", operation.process, operation.kind));
    /// ```
    pub fn observe(&self, observer: impl Fn(&Operation) + Send + Sync + 'static) {
        self.state().observer = Some(Observer(Arc::new(observer)));
    }

    /// Cuts the server off from all processes: operations fail, including those in progress, and heartbeats and
    /// pushes are lost.
    ///
    /// [`Faults`] strike operations only. Over [`Tiered`](larder::Tiered), heartbeats would go on to confirm the near tier
    /// (L1), and a test of an outage would see near hits for longer than `max_staleness`. What the server holds is kept.
    /// If it is to come back without it, call [`restart_empty`](Self::restart_empty) before [`up`](Self::up).
    ///
    /// # Examples
    /// ```
    /// use larder::backend::{BackendContext, IntoBackend};
    /// use larder::clock::Timestamp;
    /// use larder::key::StoreKey;
    /// use larder::CacheBackend;
    /// use larder_memory::MemoryServer;
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// let server = MemoryServer::new();
    /// let shop = server.connect("shop").into_backend(&BackendContext::new("product")?)?;
    /// server.down();
    /// assert!(shop.get(&StoreKey::new(&7), Timestamp::ORIGIN).await.is_err());
    /// server.up();
    /// assert!(shop.get(&StoreKey::new(&7), Timestamp::ORIGIN).await.is_ok());
    /// # Ok(()) }
    /// ```
    pub fn down(&self) {
        self.state().cut_all();
    }

    /// Ends [`down`](Self::down); subscribers receive [`Push::Reconnected`] first. A process that
    /// [`disconnect`](Memory::disconnect) cut off stays so.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::{MemoryServer, Push};
    /// let server = MemoryServer::new();
    /// let mut pushes = server.connect("shop").pushes();
    /// server.down();
    /// server.flush(); // no process is told
    /// server.up();
    /// assert_eq!(pushes.try_next(), Some(Push::Reconnected));
    /// ```
    pub fn up(&self) {
        self.state().mend_all();
    }

    /// Removes all data, as `FLUSHALL` does. Subscribers are notified.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
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

    /// Restarts the server without data. All data is lost, and all processes see a reconnect.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// server.restart_empty();
    /// assert!(server.is_empty());
    /// ```
    pub fn restart_empty(&self) {
        self.restart_from(&Snapshot::default());
    }

    /// Returns the current data of the server.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
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

    /// Restarts the server with the data of an earlier moment, as after a failover or a restart from a dump. Data that
    /// was removed since then is back, including fences.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
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

    /// Evicts the value of a key, as a server that is out of memory does.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// server.evict("product", &StoreKey::new(&7));
    /// assert!(server.is_empty());
    /// ```
    pub fn evict(&self, namespace: &str, key: &StoreKey) {
        self.state().remove_value(&name(namespace, key));
    }

    /// Evicts the fence of a key, as a server that is out of memory does.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// server.evict_fence("product", &StoreKey::new(&7));
    /// assert_eq!(server.len(), 1);
    /// ```
    pub fn evict_fence(&self, namespace: &str, key: &StoreKey) {
        self.state().end_fence(&name(namespace, key));
    }

    /// Evicts the tag ledger of a namespace. Its next use creates another one, which invalidates the entries stamped
    /// before.
    ///
    /// # Examples
    /// ```
    /// use larder::tag::TagLedger;
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

    /// Evicts up to `count` values and fences, chosen by the seed. Returns the number of evicted ones.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert_eq!(server.evict_some(5), 1);
    /// ```
    pub fn evict_some(&self, count: usize) -> usize {
        self.state().evict_some(count)
    }

    /// Returns the stored keys as (namespace, key), in order. Expired keys are included until their next access.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert_eq!(server.keys(), [("product".to_owned(), "7".to_owned())]);
    /// ```
    #[must_use]
    pub fn keys(&self) -> Vec<(String, String)> {
        self.state().names()
    }

    /// Returns the number of stored values. Expired values are included until their next access.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert_eq!(server.len(), 1);
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.state().names().len()
    }

    /// Returns `true` if no value is stored.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert!(!server.is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the number of valid fences.
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
    /// # use larder::key::StoreKey;
    /// # use std::time::Duration;
    /// let server = MemoryServer::new();
    /// server.poke("product", &StoreKey::new(&7), "bytes", Duration::from_secs(60));
    /// assert_eq!(server.len(), 1);
    /// ```
    pub fn poke(&self, namespace: &str, key: &StoreKey, bytes: impl Into<Bytes>, ttl: Duration) {
        let now = millis(self.now());
        self.state().set(&name(namespace, key), bytes.into(), now.saturating_add(millis_up(ttl)), now, None);
    }

    /// Returns the raw bytes of a key, if its value has not expired.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// # use larder::key::StoreKey;
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

    /// Returns the server's time.
    pub(crate) fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Returns the time for which a lock is still held, or `None` if it is free.
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
