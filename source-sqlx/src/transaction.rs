//! Transactions with invalidations.

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use larder::cache::{Key, Value};
use larder::{Cache, Tag};
use sqlx::{Connection, Database, Pool, Transaction};
use tokio::runtime::Handle;

use crate::noted::Noted;

/// A transaction with invalidations: those that are noted while it writes are done when it commits. If it is rolled
/// back or dropped, they are forgotten.
///
/// It replaces sqlx's own transaction: `&mut *transaction` executes queries. An invalidation *inside* of a
/// transaction is a common error: a reader in between loads the old row and keeps it.
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

/// A savepoint in a [`WriteTransaction`]: released by [`commit`](Self::commit), undone by
/// [`rollback`](Self::rollback) and when it is dropped.
///
/// Invalidations that are noted in it belong to the whole transaction, **also when the savepoint is rolled back**:
/// they are done when the transaction commits. That costs a load of an unchanged row. Forgetting them could cost a
/// stale value, since a savepoint may leave traces (sequences, statements that commit by themselves, a rollback
/// that failed).
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
    /// The errors of [`Pool::begin`].
    ///
    /// # Examples
    /// See [`WriteTransaction`].
    pub async fn begin(pool: &Pool<DB>) -> Result<Self, sqlx::Error> {
        Ok(pool.begin().await?.into())
    }

    /// Protects the noted keys around the commit with a [`WriteGuard`](larder::cache::WriteGuard) of this life. For
    /// writers that may crash between commit and invalidation. The guard is taken before COMMIT and ended after it.
    /// The life must be longer than a commit may take. Default no guard. Tags cannot be guarded: they are
    /// invalidated after the commit.
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
    /// An error of the database.
    ///
    /// # Examples
    /// See [`Savepoint`].
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_, DB>, sqlx::Error> {
        Ok(Savepoint { transaction: self.transaction.begin().await?, noted: &mut self.noted })
    }

    /// Commits, and then does the noted invalidations. A read that starts after this returned `Ok` sees the
    /// transaction.
    ///
    /// # Errors
    /// [`CommitError`] tells how far it came. Whenever the transaction may have been committed, the noted
    /// invalidations are done, also if the commit's answer was lost. A write guard then stays until its life ends,
    /// since the commit may still happen.
    ///
    /// # Cancellation safety
    /// Once polled, it continues in the background (on tokio), commit and invalidations alike.
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
            // nothing was written, so keys that are guarded already need no guard
            _ = transaction.rollback().await;
            _ = noted.settle().await;
            return Err(CommitError::Guard(error));
        }
        let committed = transaction.commit().await;
        // unless the database refused it, the commit may have happened, or may still happen
        if committed.as_ref().is_err_and(|error| !is_refusal(error)) {
            noted.leave_guards();
        }
        let settled = noted.settle().await;
        committed.map_err(CommitError::Commit)?;
        settled.map_err(CommitError::Invalidate)
    }

    /// Rolls back, and forgets the noted invalidations.
    ///
    /// # Errors
    /// An error of the database. The connection then ends, and the transaction with it.
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

/// Returns `true` if a failed commit is known not to have happened: a constraint was broken, or another transaction
/// conflicted. A connection that the server ended tells nothing: the commit may be done, and wait for a replica.
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
    /// Wraps a transaction that was begun in another way, as by [`Pool::begin_with`].
    fn from(transaction: Transaction<'static, DB>) -> Self {
        Self { transaction, noted: Noted::unbounded(), guard: None }
    }
}

impl<DB: Database> Savepoint<'_, DB> {
    /// Sets a savepoint in this savepoint.
    ///
    /// # Errors
    /// An error of the database.
    ///
    /// # Examples
    /// See [`Savepoint`].
    pub async fn savepoint(&mut self) -> Result<Savepoint<'_, DB>, sqlx::Error> {
        Ok(Savepoint { transaction: self.transaction.begin().await?, noted: self.noted })
    }

    /// Releases the savepoint. Its writes take effect if the transaction commits.
    ///
    /// # Errors
    /// An error of the database.
    ///
    /// # Examples
    /// See [`Savepoint`].
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.transaction.commit().await
    }

    /// Undoes the writes since the savepoint. Noted invalidations stay noted: see [`Savepoint`].
    ///
    /// # Errors
    /// An error of the database.
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
            /// Notes the invalidation of a key of a cache, done on commit.
            ///
            /// # Examples
            /// See [`WriteTransaction`].
            pub fn invalidate<K: Key, V: Value>(&mut self, cache: &Cache<K, V>, key: K) {
                self.noted.keys(cache, [key]);
            }

            /// Notes the invalidation of keys of a cache, done on commit in one round trip.
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

            /// Notes the invalidation of a tag of a cache, done on commit.
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

            /// Notes a clear of a cache, done on commit.
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

/// The outcome of a [`WriteTransaction::commit`] that failed.
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
    /// The commit failed, or its answer was lost. The noted invalidations were done nevertheless.
    #[error("the commit failed, or its answer was lost")]
    Commit(#[source] sqlx::Error),
    /// The transaction is committed, and an invalidation was not acknowledged. As with
    /// [`Cache::invalidate`](larder::Cache::invalidate), it is retried in the background.
    #[error("committed, but an invalidation was not acknowledged yet")]
    Invalidate(#[source] larder::Error),
}
