//! The fixtures that the suite needs for a backend.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use larder::backend::Erased;
use larder::clock::{Clock, ManualClock, SystemClock, Timestamp};
use larder::key::StoreKey;
use larder::lock::Locking;
use larder::{CacheBackend, CacheBuilder};

/// The process's time in a test: a clock that stands still until it is advanced, or the machine's clock. The
/// machine's is for a store whose time cannot be set.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder_testkit::Time;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let time = Time::default();
/// let before = time.now();
/// time.advance(Duration::from_secs(3600)).await; // at once
/// assert_eq!(before.until(time.now()), Duration::from_secs(3600));
/// # }
/// ```
#[derive(Debug, Clone)]
pub enum Time {
    /// A clock that stands still until it is advanced.
    Manual(ManualClock),
    /// The machine's clock, for which an advance sleeps.
    Real(SystemClock),
}

impl Default for Time {
    fn default() -> Self {
        Self::Manual(ManualClock::new())
    }
}

impl Time {
    /// Returns the machine's clock.
    #[must_use]
    pub fn real() -> Self {
        Self::Real(SystemClock::new())
    }

    /// Returns the current time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match self {
            Self::Manual(clock) => clock.now(),
            Self::Real(clock) => clock.now(),
        }
    }

    /// Advances the time.
    pub async fn advance(&self, by: Duration) {
        match self {
            Self::Manual(clock) => clock.advance(by),
            Self::Real(_) => tokio::time::sleep(by).await,
        }
    }

    /// Returns a lease or life that a test can wait for: 10 s, or 1.5 s by the machine's clock.
    #[must_use]
    pub fn lease(&self) -> Duration {
        match self {
            Self::Manual(_) => Duration::from_secs(10),
            Self::Real(_) => Duration::from_millis(1_500),
        }
    }

    /// Returns the time before its end at which an entry or lease must still exist: 1 ms, or the duration of a step
    /// on a busy machine.
    #[must_use]
    pub fn slack(&self) -> Duration {
        match self {
            Self::Manual(_) => Duration::from_millis(1),
            Self::Real(_) => Duration::from_millis(800),
        }
    }
}

impl Clock for Time {
    fn now(&self) -> Timestamp {
        self.now()
    }

    fn recent(&self) -> Timestamp {
        match self {
            Self::Manual(clock) => clock.recent(),
            Self::Real(clock) => clock.recent(),
        }
    }
}

/// Opens backends for the suite: string keys, string values.
///
/// # Examples
/// See the [crate](crate).
pub trait Fixture {
    /// The backend under test.
    type Backend: CacheBackend<String, String>;

    /// Opens a fresh, empty backend.
    fn open(&self) -> impl Future<Output = Self::Backend>;

    /// Returns the time of the process and of the store.
    fn time(&self) -> &Time;
}

/// Opens two processes' views of one store.
///
/// # Examples
/// ```
/// use larder::backend::{BackendContext, IntoBackend};
/// use larder::codec::Json;
/// use larder_memory::MemoryServer;
/// use larder_testkit::{SharedFixture, Time};
///
/// #[derive(Default)]
/// struct Memory(Time);
///
/// impl SharedFixture for Memory {
///     type Backend = larder::backend::EncodedBackend<larder_memory::MemoryBackend, Json, String>;
///
///     async fn open_two(&self) -> [Self::Backend; 2] {
///         let server = MemoryServer::with_clock(self.0.clone());
///         let scope = BackendContext::new("suite").expect("a plain name");
///         ["one", "two"].map(|name| {
///             let store = server.connect(name).encoded(Json);
///             IntoBackend::<String, String>::into_backend(store, &scope).expect("it opens")
///         })
///     }
///     fn time(&self) -> &Time {
///         &self.0
///     }
/// }
/// ```
pub trait SharedFixture {
    /// The backend under test.
    type Backend: CacheBackend<String, String>;

    /// Opens two processes' views of one fresh, empty store.
    fn open_two(&self) -> impl Future<Output = [Self::Backend; 2]>;

    /// Returns the time of the processes and of the store.
    fn time(&self) -> &Time;
}

/// A fixture's backends with their type erased, as a cache calls them.
///
/// # Examples
/// ```
/// # fn with<F: larder_testkit::Fixture>(fixture: F) {
/// let erased = larder_testkit::Through(fixture); // for `backend_suite!(..)`
/// # let _ = erased;
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Through<F>(pub F);

