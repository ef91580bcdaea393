//! The limit on concurrent loads.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::chain::Chain;
use crate::strategy::Limit;
use crate::{Error, ErrorKind, Result};

/// A limit on loads: some run, some wait, and the others are refused at once.
#[derive(Debug)]
pub(super) struct Gate {
    limit: Option<Limit>,
    free: Semaphore,
    waiting: AtomicUsize,
}

/// A load that waits for a permit. Dropped at the end of the wait.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Gate {
    pub(super) fn new(limit: Option<Limit>) -> Self {
        let loads = limit.map_or(0, |limit| limit.loads.min(Semaphore::MAX_PERMITS));
        Self { limit, free: Semaphore::new(loads), waiting: AtomicUsize::new(0) }
    }

    /// Returns `true` if every load may enter at once.
    pub(super) fn is_open(&self) -> bool {
        self.limit.is_none()
    }

    /// Waits for a permit, to be held for as long as the load runs. Returns `None` if there is no limit.
    ///
    /// A load that runs inside another one needs none. Prevents: parents that hold all permits wait for children that
    /// need one. The excess is bounded by what each load loads at once.
    pub(super) async fn enter(&self, budget: Duration) -> Result<Option<SemaphorePermit<'_>>> {
        let Some(limit) = self.limit_here() else { return Ok(None) };
        if let Ok(permit) = self.free.try_acquire() {
            return Ok(Some(permit));
        }
        let before = self.waiting.fetch_add(1, Ordering::SeqCst);
        let _waiting = Waiting(&self.waiting);
        if before >= limit.waiting {
            return Err(overloaded(&format!("{} loads are under way and {before} wait", limit.loads)));
        }
        let turn = tokio::time::timeout(budget, self.free_or_nested()).await;
        turn.map_err(|_elapsed| overloaded(&format!("no load has ended for {budget:?}")))
    }

    /// Acts as [`enter`](Self::enter), but waits for as long as it takes, and is never refused.
    pub(super) async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.limit_here()?;
        self.free_or_nested().await
    }

    fn limit_here(&self) -> Option<Limit> {
        self.limit.filter(|_| !Chain::is_nested())
    }

    async fn free_or_nested(&self) -> Option<SemaphorePermit<'_>> {
        match select(pin!(self.free.acquire()), pin!(Chain::nested())).await {
            // the semaphore is never closed
            Either::Left((permit, _)) => permit.ok(),
            // another load waits for this one, and may hold the last permit
            Either::Right(_) => None,
        }
    }
}

fn overloaded(why: &str) -> Error {
    let mend = "raise `max_concurrent_loads` or `max_queued_loads`, or let stale values be served with `stale_if_error`";
    Error::new(ErrorKind::Overloaded, format!("{why}: {mend}")).transient()
}
