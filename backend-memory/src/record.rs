//! What the server was asked, in order.

use larder::{Acquired, Filled, LedgerView, Stamp, Timestamp};

/// What an operation asks for. One [`GetMany`](Self::GetMany) is one operation: a round trip.
///
/// # Examples
/// ```
/// use larder_memory::OperationKind;
/// assert_ne!(OperationKind::Get, OperationKind::GetMany);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationKind {
    /// Read one key.
    Get,
    /// Read many keys.
    GetMany,
    /// Announce a load.
    Begin,
    /// Store what was loaded.
    Fill,
    /// Prolong an announcement.
    Renew,
    /// Withdraw an announcement.
    Release,
    /// Store, whatever was there.
    Put,
    /// Remove one key.
    Remove,
    /// Remove many keys.
    RemoveMany,
    /// Remove a whole namespace.
    Clear,
    /// [`CacheBackend::guard`](larder::CacheBackend::guard).
    Guard,
    /// [`CacheBackend::unguard`](larder::CacheBackend::unguard).
    Unguard,
    /// Take a lock.
    LockAcquire,
    /// Prolong a lock.
    LockRenew,
    /// Give a lock back.
    LockRelease,
    /// Read a ledger's identity and count.
    LedgerStamp,
    /// Invalidate tags.
    LedgerInvalidate,
    /// Read tags.
    LedgerView,
    /// Forget old tags.
    LedgerPrune,
}

impl OperationKind {
    /// Its name in errors, in the words of the traits.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::GetMany => "get_many",
            Self::Begin => "begin",
            Self::Fill => "fill",
            Self::Renew => "renew",
            Self::Release => "release",
            Self::Put => "put",
            Self::Remove => "remove",
            Self::RemoveMany => "remove_many",
            Self::Clear => "clear",
            Self::Guard => "guard",
            Self::Unguard => "unguard",
            Self::LockAcquire => "try_acquire",
            Self::LockRenew => "renew of a lock",
            Self::LockRelease => "release of a lock",
            Self::LedgerStamp => "stamp",
            Self::LedgerInvalidate => "invalidate of tags",
            Self::LedgerView => "view",
            Self::LedgerPrune => "prune",
        }
    }
}

/// What became of an operation on the server, whether or not its answer arrived.
///
/// # Examples
/// ```
/// use larder_memory::Outcome;
/// assert_ne!(Outcome::Found(0), Outcome::Failed);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// Not executed yet: what the predicates of [`Faults`](crate::Faults) see.
    Pending,
    /// It was not executed: a fault, or a process that is cut off.
    Failed,
    /// It was executed, and there is no more to say.
    Done,
    /// So many of the keys had an entry that could be read; also a begin that found one.
    Found(usize),
    /// A fence was created, or a lock taken.
    Granted,
    /// A standing fence was joined.
    Joined,
    /// Somebody else has the key or the lock.
    Busy,
    /// The fence, the lock or the token did not stand any more: nothing was done.
    Refused,
}

/// What answers say of the outcome.
pub(crate) trait Answer {
    fn outcome(&self) -> Outcome {
        Outcome::Done
    }
}

impl Answer for () {}
impl Answer for usize {}
impl Answer for Stamp {}
impl Answer for LedgerView {}

impl Answer for bool {
    fn outcome(&self) -> Outcome {
        if *self { Outcome::Done } else { Outcome::Refused }
    }
}

impl Answer for Filled {
    fn outcome(&self) -> Outcome {
        if *self == Self::Stored { Outcome::Done } else { Outcome::Refused }
    }
}

impl Answer for Acquired {
    fn outcome(&self) -> Outcome {
        if matches!(self, Self::Held(_)) { Outcome::Granted } else { Outcome::Busy }
    }
}

/// One request to the server.
///
/// # Examples
/// ```
/// use larder::{LockProvider, Timestamp};
/// use larder_memory::{MemoryServer, OperationKind, Outcome};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// let server = MemoryServer::new();
/// server.connect("one").locks().try_acquire("nightly", std::time::Duration::from_secs(10)).await?;
/// let [operation] = &server.record()[..] else { panic!("one operation") };
/// assert_eq!((operation.sequence, &*operation.process, operation.kind), (1, "one", OperationKind::LockAcquire));
/// assert_eq!((&operation.keys[..], operation.outcome), (&["nightly".to_owned()][..], Outcome::Granted));
/// assert!(operation.at > Timestamp::ORIGIN);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Its place in the order in which the server executed requests, from 1; 0 for the predicates of faults.
    pub sequence: u64,
    /// When it was executed or failed, in the server's time; for predicates, when it was sent.
    pub at: Timestamp,
    /// Which process asked.
    pub process: String,
    /// What for.
    pub kind: OperationKind,
    /// In which namespace; locks have none.
    pub namespace: String,
    /// The keys, tags or lock names.
    pub keys: Vec<String>,
    /// What became of it.
    pub outcome: Outcome,
}
