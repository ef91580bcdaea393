//! Locks behind a network.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use larder::{Acquired, Error, LockProvider, LockToken, Result};

use super::network::Link;
use crate::check::{History, What};

/// How long an answer may take: a provider bounds its calls.
const LIMIT: Duration = Duration::from_secs(1);

/// The store's locks, as one process reaches them.
#[derive(Debug, Clone)]
pub(super) struct RemoteLocks {
    pub(super) locks: Arc<dyn LockProvider>,
    pub(super) link: Arc<Link>,
    pub(super) history: History,
}

/// A number for a name (FNV-1a).
fn number(name: &str) -> u64 {
    let mix = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    name.bytes().fold(0xcbf2_9ce4_8422_2325, mix)
}

impl RemoteLocks {
    fn note(&self, what: What) {
        self.history.record(self.link.process, what);
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
            let acquired = own.locks.try_acquire(&name, lease).await?;
            if let Acquired::Held(token) = acquired {
                own.note(What::Locked { lock: number(&name), token: token.get(), lease });
            }
            Ok(acquired)
        })
        .await
    }

    async fn renew(&self, name: &str, token: LockToken, lease: Duration) -> Result<bool> {
        let (own, name) = (self.clone(), name.to_owned());
        self.ask("renew", async move {
            let held = own.locks.renew(&name, token, lease).await?;
            if held {
                own.note(What::Locked { lock: number(&name), token: token.get(), lease });
            }
            Ok(held)
        })
        .await
    }

    async fn release(&self, name: &str, token: LockToken) -> Result<bool> {
        let (own, name) = (self.clone(), name.to_owned());
        self.ask("release", async move {
            let held = own.locks.release(&name, token).await?;
            own.note(What::Unlocked { lock: number(&name), token: token.get() });
            Ok(held)
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
