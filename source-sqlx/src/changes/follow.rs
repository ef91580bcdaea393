//! Following the outbox.

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

/// How often a position that moves is kept.
const KEPT_EVERY: f64 = 1.0;

/// Following the changes of a database, until it is dropped.
///
/// # Examples
/// See [`Changes`].
#[must_use = "dropped, it stops following"]
pub struct Following {
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

/// What has been counted since following began.
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
    /// Changes that were read from the outbox, of all tables in it.
    pub changes: u64,
    /// Looks at the outbox that failed, or after which an invalidation was not acknowledged.
    pub failures: u64,
    /// Times that the caches were cleared, since changes may have been lost: the server was restarted or replaced, or the
    /// process was cut off for longer than [`Changes::keep`].
    pub cleared: u64,
    /// Changes that could not be read, for which caches were cleared too: wrong types, triggers that are out of date.
    pub unreadable: u64,
}

impl Following {
    /// For how long changes may have gone unnoticed: everything that was committed before is invalidated.
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

    /// Whether changes are noticed within `limit`: for a health check, or to read past the cache while they are not. A limit
    /// of less than some pauses between looks ([`Changes::poll`]) is `false` now and then.
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

    /// What has been counted.
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

    /// Waits until everything that was committed before this call is invalidated. While the database cannot be reached, that
    /// is for as long.
    ///
    /// # Cancellation safety
    /// Safe.
    ///
    /// # Examples
    /// See [`Changes`].
    pub async fn sync(&self) {
        // the look that is under way may have begun before the commit
        let wanted = self.shared.begun.load(Ordering::SeqCst) + 1;
        let mut finished = self.shared.finished.subscribe();
        self.shared.wake.notify_one();
        // the sender lives as long as `self`
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

/// What the one who follows and the one who watches him both see.
struct Shared {
    counters: Counters,
    wake: Notify,
    /// The number of the last look that was begun.
    begun: AtomicU64,
    /// The number of the last look after which everything was acknowledged.
    finished: watch::Sender<u64>,
    /// When that look began.
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

/// Looks up where to begin, and starts the tasks.
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
    // whether it can be read at all; what is found will be read again
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
        // whatever was cached before may be older than what is read from here
        follower.clear();
        if let Err(error) = follower.noted.settle().await {
            tracing::warn!(%error, "a cache could not be cleared; it is tried again");
        }
    }
    let follow = runtime.spawn(async move { follower.run(poll).await });
    let listen = runtime.spawn(listen::<DB>(own, outbox, Arc::clone(&shared), poll));
    Ok(Following { shared, tasks: [follow, listen] })
}

/// Lets the database wake the follower.
async fn listen<DB: Feed>(pool: Pool<DB>, outbox: Outbox, shared: Arc<Shared>, pause: Duration) {
    loop {
        let wakes = DB::wakes(&pool, &outbox, &|| shared.wake.notify_one()).await;
        if let Err(error) = wakes {
            // nothing is lost: the follower looks by itself
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
    /// Everything before was read.
    position: DB::Position,
    /// When that was, by the database's clock.
    at: f64,
    keep: f64,
    /// Earlier positions and their times, to delete what is before those that are old enough.
    marks: VecDeque<(f64, DB::Position)>,
    name: Option<String>,
    /// Everything before was invalidated, and when it was read.
    acknowledged: Option<(f64, DB::Position)>,
    /// What is kept under the name, and since when.
    kept: Option<(f64, DB::Position)>,
    /// What was read and is not acknowledged.
    noted: Noted,
}

impl<DB: Feed> Follower<DB> {
    async fn run(mut self, pause: Duration) {
        let mut failing = false;
        loop {
            let number = self.shared.begun.fetch_add(1, Ordering::SeqCst) + 1;
            let began = Instant::now();
            let looked = self.look().await;
            // also what a look read before it failed
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
                        // often a connection that was cut, and a new one is as good
                        tokio::time::sleep(pause / 10).await;
                        continue;
                    }
                }
            }
            // what wakes it is as good as the time that has passed
            _ = tokio::time::timeout(pause, self.shared.wake.notified()).await;
        }
    }

    /// Reads what is new, and notes what it ends.
    async fn look(&mut self) -> Result<(), sqlx::Error> {
        if DB::OWN_POOL {
            // before each new connection, also that of the listener: credentials rotate by `Pool::set_connect_options`
            self.pool.set_connect_options((*self.users.connect_options()).clone());
        }
        let mut connection = self.pool.acquire().await?;
        let looked = self.look_with(&mut connection).await;
        if looked.is_err() && DB::OWN_POOL {
            // it may be in the middle of an answer
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
                // what numbers and snapshots mean may have changed
                seen = DB::end(connection, &self.outbox).await?;
                self.marks.clear();
            }
            self.clear();
        }
        (self.position, self.at) = (seen.position, seen.at);
        // what was read counts, whatever becomes of the rest
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

    /// Keeps up to where everything is acknowledged, now and then.
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

    /// Deletes what everybody has read, or is cut off from for so long that he clears his caches.
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
