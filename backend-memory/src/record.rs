//! The record of operations on the server, in order.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use larder::backend::FillOutcome;
use larder::clock::Timestamp;
use larder::lock::Acquired;
use larder::tag::{LedgerView, Pruned, Stamp};

/// The kind of an operation. One [`GetMany`](Self::GetMany) is one operation: a round trip.
///
/// # Examples
/// ```
/// use larder_memory::OperationKind;
/// assert_ne!(OperationKind::Get, OperationKind::GetMany);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OperationKind {
    /// A read of one key.
    Get,
    /// A read of many keys.
    GetMany,
    /// The start of a load, which requests a fence.
    Begin,
    /// A fill: the store of a loaded value.
    Fill,
    /// The renewal of a fence.
    Renew,
    /// The release of a fence.
    Release,
    /// An unconditional store, which replaces any entry.
    Put,
    /// The removal of one key.
    Remove,
    /// The removal of many keys.
    RemoveMany,
    /// The removal of a whole namespace.
    Clear,
    /// The start of a write guard: [`CacheBackend::guard`](larder::CacheBackend::guard).
    Guard,
    /// The end of a write guard: [`CacheBackend::unguard`](larder::CacheBackend::unguard).
    Unguard,
    /// An attempt to take a lock.
    LockAcquire,
    /// The renewal of a lock.
    LockRenew,
    /// The release of a lock.
    LockRelease,
    /// A read of a tag ledger's identity and count.
    LedgerStamp,
    /// An invalidation of tags.
    LedgerInvalidate,
    /// A read of the counts of tags.
    LedgerView,
    /// A removal of old tags from the tag ledger.
    LedgerPrune,
}

impl OperationKind {
    /// Returns the name used in errors, which is that of the trait's method.
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

/// The outcome of an operation on the server, independent of the delivery of its reply.
///
/// # Examples
/// ```
/// use larder_memory::Outcome;
/// assert_ne!(Outcome::Found(0), Outcome::Failed);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// The operation is not executed yet. The predicates of [`Faults`](crate::Faults) see this.
    Pending,
    /// The operation was not executed, because of a fault or because its process is disconnected.
    Failed,
    /// The operation was executed, and there is nothing further to report.
    Done,
    /// The number of keys that had a readable entry. Also the outcome of a [`Begin`](OperationKind::Begin) that found
    /// one.
    Found(usize),
    /// A fence was granted, or a lock was taken.
    Granted,
    /// A valid fence was joined.
    Joined,
    /// The key or the lock is held by another loader or lock holder.
    Busy,
    /// The fence, the lock or the token was no longer valid, and the operation had no effect.
    Refused,
}

/// An answer of the server, which determines the outcome of its operation.
pub(crate) trait Answer {
    fn outcome(&self) -> Outcome {
        Outcome::Done
    }
}

impl Answer for () {}
impl Answer for usize {}
impl Answer for Stamp {}

impl Answer for Pruned {
    fn outcome(&self) -> Outcome {
        if matches!(self, Self::Removed(_)) { Outcome::Done } else { Outcome::Refused }
    }
}

impl Answer for LedgerView {}

impl Answer for bool {
    fn outcome(&self) -> Outcome {
        if *self { Outcome::Done } else { Outcome::Refused }
    }
}

impl Answer for FillOutcome {
    fn outcome(&self) -> Outcome {
        if *self == Self::Stored { Outcome::Done } else { Outcome::Refused }
    }
}

impl Answer for Acquired {
    fn outcome(&self) -> Outcome {
        if matches!(self, Self::Held(_)) { Outcome::Granted } else { Outcome::Busy }
    }
}

/// A recorded request to the server.
///
/// # Examples
/// ```
/// use larder::clock::Timestamp;
/// use larder::LockProvider;
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
    /// Its position in the order in which the server executed requests, from 1. In the predicates of faults it is 0.
    pub sequence: u64,
    /// The time when it was executed or failed, by the server's clock. In predicates it is the time when it was sent.
    pub at: Timestamp,
    /// The process that sent it.
    pub process: String,
    /// Its kind.
    pub kind: OperationKind,
    /// Its namespace, empty for locks.
    pub namespace: String,
    /// Its keys, tags or lock names.
    pub keys: Vec<String>,
    /// Its outcome.
    pub outcome: Outcome,
    /// The name of the fence that was granted, or that the request names.
    pub fence: Option<u128>,
    /// The value that was found or stored, for requests of one key. Empty bytes if it is the absence of a row.
    pub value: Option<Bytes>,
}

/// A function that is called at each operation.
#[derive(Clone)]
pub(crate) struct Observer(pub(crate) Arc<dyn Fn(&Operation) + Send + Sync>);

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer").finish_non_exhaustive()
    }
}
