//! Follows the outbox.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use larder::{Error, Result};
use sqlx::Pool;
use sqlx::pool::PoolConnection;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use super::Changes;
use super::feed::{Feed, Outbox};
use super::watched::Watched;
use crate::noted::Noted;

/// The interval at which a moving position is stored, in seconds.
const KEPT_EVERY: f64 = 1.0;

/// A handle that follows the changes of a database until it is dropped.
///
/// # Examples
/// See [`Changes`].
#[must_use = "dropped, it stops following"]
pub struct Following {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

/// Counters since following began.
///
/// # Examples
/// ```
/// # fn with(following: larder_sqlx::Following) {
/// let stats = following.stats();
/// println!("{} changes, {} failed looks", stats.changes, stats.failures);
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct FollowStats {
    /// The changes that were read from the outbox, of all tables in it.
    pub changes: u64,
    /// The reads of the outbox that failed, or after which an invalidation was not acknowledged.
    pub failures: u64,
    /// The times that the caches were cleared because changes may have been lost. The server was restarted or
    /// replaced, or the process was disconnected for longer than [`Changes::keep`].
    pub cleared: u64,
    /// The changes that could not be parsed, for which caches were also cleared: wrong types, outdated triggers.
    pub unreadable: u64,
}

impl Following {
    /// Returns the time for which changes may be unnoticed: all changes committed before are invalidated.
    ///
    /// # Examples
    /// ```
    /// # fn with(following: larder_sqlx::Following) {
    /// println!("up to {:?} behind", following.lag());
    /// # }
    /// ```
    #[must_use]
    pub fn lag(&self) -> Duration {
        self.shared.confirmed().elapsed()
    }

    /// Returns `true` if changes are noticed within `limit`. Use it for a health check, or to bypass the cache
    /// while it is `false`. If the limit is only a few pauses ([`Changes::poll`]), the result is `false` now and
    /// then.
    ///
    /// # Examples
    /// ```
    /// # async fn with(following: larder_sqlx::Following, products: larder::Cache<i64, String>) -> larder::Result<()> {
    /// # use std::time::Duration;
    /// if !following.is_current(Duration::from_secs(30)) {
    ///     products.clear().await?; // or leave it, and live with old values until the TTL ends them
    /// }
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn is_current(&self, limit: Duration) -> bool {
        self.lag() <= limit
    }

    /// Returns the counters.
    ///
    /// # Examples
    /// See [`FollowStats`].
    #[must_use]
    pub fn stats(&self) -> FollowStats {
        let Counters { changes, failures, cleared, unreadable } = &self.shared.counters;
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        FollowStats {
            changes: read(changes),
            failures: read(failures),
            cleared: read(cleared),
            unreadable: read(unreadable),
        }
    }

