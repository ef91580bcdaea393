//! What the suite needs to know of a backend.

use std::future::Future;
use std::time::Duration;

use larder::{CacheBackend, Clock, Erased, ManualClock, Timestamp};

/// The process's time in a test: a clock that stands still until it is moved.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// let time = larder_testkit::Time::default();
/// let before = time.now();
/// time.advance(Duration::from_secs(1));
/// assert_eq!(before.until(time.now()), Duration::from_secs(1));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Time(ManualClock);

impl Time {
    /// Now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// Moves the time on.
    pub fn advance(&self, by: Duration) {
        self.0.advance(by);
    }

    /// The clock, for a store that keeps time itself.
    #[must_use]
    pub fn clock(&self) -> ManualClock {
        self.0.clone()
    }
}

/// Opens backends for the suite: string keys, string values.
///
/// # Examples
/// See the [crate](crate).
pub trait Fixture {
    /// The backend under test.
    type Backend: CacheBackend<String, String>;

    /// A fresh, empty backend.
    fn open(&self) -> impl Future<Output = Self::Backend>;

    /// The time of the process.
    fn time(&self) -> &Time;

    /// Moves the time on, for the process and for the store. A store on real time sleeps here.
    fn advance(&self, by: Duration) -> impl Future<Output = ()> {
        async move { self.time().advance(by) }
    }
}

/// Opens two processes' views of one store.
///
/// # Examples
/// ```
/// use larder::{IntoBackend, Scope, codec::Json};
/// use larder_memory::MemoryServer;
/// use larder_testkit::{SharedFixture, Time};
///
/// #[derive(Default)]
/// struct Memory(Time);
///
/// impl SharedFixture for Memory {
///     type Backend = larder::EncodedBackend<larder_memory::MemoryBackend, Json, String>;
///
///     async fn open_two(&self) -> [Self::Backend; 2] {
///         let server = MemoryServer::with_clock(self.0.clock());
///         let scope = Scope::new("suite").expect("a plain name");
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

    /// Two processes on one fresh, empty store.
    fn open_two(&self) -> impl Future<Output = [Self::Backend; 2]>;

    /// The time of the processes.
    fn time(&self) -> &Time;

    /// Moves the time on, for the processes and for the store.
    fn advance(&self, by: Duration) -> impl Future<Output = ()> {
        async move { self.time().advance(by) }
    }
}

/// A fixture's backends with their type erased: what a cache really calls.
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

    async fn advance(&self, by: Duration) {
        self.0.advance(by).await;
    }
}
