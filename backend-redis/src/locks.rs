//! The server's locks.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use larder::key::StoreKey;
use larder::lock::{Acquired, LockToken};
use larder::{LockProvider, Result};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::client::{Arg, Command, Failure};
use crate::fences::lease_ms;
use crate::nonce::nonce;
use crate::script::{LOCK, RELOCK, UNLOCK};
use crate::server::Server;

/// The interval at which a waiter checks by itself, in case a message was lost; jittered to between a half and the
/// whole.
const RECHECK: Duration = Duration::from_millis(200);

/// The maximum number of attempts to release a lock that may be held after a failure, and the first pause, which
/// doubles.
const TRIES: usize = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// Locks with a lease: `SET NX PX` with a token that is never reused, checked and deleted in one step.
///
/// A waiter is notified of the release by a message (`PUBLISH`), and also checks at intervals, since messages may
/// be lost. If a lock is lost (its lease ended, the server restarted), the next renewal detects it.
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use larder::lock::Acquired;
/// use larder::LockProvider;
/// use larder_redis::RedisBackend;
///
/// # async fn with() -> larder::Result<()> {
/// let locks = RedisBackend::connect("redis://localhost").await?.locks();
/// if let Acquired::Held(token) = locks.try_acquire("nightly", Duration::from_secs(10)).await? {
///     // ... the work ...
///     locks.release("nightly", token).await?;
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RedisLocks {
    server: Arc<Server>,
}

/// The key of a lock, which is also the name of the channel for its release.
fn key(name: &str) -> String {
    format!("larder:lock:{{{}}}", StoreKey::new(name))
}

fn text(token: LockToken) -> String {
    format!("{:032x}", token.get())
}

impl RedisLocks {
    pub(crate) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }

    async fn unlock(&self, key: &str, own: &str) -> Result<bool> {
        let command = UNLOCK.call(&[key], [Arg::from(own), Arg::from(key)]);
        Ok(self.server.number("release a lock", command).await? == 1)
    }

    /// Releases a lock in the background, after a failure that may have left it held. Prevents: others wait for its
    /// lease.
    fn give_back(&self, key: String, own: String) {
        let locks = self.clone();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        drop(runtime.spawn(async move {
            let mut pause = FIRST_PAUSE;
            for _ in 0..TRIES {
                tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
                if locks.unlock(&key, &own).await.is_ok() {
                    return;
                }
                pause *= 2;
            }
        }));
    }

    /// The time for which another holder may keep the lock. `None` if it is free.
    async fn held_for(&self, key: &str) -> Result<Option<Duration>> {
        let left = self
            .server
            .number("wait for a lock", Command { name: "PTTL", arguments: vec![Arg::from(key)], key })
            .await?;
        // -2: no lock; -1: a lock without a lease is not one of ours, and has no end to wait for
        Ok(u64::try_from(left)
            .ok()
            .map(|left| Duration::from_millis(left.max(1)))
            .or((left == -1).then_some(RECHECK)))
    }
}

/// A wait for the messages of one channel. The last waiter of a process ends the subscription.
struct Waiting {
    server: Arc<Server>,
    channel: String,
    arrived: Arc<Notify>,
}

impl Waiting {
    async fn begin(server: &Arc<Server>, channel: String) -> Self {
        let (arrived, first) = server.client.messages().join(&channel);
        let waiting = Self { server: Arc::clone(server), channel, arrived };
        if first && let Err(failure) = waiting.server.client.subscribe(&waiting.channel).await {
            told(&failure);
        }
        waiting
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.server.client.messages().leave(&self.channel) {
            return;
        }
        let (server, channel) = (Arc::clone(&self.server), std::mem::take(&mut self.channel));
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        drop(runtime.spawn(async move {
            let client = &server.client;
            let ended = client.unsubscribe(&channel).await;
            // a waiter may have come meanwhile, and this request may have overtaken its subscription
            let wanted = client.messages().is_waited_for(&channel);
            let begun = if wanted { client.subscribe(&channel).await } else { Ok(()) };
            if let Err(failure) = ended.and(begun) {
                told(&failure);
            }
        }));
    }
}

/// Logs a failed subscription, which only makes waiters slower.
fn told(failure: &Failure) {
    tracing::debug!(%failure, "a waiter of a lock looks by itself, since it cannot be told");
}

#[async_trait]
impl LockProvider for RedisLocks {
    async fn try_acquire(&self, name: &str, lease: Duration) -> Result<Acquired> {
        let (key, token) = (key(name), LockToken::new(nonce()));
        let own = text(token);
        let command = LOCK.call(&[&key], [Arg::from(own.as_str()), Arg::from(lease_ms(lease))]);
        let asked = self.server.number("lock", command).await;
        // without an answer the lock may be held, under a token that no caller knows
        let left = asked.inspect_err(|_| self.give_back(key, own))?;
        Ok(match u64::try_from(left).unwrap_or(1) {
            0 => Acquired::Held(token),
            left => Acquired::Busy(Duration::from_millis(left)),
        })
    }

    async fn renew(&self, name: &str, token: LockToken, lease: Duration) -> Result<bool> {
        let (key, own) = (key(name), text(token));
        let command = RELOCK.call(&[&key], [Arg::from(own.as_str()), Arg::from(lease_ms(lease))]);
        Ok(self.server.number("renew a lock", command).await? == 1)
    }

    async fn release(&self, name: &str, token: LockToken) -> Result<bool> {
        let (key, own) = (key(name), text(token));
        self.unlock(&key, &own).await.inspect_err(|_| self.give_back(key, own))
    }

    async fn released(&self, name: &str, at_most: Duration) -> Result<()> {
        let key = key(name);
        let began = Instant::now();
        let waiting = Waiting::begin(&self.server, key.clone()).await;
        loop {
            // listens before it checks (prevents: a release between the two that is missed)
            let mut arrived = std::pin::pin!(waiting.arrived.notified());
            arrived.as_mut().enable();
            let Some(left) = self.held_for(&key).await? else { return Ok(()) };
            let again = RECHECK.mul_f64(0.5 + fastrand::f64() / 2.0);
            let rest = at_most.saturating_sub(began.elapsed());
            if rest.is_zero() {
                // no error: the caller tries again
                return Ok(());
            }
            let pause = left.saturating_add(Duration::from_millis(1)).min(again).min(rest);
            if tokio::time::timeout(pause, arrived).await.is_ok() {
                // a message arrived; if another process was faster, the caller's next attempt finds out
                return Ok(());
            }
        }
    }
}
