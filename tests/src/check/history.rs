//! Recorded events, in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// An event. Its position among the others is its order: see [`History`].
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The time since the history began, by one clock for all.
    pub at: Duration,
    /// The number of the process. A process that was restarted is another one.
    pub process: u32,
    /// The kind of event.
    pub what: What,
}

/// A kind of event. Keys, tags and versions are numbers of the recorder's choice. A key's versions differ from each
/// other.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The source has this version from now on.
    Committed {
        /// The key of the row.
        key: u64,
        /// The new version.
        version: u64,
        /// `true` if the version is the absence of the row.
        absent: bool,
        /// The [`Ask::Guard`] under which it was written.
        guard: Option<u64>,
    },
    /// An operation of the cache begins.
    Asked {
        /// The operation's number.
        operation: u64,
        /// The request.
        ask: Ask,
    },
    /// An operation has ended, or was abandoned.
    Answered {
        /// The operation's number.
        operation: u64,
        /// The outcome.
        answer: Answer,
    },
    /// A load of a key begins at the source.
    LoadBegan {
        /// The load's number.
        load: u64,
        /// The key.
        key: u64,
    },
    /// A load has ended, with any outcome.
    LoadEnded {
        /// The load's number.
        load: u64,
    },
    /// A lock was taken or renewed, on the server.
    Locked {
        /// A number for the lock's name.
        lock: u64,
        /// The token of the holder.
        token: u128,
        /// The lease, from now on.
        lease: Duration,
    },
    /// A lock was released by its holder, on the server.
    Unlocked {
        /// A number for the lock's name.
        lock: u64,
        /// The token of the holder.
        token: u128,
    },
    /// The shared store has executed a request. Optional: recorded in the order of the store itself, or not at all.
    Executed {
        /// The key, `None` for all keys.
        key: Option<u64>,
        /// The effect of the request.
        step: Step,
    },
    /// The shared store has lost everything: guards and locks too.
    Emptied,
    /// The shared store has forgotten all writes after an earlier moment: a failover, a restart with old data.
    /// Operations that were acknowledged in between are not guaranteed any more.
    RolledBack {
        /// The number of events at that moment.
        since: usize,
    },
    /// The process has crashed.
    Crashed,
    /// Faults have ended long ago, and every life has passed.
    Settled,
    /// Something that should be gone still exists.
    Left(String),
    /// A note for human readers.
    Note(String),
}

/// The effect of a request that the shared store has executed, and its answer.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// A fence was granted.
    Granted {
        /// Its name.
        fence: u128,
        /// `true` if it was valid before.
        joined: bool,
    },
    /// A value was found.
    Found {
        /// Its version, `None` for the absence of a row.
        version: Option<u64>,
    },
    /// A value was stored with a fence, which ended.
    Filled {
        /// The name of the fence.
        fence: u128,
        /// The version of the value, `None` for the absence of a row.
        version: Option<u64>,
    },
    /// A fence ended: a fill was refused, or a load failed.
    Ended {
        /// Its name.
        fence: u128,
    },
    /// Value and fence were removed.
    Removed,
    /// A value was stored without a fence.
    Put,
}

/// A request to a cache.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ask {
    /// A read that loads. It fails only if the source does.
    Read {
        /// The key.
        key: u64,
    },
    /// A read that never loads.
    Lookup {
        /// The key.
        key: u64,
    },
    /// A load even if a value is cached.
    Refresh {
        /// The key.
        key: u64,
    },
    /// An invalidation of these scopes.
    Invalidate(Vec<Scope>),
    /// A version is put into the cache.
    Insert {
        /// The key.
        key: u64,
        /// The version, committed before.
        version: u64,
    },
    /// A write guard is requested.
    Guard {
        /// The key to write.
        key: u64,
        /// The life of the guard.
        life: Duration,
    },
}

/// The scope of an invalidation.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A key.
    Key(u64),
    /// All entries that carry a tag.
    Tag(u64),
    /// All entries.
    All,
}

/// The outcome of an operation.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// A read was answered.
    Found {
        /// The result of the read.
        seen: Seen,
        /// The origin of the value, for human readers.
        from: &'static str,
    },
    /// A read that never loads found nothing.
    NotCached,
    /// A write was acknowledged.
    Acknowledged,
    /// The operation failed.
    Failed(Failure),
    /// The caller was dropped, or its process crashed. The outcome is not known.
    Dropped,
}

/// The reason why an operation failed.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The source's error, panic or timeout, or a limit on loads.
    Source,
    /// An error of the shared store.
    Store,
}

/// The result of a read.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A value, which contains its key and version.
    Version {
        /// The key that it was written under.
        key: u64,
        /// Its version.
        version: u64,
    },
    /// The absence of the row.
    Absent,
}