impl<F: Fixture> Fixture for Through<F> {
    type Backend = Erased<String, String>;

    async fn open(&self) -> Self::Backend {
        Erased::new(self.0.open().await)
    }

    fn time(&self) -> &Time {
        self.0.time()
    }
}

/// One process of a [`CacheFixture`]: a builder with its namespace and backend, and locks that all processes share.
pub struct Process {
    /// The builder, which still needs a source and a strategy. The suite sets the clock.
    pub builder: CacheBuilder<u64, u64>,
    /// The locks that select a leader among the processes, if there is more than one process.
    pub locking: Option<Locking>,
    /// The number of seconds that its clock is ahead of the store's; negative if it is behind.
    pub ahead: i64,
    pub(crate) damage: Option<Damage>,
}

/// Damages the stored bytes of a key.
pub(crate) type Damage = Box<dyn Fn(StoreKey) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").field("builder", &self.builder).finish_non_exhaustive()
    }
}

impl Process {
    /// Returns a process whose clock agrees with the store's, and that has no locks.
    #[must_use]
    pub fn new(builder: CacheBuilder<u64, u64>) -> Self {
        Self { builder, locking: None, ahead: 0, damage: None }
    }

    /// Sets the locks.
    #[must_use]
    pub fn locking(mut self, locking: impl Into<Locking>) -> Self {
        self.locking = Some(locking.into());
        self
    }

    /// Sets the number of seconds that the process's clock is ahead of the store's; negative if it is behind.
    #[must_use]
    pub fn ahead(mut self, seconds: i64) -> Self {
        self.ahead = seconds;
        self
    }

    /// Sets a function that damages the store: `damage` flips a bit of the last stored byte of a key, bypassing
    /// larder. Without it, the suite does not check the count of damaged entries.
    #[must_use]
    pub fn damaging<Fut>(mut self, damage: impl Fn(StoreKey) -> Fut + Send + Sync + 'static) -> Self
    where
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.damage = Some(Box::new(move |key| Box::pin(damage(key))));
        self
    }

    /// Sets the clock of the builder.
    pub(crate) fn clocked(self, time: &Time) -> Self {
        let clock = Skewed { time: time.clone(), ahead: self.ahead };
        Self { builder: self.builder.clock(clock), ..self }
    }
}

/// A clock that runs like another one, at a fixed distance.
#[derive(Debug)]
struct Skewed {
    time: Time,
    ahead: i64,
}

impl Skewed {
    fn shown(&self, time: Timestamp) -> Timestamp {
        let by = Duration::from_secs(self.ahead.unsigned_abs());
        if self.ahead < 0 { time.saturating_sub(by) } else { time.saturating_add(by) }
    }
}

impl Clock for Skewed {
    fn now(&self) -> Timestamp {
        self.shown(self.time.now())
    }

    fn recent(&self) -> Timestamp {
        self.shown(self.time.recent())
    }
}

/// Opens caches for the suite of strategies: several processes on one fresh store, or one process with its own
/// store.
///
/// # Examples
/// ```
/// use larder::codec::Json;
/// use larder::Cache;
/// use larder_memory::MemoryServer;
/// use larder_testkit::{CacheFixture, Process, Time};
///
/// #[derive(Default)]
/// struct Memory(Time);
///
/// impl CacheFixture for Memory {
///     async fn open(&self) -> Vec<Process> {
///         let server = MemoryServer::with_clock(self.0.clone());
///         let process = |name: &str| {
///             let memory = server.connect(name);
///             let builder = Cache::builder().namespace("suite").backend(memory.encoded(Json));
///             Process::new(builder).locking(memory.locks())
///         };
///         ["one", "two"].map(process).into()
///     }
///     fn time(&self) -> &Time {
///         &self.0
///     }
/// }
///
/// larder_testkit::strategy_suite!(Memory::default());
/// # fn main() {}
/// ```
pub trait CacheFixture {
    /// Opens the processes, on one fresh and empty store.
    fn open(&self) -> impl Future<Output = Vec<Process>>;

    /// Returns the time of the processes and of the store.
    fn time(&self) -> &Time;
}
