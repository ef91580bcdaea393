//! What the server was asked, in order.

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

/// One request to the server.
///
/// # Examples
/// ```
/// use larder_memory::MemoryServer;
/// assert!(MemoryServer::new().record().is_empty());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Its place in the order in which the server executed requests.
    pub sequence: u64,
    /// Which process asked.
    pub process: String,
    /// What for.
    pub kind: OperationKind,
    /// In which namespace; locks have none.
    pub namespace: String,
    /// The keys, tags or lock names.
    pub keys: Vec<String>,
}
