//! Invalidations that belong to a transaction.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use larder::cache::{Key, Value};
use larder::{Cache, Tag};
use sqlx::{Connection, Database, Pool, Transaction};
use tokio::runtime::Handle;

use crate::noted::Noted;

/// A transaction that knows what it invalidates: what is noted while it writes is invalidated when it commits, and forgotten
/// when it is rolled back or dropped.
///
/// It stands where sqlx's own stands: `&mut *transaction` executes queries. Invalidating *inside* of a transaction is a fault
/// that is easily made: a reader in between loads the old row and keeps it.
///
/// # Examples
/// ```
/// # use std::time::Duration;
/// # use larder::{Cache, Quick, Strategy};
/// # use larder_sqlx::QuerySource;
/// use larder_sqlx::WriteTransaction;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// # sqlx::query("CREATE TABLE stock (id INTEGER PRIMARY KEY, count INTEGER)").execute(&pool).await?;
/// # sqlx::query("INSERT INTO stock VALUES (7, 1)").execute(&pool).await?;
/// # let stock: Cache<i64, (i64,)> = Cache::builder()
/// #     .backend(Quick::new(10_000))
/// #     .source(QuerySource::new(pool.clone(), "SELECT count FROM stock WHERE id = ?"))
/// #     .strategy(Strategy::aside(Duration::from_secs(600)))
/// #     .build()?;
/// # stock.get(&7).await?;
/// let mut transaction = WriteTransaction::begin(&pool).await?;
/// sqlx::query("UPDATE stock SET count = count + 5 WHERE id = 7").execute(&mut *transaction).await?;
/// transaction.invalidate(&stock, 7);
/// transaction.commit().await?;
/// assert_eq!(stock.get(&7).await?.as_deref(), Some(&(6,)));
/// # Ok(()) }
/// ```
pub struct WriteTransaction<DB: Database> {
    transaction: Transaction<'static, DB>,
    noted: Noted,
    guard: Option<Duration>,
}

/// A savepoint in a [`WriteTransaction`]: released by [`commit`](Self::commit), undone by [`rollback`](Self::rollback) and
/// when it is dropped.
///
/// What is noted in it belongs to the whole transaction, **also when the savepoint is rolled back**: it is invalidated when
/// the transaction commits. That costs a load of what has not changed; forgetting it could cost a stale value, where a
/// savepoint is less gone than it seems (sequences, statements that commit by themselves, a rollback that failed).
///
/// # Examples
/// ```
/// # async fn with(pool: sqlx::SqlitePool, stock: larder::Cache<i64, (i64,)>) -> Result<(), Box<dyn std::error::Error>> {
/// use larder_sqlx::WriteTransaction;
///
/// let mut transaction = WriteTransaction::begin(&pool).await?;
/// let mut savepoint = transaction.savepoint().await?;
/// sqlx::query("UPDATE stock SET count = 0 WHERE id = 7").execute(&mut *savepoint).await?;
/// savepoint.invalidate(&stock, 7);
/// savepoint.commit().await?; // nothing is invalidated yet
/// transaction.commit().await?;
/// # Ok(()) }
/// ```
pub struct Savepoint<'t, DB: Database> {
    transaction: Transaction<'t, DB>,
    noted: &'t mut Noted,
}

impl<DB: Database> WriteTransaction<DB> {
    /// Begins a transaction on a connection of the pool.
    ///
    /// # Errors
    /// As [`Pool::begin`].
    ///
    /// # Examples
    /// See [`WriteTransaction`].
    pub async fn begin(pool: &Pool<DB>) -> Result<Self, sqlx::Error> {
        Ok(pool.begin().await?.into())
    }