    /// Waits until all changes that were committed before this call are invalidated. If the database cannot be
    /// reached, it waits until it can be.
    ///
    /// # Cancellation safety
    /// Safe.
    ///
    /// # Examples
    /// See [`Changes`].
    pub async fn sync(&self) {
        // the running read may have begun before the commit
        let wanted = self.shared.begun.load(Ordering::SeqCst) + 1;
        let mut finished = self.shared.finished.subscribe();
        self.shared.wake.notify_one();
        // does not fail: the sender lives as long as `self`
        _ = finished.wait_for(|finished| *finished >= wanted).await;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl fmt::Debug for Following {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Following").field("lag", &self.lag()).field("stats", &self.stats()).finish()
    }
}

/// The state that the handle and the follower's tasks share.
struct Shared {
    counters: Counters,
    wake: Notify,
    /// The number of the last read that was begun.
    begun: AtomicU64,
    /// The number of the last read after which all invalidations were acknowledged.
    finished: watch::Sender<u64>,
    /// The time at which that read began.
    confirmed: Mutex<Instant>,
}

#[derive(Default)]
struct Counters {
    changes: AtomicU64,
    failures: AtomicU64,
    cleared: AtomicU64,
    unreadable: AtomicU64,
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Shared {
    fn confirmed(&self) -> MutexGuard<'_, Instant> {
        self.confirmed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the starting position, and starts the tasks.
pub(super) async fn start<DB: Feed>(changes: Changes<DB>) -> Result<Following> {
    let runtime = Handle::try_current().map_err(|cause| {
        Error::config("following needs tokio: call `follow` within its runtime").with_source(cause)
    })?;
    let Changes { pool, outbox, watched, poll, keep, name } = changes;
    let shared = Arc::new(Shared {
        counters: Counters::default(),
        wake: Notify::new(),
        begun: AtomicU64::new(0),
        finished: watch::Sender::new(0),
        confirmed: Mutex::new(Instant::now()),
    });
    let own = DB::own_pool(&pool);
    let failed = |error: sqlx::Error| {
        Error::backend("reading the outbox, which `install` or the statements of `sql` make,", error)
    };
    let mut connection = own.acquire().await.map_err(failed)?;
    let end = DB::end(&mut connection, &outbox).await.map_err(failed)?;
    // checks that the outbox can be read at all; its changes will be read again
    DB::read(&mut connection, &outbox, &end.position, &mut |_, _| {}).await.map_err(failed)?;
    let resumed = match &name {
        Some(name) => DB::kept(&mut connection, &outbox, name).await.map_err(failed)?,
        None => None,
    };
    drop(connection);
    let resumed = resumed.and_then(|(position, at)| Some((position.parse::<DB::Position>().ok()?, at)));
    let clears = resumed.is_none();
    let (position, at) = resumed.unwrap_or((end.position, end.at));
    let mut follower = Follower {
        shared: Arc::clone(&shared),
        users: pool,
        pool: own.clone(),
        outbox: outbox.clone(),
        watched,
        position,
        at,
        keep: keep.as_secs_f64(),
        marks: VecDeque::new(),
        name,
        acknowledged: None,
        kept: None,
        noted: Noted::bounded(),
    };
    if clears {
        // an entry that was cached before may be older than the changes that are read from here
        follower.clear();
        if let Err(error) = follower.noted.settle().await {
            tracing::warn!(%error, "a cache could not be cleared; it is tried again");
        }
    }
    let follow = runtime.spawn(async move { follower.run(poll).await });
    let listen = runtime.spawn(listen::<DB>(own, outbox, Arc::clone(&shared), poll));
    Ok(Following { shared, tasks: [follow, listen] })
}

/// Wakes the follower by notifications of the database.
async fn listen<DB: Feed>(pool: Pool<DB>, outbox: Outbox, shared: Arc<Shared>, pause: Duration) {
    loop {
        let wakes = DB::wakes(&pool, &outbox, &|| shared.wake.notify_one()).await;
        if let Err(error) = wakes {
            // nothing is lost: the follower also polls
            tracing::debug!(%error, "not woken by the database for now");
        }
        tokio::time::sleep(pause).await;
    }
}

struct Follower<DB: Feed> {
    shared: Arc<Shared>,
    /// The user's pool, whose options may change.
    users: Pool<DB>,
    pool: Pool<DB>,
    outbox: Outbox,
    watched: Vec<Watched>,
    /// The position up to which all changes were read.
    position: DB::Position,
    /// The time of that read, by the database's clock.
    at: f64,
    keep: f64,
    /// Earlier positions and their times. Changes before the old ones are deleted.
    marks: VecDeque<(f64, DB::Position)>,
    name: Option<String>,
    /// The position up to which all changes were invalidated, and the time of the read.
    acknowledged: Option<(f64, DB::Position)>,
    /// The position that is stored under the name, and the time of storing.
    kept: Option<(f64, DB::Position)>,
    /// The invalidations that are not acknowledged.
    noted: Noted,
}

impl<DB: Feed> Follower<DB> {
    async fn run(mut self, pause: Duration) {
        let mut failing = false;
        loop {
            let number = self.shared.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let began = Instant::now();
            let looked = self.look().await;
            // settles also the changes that a read returned before it failed
            let settled = self.noted.settle().await;
            let failing_part = if looked.is_err() { "the outbox" } else { "the store of a cache" };
            match looked.map_err(|error| Error::backend("reading the outbox", error)).and(settled) {
                Ok(()) => {
                    self.acknowledged = Some((self.at, self.position.clone()));
                    *self.shared.confirmed() = began;
                    self.shared.finished.send_replace(number);
                    if std::mem::take(&mut failing) {
                        tracing::info!("changes of the database are passed on again");
                    }
                }
                Err(error) => {
                    count(&self.shared.counters.failures);
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "changes of the database are not passed on for now: {failing_part} failed");
                        // the first failure is often a connection that was cut, so a new one is tried soon
                        tokio::time::sleep(pause / 10).await;
                        continue;
                    }
                }
            }
            // a notification ends the pause early
            _ = tokio::time::timeout(pause, self.shared.wake.notified()).await;
        }
    }

