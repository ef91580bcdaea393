//! The locks of the server.

use std::time::Duration;

use async_trait::async_trait;
use larder::lock::{Acquired, LockToken};
use larder::{Error, LockProvider, Result};

use crate::memory::{Memory, Request};
use crate::record::OperationKind;

/// The interval at which a waiter checks the lock again, in case a wake-up was lost or a lease ended.
const RECHECK: Duration = Duration::from_millis(50);

/// Locks with a lease, held in the server: `SET NX PX` with a token, checked and deleted in one step.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder::lock::Acquired;
/// use larder::LockProvider;
/// use larder_memory::MemoryServer;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// let server = MemoryServer::new();
/// let (one, two) = (server.connect("one").locks(), server.connect("two").locks());
/// let lease = Duration::from_secs(10);
/// let Acquired::Held(token) = one.try_acquire("nightly", lease).await? else { panic!("nobody held it") };
/// assert!(matches!(two.try_acquire("nightly", lease).await?, Acquired::Busy(_)));
/// assert!(one.release("nightly", token).await?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct MemoryLocks {
    memory: Memory,
}

fn request(kind: OperationKind, name: &str) -> Request {
    Request { kind, namespace: String::new(), keys: vec![name.to_owned()] }
}

impl MemoryLocks {
    pub(crate) fn new(memory: Memory) -> Self {
        Self { memory }
    }
}

#[async_trait]
impl LockProvider for MemoryLocks {
    async fn try_acquire(&self, name: &str, lease: Duration) -> Result<Acquired> {
        let request = request(OperationKind::LockAcquire, name);
        let (name, token) = (name.to_owned(), LockToken::new(self.memory.server().state().nonce()));
        self.memory.ask(request, move |step| step.state.lock(&name, token, lease, step.now)).await
    }

    async fn renew(&self, name: &str, token: LockToken, lease: Duration) -> Result<bool> {
        let request = request(OperationKind::LockRenew, name);
        let name = name.to_owned();
        self.memory.ask(request, move |step| step.state.renew_lock(&name, token, lease, step.now)).await
    }

    async fn release(&self, name: &str, token: LockToken) -> Result<bool> {
        let request = request(OperationKind::LockRelease, name);
        let (name, server) = (name.to_owned(), self.memory.server().clone());
        self.memory
            .ask(request, move |step| {
                let held = step.state.unlock(&name, token, step.now);
                // at the execution, not after the answer: waiters wake even if the answer is lost
                server.released().notify_waiters();
                held
            })
            .await
    }

    async fn released(&self, name: &str, at_most: Duration) -> Result<()> {
        let wait = async {
            loop {
                let released = self.memory.server().released().notified();
                // no separate round trip: a real server would push the release
                self.memory.check().map_err(|error| Error::backend("released", error))?;
                let Some(left) = self.memory.server().locked_for(name) else { return Ok(()) };
                // whichever comes first; after a timeout the lock is checked again
                _ = tokio::time::timeout(left.min(RECHECK), released).await;
            }
        };
        // reaching the limit is no error: the caller tries again
        tokio::time::timeout(at_most, wait).await.unwrap_or(Ok(()))
    }
}