    /// Guards the noted keys around the commit with a [`WriteGuard`](larder::cache::WriteGuard) of this life, for writers that may
    /// die between commit and invalidation: it is announced before COMMIT and ended after it. Give more than a commit may
    /// take. Default no guard. Tags cannot be guarded: they are invalidated after the commit.
    ///
    /// # Examples
    /// ```
    /// # async fn with(pool: sqlx::SqlitePool) -> Result<(), sqlx::Error> {
    /// # use larder_sqlx::WriteTransaction;
    /// let transaction = WriteTransaction::begin(&pool).await?.guarded(std::time::Duration::from_secs(30));
    /// # let _ = transaction;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn guarded(mut self, life: Duration) -> Self {
        self.guard = Some(life);
        self
    }

    /// Sets a savepoint.
    ///
    /// # Errors
    /// The database's.
    ///
    /// # Examples
    /// See [`Savepoint`].
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_, DB>, sqlx::Error> {
        Ok(Savepoint { transaction: self.transaction.begin().await?, noted: &mut self.noted })
    }

    /// Commits, and then invalidates what was noted. A read that starts after this returned `Ok` sees the transaction.
    ///
    /// # Errors
    /// [`CommitError`] says how far it came. Whenever the transaction may have been committed, what was noted is invalidated,
    /// also if the commit's answer was lost; a guard then stands until its life ends, since the commit may yet happen.
    ///
    /// # Cancellation safety
    /// Once polled it goes on in the background (on tokio), commit and invalidations alike.
    ///
    /// # Examples
    /// See [`WriteTransaction`].
    pub async fn commit(self) -> Result<(), CommitError> {
        let work = self.commit_and_settle();
        let Ok(runtime) = Handle::try_current() else { return work.await };
        match runtime.spawn(work).await {
            Ok(done) => done,
            Err(cause) => Err(CommitError::Commit(sqlx::Error::Io(std::io::Error::other(cause)))),
        }
    }

    async fn commit_and_settle(self) -> Result<(), CommitError> {
        let Self { transaction, mut noted, guard } = self;
        if let Some(life) = guard
            && let Err(error) = noted.guard(life).await
        {
            // nothing was written; what is guarded already need not stay so
            _ = transaction.rollback().await;
            _ = noted.settle().await;
            return Err(CommitError::Guard(error));
        }
        let committed = transaction.commit().await;
        // unless the database says that it was not, it may have been, or may yet be
        if committed.as_ref().is_err_and(|error| !is_refusal(error)) {
            noted.leave_guards();
        }
        let settled = noted.settle().await;
        committed.map_err(CommitError::Commit)?;
        settled.map_err(CommitError::Invalidate)
    }

    /// Rolls back, and forgets what was noted.
    ///
    /// # Errors
    /// The database's; the connection then ends, and the transaction with it.
    ///
    /// # Examples
    /// ```
    /// # async fn with(pool: sqlx::SqlitePool, stock: larder::Cache<i64, (i64,)>) -> Result<(), Box<dyn std::error::Error>> {
    /// # use larder_sqlx::WriteTransaction;
    /// let mut transaction = WriteTransaction::begin(&pool).await?;
    /// transaction.invalidate(&stock, 7);
    /// transaction.rollback().await?;
    /// # Ok(()) }
    /// ```
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}

/// Whether a failed commit is known not to have happened: a constraint was broken, another transaction was in the way. A
/// connection that is ended by the server, for one, says nothing: the commit may be done, and wait for a replica.
fn is_refusal(error: &sqlx::Error) -> bool {
    let Some(code) = error.as_database_error().and_then(sqlx::error::DatabaseError::code) else {
        return false;
    };
    match code.len() {
        5 => code.starts_with("23") || code.starts_with("40"),
        // SQLite: BUSY and CONSTRAINT in all their forms
        _ => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 19)),
    }
}

impl<DB: Database> From<Transaction<'static, DB>> for WriteTransaction<DB> {
    /// For transactions that are begun in another way, as by [`Pool::begin_with`].
    fn from(transaction: Transaction<'static, DB>) -> Self {
        Self { transaction, noted: Noted::unbounded(), guard: None }
    }
}

impl<DB: Database> Savepoint<'_, DB> {
    /// Sets a savepoint in this one.
    ///
    /// # Errors
    /// The database's.
    ///
    /// # Examples
    /// See [`Savepoint`].
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_, DB>, sqlx::Error> {
        Ok(Savepoint { transaction: self.transaction.begin().await?, noted: self.noted })
    }

    /// Releases the savepoint: what was written since is written if the transaction commits.
    ///
    /// # Errors
    /// The database's.
    ///
    /// # Examples
    /// See [`Savepoint`].
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }

    /// Undoes what was written since the savepoint. What was noted stays noted: see [`Savepoint`].
    ///
    /// # Errors
    /// The database's.
    ///
    /// # Examples
    /// See [`Savepoint`].
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.transaction.rollback().await
    }
}

