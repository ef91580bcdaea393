//! What happened, in order.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// One thing that happened. Its place among the others is its order: see [`History`].
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When, since the history began, by one clock for all.
    pub at: Duration,
    /// In which process; a process that was restarted is another one.
    pub process: u32,
    /// What.
    pub what: What,
}

/// What happened. Keys, tags and versions are numbers of the recorder's choice; a key's versions differ from each other.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// The source has this version from now on.
    Committed {
        /// Of which key.
        key: u64,
        /// The new version.
        version: u64,
        /// Whether it says that there is no such row.
        absent: bool,
        /// The [`Ask::Guard`] under which it was written.
        guard: Option<u64>,
    },
    /// An operation of the cache begins.
    Asked {
        /// Its number.
        operation: u64,
        /// What is asked.
        ask: Ask,
    },
    /// An operation has ended, or was abandoned.
    Answered {
        /// Its number.
        operation: u64,
        /// How.
        answer: Answer,
    },
    /// The source is asked for a key.
    LoadBegan {
        /// The load's number.
        load: u64,
        /// The key.
        key: u64,
    },
    /// A load has ended, in whatever way.
    LoadEnded {
        /// The load's number.
        load: u64,
    },
    /// A lock was taken or renewed, on the server.
    Locked {
        /// A number for the lock's name.
        lock: u64,
        /// By whom.
        token: u128,
        /// For how long from now on.
        lease: Duration,
    },
    /// A lock was given back by its holder, on the server.
    Unlocked {
        /// A number for the lock's name.
        lock: u64,
        /// By whom.
        token: u128,
    },
    /// The shared store has lost everything: guards and locks too.
    Emptied,
    /// The shared store has forgotten what was done after an earlier moment: a failover, a restart with old data. What was
    /// acknowledged in between is not promised any more.
    RolledBack {
        /// The number of events that there were at that moment.
        since: usize,
    },
    /// The process is gone.
    Crashed,
    /// Faults have ended long ago, and every life has passed.
    Settled,
    /// Something that should be gone is still there.
    Left(String),
    /// For people who read the history.
    Note(String),
}

/// What is asked of a cache.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ask {
    /// A read that loads: it fails only if the source does.
    Read {
        /// The key.
        key: u64,
    },
    /// A read that never loads.
    Lookup {
        /// The key.
        key: u64,
    },
    /// A load whatever is cached.
    Refresh {
        /// The key.
        key: u64,
    },
    /// An invalidation of these.
    Invalidate(Vec<Scope>),
    /// A version is put into the cache.
    Insert {
        /// The key.
        key: u64,
        /// The version, committed before.
        version: u64,
    },
    /// A write is announced.
    Guard {
        /// What will be written.
        key: u64,
        /// How long the announcement stands.
        life: Duration,
    },
}

/// What an invalidation covers.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A key.
    Key(u64),
    /// What carries a tag.
    Tag(u64),
    /// Everything.
    All,
}

/// How an operation ended.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Answer {
    /// A read was answered.
    Found {
        /// What was read.
        seen: Seen,
        /// Whence, for people who read the history.
        from: &'static str,
    },
    /// A read that never loads found nothing.
    NotCached,
    /// A write was acknowledged.
    Acknowledged,
    /// An error.
    Failed(Failure),
    /// The caller went away, or its process is gone: what became of it is not known.
    Dropped,
}

/// Why an operation failed.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The source's error, panic or timeout, or a limit on loads.
    Source,
    /// The shared store's.
    Store,
}

/// What a read saw.
///
/// # Examples
/// See [`History`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A value, which says what it is.
    Version {
        /// The key that it was written under.
        key: u64,
        /// Its version.
        version: u64,
    },
    /// That there is no such row.
    Absent,
}

/// Records what happens. A cheap handle: clones share everything.
///
/// The order of events must be one in which they can have happened: record what is asked before it is asked, what is
/// answered after it was, and a commit in the same critical section that makes it visible to loads.
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
    /// An empty history, by the machine's clock.
    ///
    /// # Examples
    /// See [`History`].
    #[must_use]
    pub fn new() -> Self {
        Self::by(Clock::Machine(Instant::now()))
    }

    /// An empty history, by the clock of the tokio runtime that it is made in.
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

    /// How long ago the history began.
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

    /// Adds what has just happened.
    ///
    /// # Examples
    /// See [`History`].
    pub fn record(&self, process: u32, what: What) {
        let mut events = self.locked();
        // under the lock: times grow in the order of the events
        let at = self.now();
        events.push(Event { at, process, what });
    }

    /// Adds the answer to something that was asked when there were `since` events, unless the store has lost what it had
    /// meanwhile: whether before or after it answered is not known.
    pub(crate) fn record_unless_lost(&self, process: u32, since: usize, what: What) {
        let mut events = self.locked();
        let lost = |event: &Event| matches!(event.what, What::Emptied | What::RolledBack { .. });
        if !events.iter().skip(since).any(lost) {
            let at = self.now();
            events.push(Event { at, process, what });
        }
    }

    /// A number for an operation or a load, which no other has.
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

    /// Records that an operation begins; answers its number.
    ///
    /// # Examples
    /// See [`History`].
    pub fn ask(&self, process: u32, ask: Ask) -> u64 {
        let operation = self.number();
        self.record(process, What::Asked { operation, ask });
        operation
    }

    /// Records how an operation ended.
    ///
    /// # Examples
    /// See [`History`].
    pub fn answer(&self, process: u32, operation: u64, answer: Answer) {
        self.record(process, What::Answered { operation, answer });
    }

    /// How many events there are.
    ///
    /// # Examples
    /// See [`number`](Self::number).
    #[must_use]
    pub fn len(&self) -> usize {
        self.locked().len()
    }

    /// Whether nothing has happened.
    ///
    /// # Examples
    /// ```
    /// assert!(larder_testkit::check::History::new().is_empty());
    /// ```
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has happened so far.
    ///
    /// # Examples
    /// See [`History`].
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.locked().clone()
    }

    /// Takes what has happened so far: for long histories, which need not be copied.
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
