//! The shared store under test.

use std::sync::Arc;
use std::time::Duration;

use larder::LockProvider;
use larder::backend::IntoBackend;

use super::setup::Setup;
use crate::check::History;

/// The cached value: the key that it was written under, and its version.
///
/// # Examples
/// See [`Store`].
pub type Versioned = (u64, u64);

/// A shared store to which processes connect, and its faults.
///
/// # Examples
/// See the [module](super).
pub trait Store: Send + Sync + Sized + 'static {
    /// The backend of one process. A store of bytes is given with a codec, such as `.encoded(Json)`.
    type Far: IntoBackend<u64, Versioned> + Send + 'static;

    /// Opens an empty store for one history. Called within the history's tokio runtime, whose time is paused.
    fn open(setup: &Setup) -> Self;

    /// Records in `history` what the store executes, as
    /// [`What::Executed`](crate::check::What::Executed), if the store knows its own order. Default:
    /// nothing.
    fn observe(&self, _history: &History) {}

    /// Connects the process with this name.
    fn connect(&self, process: &str) -> Self::Far;

    /// Returns the locks of the process with this name, if there are any.
    fn locks(&self, process: &str) -> Option<Arc<dyn LockProvider>>;

    /// Lets a trouble happen. Returns `false` if it cannot, and then it is no part of the history.
    fn suffers(&self, trouble: &Trouble) -> bool;

    /// Called when the history has recorded a trouble that happened. In real time, a store that has forgotten
    /// something must not answer before: it comes back now. Default: nothing.
    fn suffered(&self, _trouble: &Trouble) {}

    /// Returns the fences that are still valid. After the last load and its lease there should be none.
    fn left(&self) -> Vec<String>;
}

/// A fault of a store.
///
/// # Examples
/// See [`Store`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trouble {
    /// The store loses everything and sends a notification, as `FLUSHALL` does.
    Flush,
    /// The store is restarted without data. Connections are lost too.
    RestartEmpty,
    /// The store takes a snapshot, for [`Forget`](Self::Forget).
    Remember,
    /// The store is restarted with its snapshot: a failover that loses the last writes.
    Forget,
    /// The store evicts this number of values or fences.
    Evict(usize),
    /// The store evicts the tag ledger.
    EvictLedger,
    /// The store prunes all tags that were invalidated so far.
    PruneTags,
    /// Pushes are lost from now on, or no longer.
    LosePushes(bool),
    /// For this time, some requests are executed twice: late after the answer, or before it. Zero ends it.
    Repeat(Duration),
    /// The connection of this process is cut.
    Cut(String),
    /// The connection of this process is back.
    Mend(String),
}

/// The longest trip of a request or a reply that is not lost.
pub(super) const LONGEST_TRIP: Duration = Duration::from_millis(1_500);