    /// Reads new changes, and notes their invalidations.
    async fn look(&mut self) -> Result<(), sqlx::Error> {
        if DB::OWN_POOL {
            // before each new connection, also the listener's: credentials rotate by `Pool::set_connect_options`
            self.pool.set_connect_options((*self.users.connect_options()).clone());
        }
        let mut connection = self.pool.acquire().await?;
        let looked = self.look_with(&mut connection).await;
        if looked.is_err() && DB::OWN_POOL {
            // the connection may be in the middle of an answer
            drop(connection.detach());
        }
        looked
    }

    async fn look_with(&mut self, connection: &mut PoolConnection<DB>) -> Result<(), sqlx::Error> {
        let Self { shared, watched, noted, position, outbox, .. } = self;
        let mut each = |source: &str, image: Option<&str>| {
            count(&shared.counters.changes);
            for table in watched.iter().filter(|table| table.table.source() == source) {
                if let Err(error) = table.note(image, noted) {
                    count(&shared.counters.unreadable);
                    tracing::warn!(%error, "a change could not be read; what it may concern is cleared");
                }
            }
        };
        let mut seen = DB::read(connection, outbox, position, &mut each).await?;
        let was_cut_off = seen.at - self.at > self.keep;
        if seen.restarted || was_cut_off {
            count(&self.shared.counters.cleared);
            tracing::warn!(restarted = seen.restarted, "changes may have been lost; the caches are cleared");
            if seen.restarted {
                // numbers and snapshots of the new server may have another meaning
                seen = DB::end(connection, &self.outbox).await?;
                self.marks.clear();
            }
            self.clear();
        }
        (self.position, self.at) = (seen.position, seen.at);
        // the changes that were read count, even if the rest fails
        if let Err(error) = self.tidy(connection).await {
            tracing::warn!(%error, "the outbox could not be tidied up; it is tried again");
        }
        Ok(())
    }

    async fn tidy(&mut self, connection: &mut PoolConnection<DB>) -> Result<(), sqlx::Error> {
        self.keep_position(connection).await?;
        self.prune(connection).await
    }

    fn clear(&mut self) {
        self.watched.iter().for_each(|table| table.clear(&mut self.noted));
    }

    /// Stores the position up to which all invalidations are acknowledged, at intervals.
    async fn keep_position(&mut self, connection: &mut PoolConnection<DB>) -> Result<(), sqlx::Error> {
        let (Some(name), Some((at, position))) = (&self.name, &self.acknowledged) else { return Ok(()) };
        let due = self.kept.as_ref().is_none_or(|(kept_at, kept)| {
            let age = at - kept_at;
            (age >= KEPT_EVERY && kept != position) || age >= self.keep / 4.0
        });
        if due {
            DB::keep(connection, &self.outbox, name, &position.to_string(), *at).await?;
            self.kept = Some((*at, position.clone()));
        }
        Ok(())
    }

    /// Deletes changes that every follower has read. A follower that was disconnected for that long clears its
    /// caches.
    async fn prune(&mut self, connection: &mut PoolConnection<DB>) -> Result<(), sqlx::Error> {
        if self.marks.back().is_none_or(|(at, _)| self.at - at >= self.keep / 10.0) {
            self.marks.push_back((self.at, self.position.clone()));
        }
        let old_enough = self.at - (self.keep * 1.1 + 2.0);
        let mut passed = None;
        while self.marks.front().is_some_and(|(at, _)| *at < old_enough) {
            passed = self.marks.pop_front();
        }
        if let Some((_, position)) = passed {
            DB::prune(connection, &self.outbox, &position).await?;
        }
        Ok(())
    }
}