/// Records events. A cheap handle: clones share everything.
///
/// The order of events must be one in which they can have happened. Record a request before it is sent, and an
/// answer after it has come. Record a commit in the same critical section that makes it visible to loads.
///
/// # Examples
/// A real system, by the machine's clock:
/// ```
/// use larder_testkit::check::{check, Answer, Ask, History, Rules, Seen, What};
/// let history = History::new();
/// history.record(1, What::Committed { key: 7, version: 1, absent: false, guard: None });
/// let read = history.ask(1, Ask::Read { key: 7 });
/// // ... `cache.get_entry(&7).await` ...
/// history.answer(1, read, Answer::Found { seen: Seen::Version { key: 7, version: 1 }, from: "loaded" });
/// assert_eq!(check(&history.events(), &Rules::default()).unwrap().reads, 1);
/// ```
#[derive(Debug, Clone)]
pub struct History(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    clock: Clock,
    events: Mutex<Vec<Event>>,
    next: AtomicU64,
}

#[derive(Debug)]
enum Clock {
    Machine(Instant),
    Tokio(tokio::time::Instant),
}

impl History {
    /// Returns an empty history, by the machine's clock.
    ///
    /// # Examples
    /// See [`History`].
    #[must_use]
    pub fn new() -> Self {
        Self::by(Clock::Machine(Instant::now()))
    }

    /// Returns an empty history, by the clock of the tokio runtime in which it is made.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder_testkit::check::History;
    /// # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    /// # runtime.block_on(async {
    /// let history = History::in_tokio_time();
    /// tokio::time::sleep(Duration::from_secs(9)).await; // in a paused runtime
    /// assert_eq!(history.now(), Duration::from_secs(9));
    /// # });
    /// ```
    #[must_use]
    pub fn in_tokio_time() -> Self {
        Self::by(Clock::Tokio(tokio::time::Instant::now()))
    }

    fn by(clock: Clock) -> Self {
        Self(Arc::new(Shared { clock, events: Mutex::default(), next: AtomicU64::new(1) }))
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Event>> {
        self.0.events.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the time since the history began.
    ///
    /// # Examples
    /// See [`in_tokio_time`](Self::in_tokio_time).
    #[must_use]
    pub fn now(&self) -> Duration {
        match &self.0.clock {
            Clock::Machine(origin) => origin.elapsed(),
            Clock::Tokio(origin) => origin.elapsed(),
        }
    }

    /// Adds an event.
    ///
    /// # Examples
    /// See [`History`].
    pub fn record(&self, process: u32, what: What) {
        let mut events = self.locked();
        // under the lock, so that times grow in the order of the events
        let at = self.now();
        events.push(Event { at, process, what });
    }

    /// Adds the answer to a request that was sent when there were `since` events, unless the store has lost its
    /// data meanwhile. In that case it is not known if the store answered before or after the loss.
    pub(crate) fn record_unless_lost(&self, process: u32, since: usize, what: What) {
        let mut events = self.locked();
        let lost = |event: &Event| matches!(event.what, What::Emptied | What::RolledBack { .. });
        if !events.iter().skip(since).any(lost) {
            let at = self.now();
            events.push(Event { at, process, what });
        }
    }

    /// Returns a unique number for an operation or a load.
    ///
    /// # Examples
    /// ```
    /// use larder_testkit::check::{History, What};
    /// let history = History::new();
    /// let load = history.number();
    /// history.record(1, What::LoadBegan { load, key: 7 });
    /// history.record(1, What::LoadEnded { load });
    /// assert_eq!(history.len(), 2);
    /// ```
    #[must_use]
    pub fn number(&self) -> u64 {
        self.0.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Records that an operation begins, and returns its number.
    ///
    /// # Examples
    /// See [`History`].
    pub fn ask(&self, process: u32, ask: Ask) -> u64 {
        let operation = self.number();
        self.record(process, What::Asked { operation, ask });
        operation
    }

    /// Records the outcome of an operation.
    ///
    /// # Examples
    /// See [`History`].
    pub fn answer(&self, process: u32, operation: u64, answer: Answer) {
        self.record(process, What::Answered { operation, answer });
    }

    /// Returns the number of events.
    ///
    /// # Examples
    /// See [`number`](Self::number).
    #[must_use]
    pub fn len(&self) -> usize {
        self.locked().len()
    }

    /// Returns `true` if there are no events.
    ///
    /// # Examples
    /// ```
    /// assert!(larder_testkit::check::History::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns a copy of all events.
    ///
    /// # Examples
    /// See [`History`].
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.locked().clone()
    }

    /// Takes all events out, which avoids a copy of a long history.
    ///
    /// # Examples
    /// ```
    /// use larder_testkit::check::{History, What};
    /// let history = History::new();
    /// history.record(1, What::Crashed);
    /// assert_eq!(history.take().len(), 1);
    /// assert!(history.is_empty());
    /// ```
    #[must_use]
    pub fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.locked())
    }
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}