macro_rules! notes {
    ($([$($generics:tt)*] $type:ty;)*) => {$(
        impl<$($generics)*> $type {
            /// Notes a key of a cache, to be invalidated on commit.
            ///
            /// # Examples
            /// See [`WriteTransaction`].
            pub fn invalidate<K: Key, V: Value>(&mut self, cache: &Cache<K, V>, key: K) {
                self.noted.keys(cache, [key]);
            }

            /// Notes keys of a cache, to be invalidated on commit in one round trip.
            ///
            /// # Examples
            /// ```
            /// # fn with(mut transaction: larder_sqlx::WriteTransaction<sqlx::Sqlite>, stock: larder::Cache<i64, (i64,)>) {
            /// transaction.invalidate_many(&stock, [7, 8]);
            /// # }
            /// ```
            pub fn invalidate_many<K: Key, V: Value>(
                &mut self,
                cache: &Cache<K, V>,
                keys: impl IntoIterator<Item = K>,
            ) {
                self.noted.keys(cache, keys);
            }

            /// Notes a tag of a cache, to be invalidated on commit.
            ///
            /// # Examples
            /// ```
            /// # fn with(mut transaction: larder_sqlx::WriteTransaction<sqlx::Sqlite>, stock: larder::Cache<i64, (i64,)>) {
            /// transaction.invalidate_tag(&stock, larder::Tag::new("shop", 3));
            /// # }
            /// ```
            pub fn invalidate_tag<K: Key, V: Value>(&mut self, cache: &Cache<K, V>, tag: Tag) {
                self.noted.tag(cache, tag);
            }

            /// Notes all of a cache, to be cleared on commit.
            ///
            /// # Examples
            /// ```
            /// # fn with(mut transaction: larder_sqlx::WriteTransaction<sqlx::Sqlite>, stock: larder::Cache<i64, (i64,)>) {
            /// transaction.clear(&stock);
            /// # }
            /// ```
            pub fn clear<K: Key, V: Value>(&mut self, cache: &Cache<K, V>) {
                self.noted.all(cache);
            }
        }

        impl<$($generics)*> Deref for $type {
            type Target = DB::Connection;

            fn deref(&self) -> &DB::Connection {
                &self.transaction
            }
        }

        impl<$($generics)*> DerefMut for $type {
            fn deref_mut(&mut self) -> &mut DB::Connection {
                &mut self.transaction
            }
        }

        impl<$($generics)*> fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($type)).field("noted", &self.noted).finish_non_exhaustive()
            }
        }
    )*};
}
notes! {
    [DB: Database] WriteTransaction<DB>;
    ['t, DB: Database] Savepoint<'t, DB>;
}

/// How far [`WriteTransaction::commit`] came.
///
/// # Examples
/// ```
/// # async fn with(transaction: larder_sqlx::WriteTransaction<sqlx::Sqlite>) -> Result<(), Box<dyn std::error::Error>> {
/// use larder_sqlx::CommitError;
/// match transaction.commit().await {
///     // written; it is tried again until the store acknowledges, and not served by this process meanwhile
///     Err(CommitError::Invalidate(error)) => eprintln!("other processes may read old values: {error}"),
///     other => other?,
/// }
/// # Ok(()) }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The write guard was not acknowledged: the transaction was rolled back.
    #[error("the write guard was not acknowledged; the transaction was rolled back")]
    Guard(#[source] larder::Error),
    /// The commit failed, or its answer was lost. What was noted was invalidated nevertheless.
    #[error("the commit failed, or its answer was lost")]
    Commit(#[source] sqlx::Error),
    /// The transaction is committed, and an invalidation was not acknowledged: as
    /// [`Cache::invalidate`](larder::Cache::invalidate), it is tried again in the background.
    #[error("committed, but an invalidation was not acknowledged yet")]
    Invalidate(#[source] larder::Error),
}
