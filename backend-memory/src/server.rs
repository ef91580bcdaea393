//! The server, and the handles through which processes reach it.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use larder::{Clock, Encoded, Error, Result, StoreKey, SystemClock};
use tokio::sync::Notify;

use crate::fault::{Fault, Faults, ServerError};
use crate::ledger::MemoryLedger;
use crate::lock::MemoryLocks;
use crate::push::{Push, Pushes};
use crate::record::{Operation, OperationKind};
use crate::state::{Data, Millis, State, millis_up, name};

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
        Memory { server: self.clone(), process: name.into().into() }
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

    /// The operations executed so far, in order.
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

    /// Forgets the operations recorded so far.
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
        let now = self.now();
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
        let now = self.now();
        self.state().set(&name(namespace, key), bytes.into(), now.saturating_add(millis_up(ttl)), now);
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
        let now = self.now();
        self.state().get(&name(namespace, key), now).map(|stored| stored.bytes)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The server's time.
    pub(crate) fn now(&self) -> Millis {
        self.0.clock.now().as_nanos() / 1_000_000
    }

    /// How long a lock is still held; `None` when it is free.
    pub(crate) fn locked_for(&self, lock: &str) -> Option<Duration> {
        let now = self.now();
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

/// One process's connection to a [`MemoryServer`]; a cheap handle. A byte store: give it a codec.
///
/// # Examples
/// ```
/// use larder::codec::Json;
/// use larder_memory::MemoryServer;
/// let typed = MemoryServer::new().connect("one").encoded(Json);
/// # let _ = typed;
/// ```
#[derive(Clone)]
pub struct Memory {
    server: MemoryServer,
    process: Arc<str>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("process", &self.process).finish_non_exhaustive()
    }
}

/// One request, on its way.
pub(crate) struct Request {
    pub(crate) kind: OperationKind,
    pub(crate) namespace: String,
    pub(crate) keys: Vec<String>,
}

impl Memory {
    /// The store with values encoded by `codec`.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let typed = MemoryServer::new().connect("shop").encoded(larder::codec::Json);
    /// # let _ = typed;
    /// ```
    pub fn encoded<C>(&self, codec: C) -> Encoded<Self, C> {
        Encoded::new(self.clone(), codec)
    }

    /// The server's locks.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let locks = MemoryServer::new().connect("shop").locks();
    /// # let _ = locks;
    /// ```
    #[must_use]
    pub fn locks(&self) -> MemoryLocks {
        MemoryLocks::new(self.clone())
    }

    /// The tag ledger of a namespace.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let ledger = MemoryServer::new().connect("shop").ledger("product");
    /// # let _ = ledger;
    /// ```
    #[must_use]
    pub fn ledger(&self, namespace: impl Into<String>) -> MemoryLedger {
        MemoryLedger::new(self.clone(), namespace.into())
    }

    /// What the server pushes from now on.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let server = MemoryServer::new();
    /// let mut pushes = server.connect("shop").pushes();
    /// server.flush();
    /// assert!(pushes.try_next().is_some());
    /// ```
    #[must_use]
    pub fn pushes(&self) -> Pushes {
        Pushes(self.server.state().subscribe(&self.process))
    }

    /// Cuts this process off: its operations fail, pushes to it are lost.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let process = MemoryServer::new().connect("shop");
    /// process.disconnect(); // its operations fail now
    /// process.reconnect();
    /// ```
    pub fn disconnect(&self) {
        let mut state = self.server.state();
        if !self.is_cut_off(&state) {
            state.disconnected.push(self.process.to_string());
        }
    }

    /// Ends the cut; its subscribers receive [`Push::Reconnected`] first.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let process = MemoryServer::new().connect("shop");
    /// let mut pushes = process.pushes();
    /// process.disconnect();
    /// process.reconnect();
    /// assert_eq!(pushes.try_next(), Some(larder_memory::Push::Reconnected));
    /// ```
    pub fn reconnect(&self) {
        let mut state = self.server.state();
        state.disconnected.retain(|process| **process != *self.process);
        for subscriber in state.subscribers.iter().filter(|subscriber| *subscriber.process == *self.process) {
            // a receiver that is gone does not care
            _ = subscriber.sender.send(Push::Reconnected);
        }
    }

    fn is_cut_off(&self, state: &State) -> bool {
        state.disconnected.iter().any(|process| **process == *self.process)
    }

    pub(crate) fn server(&self) -> &MemoryServer {
        &self.server
    }

    /// Sends a request: the faults of the day, then `execute` as one step on the server, then the faults again.
    pub(crate) async fn ask<T>(
        &self,
        request: Request,
        execute: impl FnOnce(&mut State, Millis, Option<&Fault>) -> T + Send,
    ) -> Result<T> {
        let Request { kind, namespace, keys } = request;
        let mut operation =
            Operation { sequence: 0, process: self.process.to_string(), kind, namespace, keys };
        let failed = |error: ServerError| Error::backend(&format!("{kind:?}"), error);
        let fault = self.server.0.faults.strike(&operation);
        if let Some(fault) = &fault
            && !fault.before().await
        {
            return Err(failed(ServerError::Refused));
        }
        let answer = {
            let now = self.server.now();
            let mut state = self.server.state();
            if self.is_cut_off(&state) {
                return Err(failed(ServerError::Disconnected));
            }
            operation.sequence = state.record.last().map_or(1, |last| last.sequence + 1);
            state.record.push(operation);
            state.drop_pushes = matches!(fault, Some(Fault::DropPushes));
            let answer = execute(&mut state, now, fault.as_ref());
            state.drop_pushes = false;
            answer
        };
        match &fault {
            Some(fault) if !fault.after().await => Err(failed(ServerError::ReplyLost)),
            _ => Ok(answer),
        }
    }
}
