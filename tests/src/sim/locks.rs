//! Locks behind a network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use larder::lock::{Acquired, LockToken};
use larder::{Error, LockProvider, Result};
use tokio::time::Instant;

use super::network::Link;
use crate::check::{History, What};

/// The maximum time for an answer: a provider bounds its calls.
const LIMIT: Duration = Duration::from_secs(1);

/// The store's locks, reached by one process over the network.
#[derive(Debug, Clone)]
pub(super) struct RemoteLocks {
    pub(super) locks: Arc<dyn LockProvider>,
    pub(super) link: Arc<Link>,
    pub(super) history: History,
}

/// The number of a name (FNV-1a).
fn number(name: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}

impl RemoteLocks {
    fn note(&self, what: What) {
        self.history.record(self.link.process, what);
    }

    /// The time and the number of events when a lock is requested.
    fn now(&self) -> (Instant, usize) {
        (Instant::now(), self.history.len())
    }

    /// Records a held lock, whose lease began at some moment after the request, in the store's time.
    fn held(&self, name: &str, token: LockToken, (asked, since): (Instant, usize), lease: Duration) {
        let lease = lease.saturating_sub(asked.elapsed());
        let what = What::Locked { lock: number(name), token: token.get(), lease };
        self.history.record_unless_lost(self.link.process, since, what);
    }

    async fn ask<T: Send + 'static>(
        &self,
        name: &'static str,
        request: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        match tokio::time::timeout(LIMIT, self.link.send(name, request)).await {
            Ok(answer) => answer,
            Err(_elapsed) => Err(Error::timeout(name, LIMIT)),
        }
    }
}

#[async_trait]
impl LockProvider for RemoteLocks {
    async fn try_acquire(&self, name: &str, lease: Duration) -> Result<Acquired> {
        let (own, name) = (self.clone(), name.to_owned());
        self.ask("try_acquire", async move {
            let asked = own.now();
            let acquired = own.locks.try_acquire(&name, lease).await?;
            if let Acquired::Held(token) = acquired {
                own.held(&name, token, asked, lease);
            }
            Ok(acquired)
        })
        .await
    }

    async fn renew(&self, name: &str, token: LockToken, lease: Duration) -> Result<bool> {
        let (own, name) = (self.clone(), name.to_owned());
        self.ask("renew", async move {
            let asked = own.now();
            let held = own.locks.renew(&name, token, lease).await?;
            if held {
                own.held(&name, token, asked, lease);
            }
            Ok(held)
        })
        .await
    }

    async fn release(&self, name: &str, token: LockToken) -> Result<bool> {
        let (own, name) = (self.clone(), name.to_owned());
        self.ask("release", async move {
            // from here on another process may take it, before this process has its answer
            own.note(What::Unlocked { lock: number(&name), token: token.get() });
            own.locks.release(&name, token).await
        })
        .await
    }

    async fn released(&self, name: &str, at_most: Duration) -> Result<()> {
        if self.link.is_dead() {
            return Err(Error::backend("released", "the process is dead"));
        }
        self.locks.released(name, at_most).await
    }
}
