//! Invalidation from the database: triggers record changes, and the processes that cache them follow.

pub(crate) mod feed;
mod follow;
mod values;
mod watched;

use std::fmt;
use std::time::Duration;

use larder::Error;
use sqlx::Pool;

pub use feed::Feed;
use feed::{Outbox, Table};
pub use follow::{FollowStats, Following};
pub use values::{Column, ColumnValue, FromColumns, Unreadable};
pub(crate) use watched::Name;
pub use watched::Watched;

/// The default name of the outbox.
const OUTBOX: &str = "larder_changes";
/// The maximum length of its name. A longer one would not leave room for the names of triggers.
const LONGEST_NAME: usize = 40;
const POLL: Duration = Duration::from_millis(200);
const KEEP: Duration = Duration::from_secs(600);
const LONGEST_TRANSACTION: Duration = Duration::from_secs(600);

/// Invalidation from the database: **each write invalidates the caches, also by `psql`, a migration or a program in
/// another language.** For PostgreSQL, MySQL/MariaDB and SQLite.
///
/// Triggers write each changed row's keys into a table, the *outbox*, in the transaction of the write itself. Each
/// process with a cache follows the outbox: it polls every 200 ms. With PostgreSQL it also reads at once, since a
/// NOTIFY wakes it. A notification only wakes: the changes are in the table, so that nothing is lost while a
/// process is disconnected.
///
/// # Steps
/// 1. [`install`](Self::install), once, or a migration with the statements of [`sql`](Self::sql).
/// 2. [`follow`](Self::follow), in each process: it reads the end of the outbox and clears the caches (see
///    [`resumed_as`](Self::resumed_as)). From then on a task reads new changes.
/// 3. The changed keys and tags are invalidated. An invalidation that the cache's store does not acknowledge is
///    retried.
/// 4. Changes that every process must have read, since they are older than [`keep`](Self::keep), are deleted.
///
/// # Guarantee
/// A get that starts after a change was committed, read and acknowledged does not return an older value. The delay
/// has no proven limit: usually it is some milliseconds (PostgreSQL) or the pause between two polls. If the process
/// is disconnected from the database, the delay lasts as long as that. [`Following::is_current`] reports it, and
/// [`Following::sync`] waits for its end. A writer in the same service should also invalidate by itself, as with
/// [`WriteTransaction`](crate::WriteTransaction): only then is the invalidation done when its call returns.
///
/// # Order
/// Numbers are given when rows are written, and transactions commit in another order. PostgreSQL returns the
/// changes that a snapshot shows and the last one did not. For MySQL, missing numbers are read again until
/// [`longest_transaction`](Self::longest_transaction) has passed. SQLite's writers run one after the other. So a
/// transaction that was open while others overtook it is not missed.
///
/// # Limits
/// - A change that fires no trigger is not seen. In MySQL these are `TRUNCATE` and the cascades of foreign keys. In
///   SQLite these are rows that `INSERT OR REPLACE` removes (unless `PRAGMA recursive_triggers`). In all databases
///   these are DDL and disabled triggers. In PostgreSQL TRUNCATE of the watched table is seen, and so are changes
///   that are replicated into it. TRUNCATE or DETACH of one of its partitions is not: call
///   [`Cache::clear`](larder::Cache::clear) after it. With logical replication of all tables, the subscriber
///   ignores the rows of the publisher's outbox, if larder is installed there too: its own triggers record them.
/// - The caches are cleared if earlier changes may be lost: the server was restarted, another took over, or this
///   process was disconnected for longer than `keep`.
/// - Loads must come from the server that is followed, not from a replica of it.
/// - MySQL: a transaction that is open for longer than [`longest_transaction`](Self::longest_transaction) may be
///   missed.
///
/// # Requirements
/// PostgreSQL 14, MySQL 8.0.29, MariaDB 10.6 or SQLite 3.42. Separate connections: two (PostgreSQL), one (MySQL);
/// SQLite's pool is shared. MySQL with a binary log needs `log_bin_trust_function_creators` or `SUPER` for
/// triggers.
///
/// Rights: the role that installs may create tables and triggers. The role that follows may SELECT and DELETE in
/// the outbox, and SELECT, INSERT and UPDATE in `<outbox>_positions`. The roles that write the watched tables need
/// no further rights.
///
/// A pooler without sessions (PgBouncer's transaction mode, from version 1.21 on) drops LISTEN, and polling
/// remains. Before version 1.21, PgBouncer cannot do prepared statements: follow past the pooler. With NOTIFY,
/// PostgreSQL commits the writers of watched tables one after the other, and `PREPARE TRANSACTION` fails: see
/// [`without_notify`](Self::without_notify).
///
/// A transaction that stays open holds back the pruning of the outbox. If a watched column is renamed, writes fail
/// until the triggers are installed again: drop the triggers first, or install in the same transaction
/// (PostgreSQL).
///
/// # Security
/// The triggers run with the rights of the role that installs. Install as the owner of the watched tables, not as a
/// superuser. Keep the outbox in a schema in which only trusted roles may create objects. PostgreSQL: the function
/// refuses tables other than the watched one, and installing fails if the outbox belongs to another role.
/// `SECURITY.md` has the details.
///
/// # Examples
/// ```
/// use larder::Tag;
/// use larder_sqlx::{Changes, Watched};
/// # use std::time::Duration;
/// # use larder::{Cache, Quick, Strategy};
/// # use larder_sqlx::QuerySource;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// # sqlx::query("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category INTEGER)").execute(&pool).await?;
/// # sqlx::query("INSERT INTO products VALUES (7, 'bread', 1)").execute(&pool).await?;
/// # let products: Cache<i64, (String,)> = Cache::builder()
/// #     .backend(Quick::new(10_000))
/// #     .source(QuerySource::new(pool.clone(), "SELECT name FROM products WHERE id = ?"))
/// #     .strategy(Strategy::aside(Duration::from_secs(600)))
/// #     .build()?;
/// let changes = Changes::new(pool.clone()).watch(
///     Watched::table("products")
///         .key(&products, ["id"], |id: i64| id)
///         .tag(&products, ["category"], |category: i64| Tag::new("category", category)),
/// );
/// changes.install().await?;
/// let following = changes.follow().await?;
///
/// products.get(&7).await?;
/// sqlx::query("UPDATE products SET name = 'cake' WHERE id = 7").execute(&pool).await?; // whoever does it
/// following.sync().await; // only a test has to wait
/// assert_eq!(products.get(&7).await?.as_deref(), Some(&("cake".to_owned(),)));
/// # Ok(()) }
/// ```
#[must_use = "call `follow`"]
pub struct Changes<DB: Feed> {
    pool: Pool<DB>,
    outbox: Outbox,
    watched: Vec<Watched>,
    poll: Duration,
    keep: Duration,
    name: Option<String>,
}

impl<DB: Feed> Changes<DB> {
    /// Returns the changes of the pool's database, without watched tables.
    ///
    /// # Examples
    /// See [`Changes`].
    pub fn new(pool: Pool<DB>) -> Self {
        let table = Name::plain(OUTBOX);
        let outbox = Outbox { table, longest_transaction: LONGEST_TRANSACTION, notifies: true };
        Self { pool, outbox, watched: vec![], poll: POLL, keep: KEEP, name: None }
    }

    /// Watches a table, in addition to the others.
    ///
    /// # Examples
    /// See [`Changes`].
    pub fn watch(mut self, table: Watched) -> Self {
        self.watched.push(table);
        self
    }

    /// Sets the name of the outbox, of at most 40 bytes. Default `larder_changes`. All services that watch a table
    /// through one outbox name the same columns. A service that needs other columns uses its own outbox.
    ///
    /// # Examples
    /// ```
    /// # fn with(pool: sqlx::SqlitePool) {
    /// let changes = larder_sqlx::Changes::new(pool).outbox("shop_changes");
    /// # let _ = changes;
    /// # }
    /// ```
    pub fn outbox(mut self, name: impl Into<String>) -> Self {
        self.outbox.table.name = name.into();
        self
    }

    /// Sets the schema (PostgreSQL, default `public`) or database (MySQL, default the pool's) of the outbox.
    ///
    /// # Examples
    /// ```
    /// # fn with(pool: sqlx::SqlitePool) {
    /// let changes = larder_sqlx::Changes::new(pool).outbox_schema("larder");
    /// # let _ = changes;
    /// # }
    /// ```
    pub fn outbox_schema(mut self, schema: impl Into<String>) -> Self {
        self.outbox.table.schema = Some(schema.into());
        self
    }

    /// Sets the pause between two reads of the outbox. Default 200 ms.
    ///
    /// # Examples
    /// ```
    /// # fn with(pool: sqlx::SqlitePool) {
    /// let changes = larder_sqlx::Changes::new(pool).poll(std::time::Duration::from_millis(50));
    /// # let _ = changes;
    /// # }
    /// ```
    pub fn poll(mut self, pause: Duration) -> Self {
        self.poll = pause;
        self
    }

    /// Sets the time for which changes are kept for other processes. A process that was disconnected for longer
    /// clears its caches. The same for all followers. Default 10 min.
    ///
    /// # Examples
    /// ```
    /// # fn with(pool: sqlx::SqlitePool) {
    /// let changes = larder_sqlx::Changes::new(pool).keep(std::time::Duration::from_secs(3_600));
    /// # let _ = changes;
    /// # }
    /// ```
    pub fn keep(mut self, keep: Duration) -> Self {
        self.keep = keep;
        self
    }

    /// MySQL: sets the time for which a missing number may belong to an uncommitted transaction. Changes of a
    /// longer transaction can be missed. Default 10 min. The other databases know it exactly.
    ///
    /// # Examples
    /// ```
    /// # fn with(pool: sqlx::SqlitePool) {
    /// let changes = larder_sqlx::Changes::new(pool).longest_transaction(std::time::Duration::from_secs(3_600));
    /// # let _ = changes;
    /// # }
    /// ```
    pub fn longest_transaction(mut self, longest: Duration) -> Self {
        self.outbox.longest_transaction = longest;
        self
    }

    /// PostgreSQL: installs triggers without NOTIFY, and follows by polling only. For databases with `PREPARE
    /// TRANSACTION`, which fails after a NOTIFY. Also for many short transactions, since those with a NOTIFY commit
    /// one after the other. All services that install through one outbox do the same. Default: changes are
    /// notified.
    ///
    /// # Examples
    /// ```
    /// # fn with(pool: sqlx::SqlitePool) {
    /// let changes = larder_sqlx::Changes::new(pool).without_notify().poll(std::time::Duration::from_millis(50));
    /// # let _ = changes;
    /// # }
    /// ```
    pub fn without_notify(mut self) -> Self {
        self.outbox.notifies = false;
        self
    }

    /// Continues where the last follower of this name stopped, instead of clearing the caches at first. For caches
    /// in a shared store, which outlive their processes.
    ///
    /// The position is stored in the database (`<outbox>_positions`), at most once a second, after all earlier
    /// changes are acknowledged. It is stored when it has changed, and otherwise after a quarter of
    /// [`keep`](Self::keep). Processes that share a store share the name. If no position is stored under it, or it
    /// is older than [`keep`](Self::keep), the caches are cleared all the same.
    ///
    /// Each process that follows invalidates the changes that it reads. On a shared store one is enough: let one of
    /// them follow, or accept that a changed key may be loaded more than once.
    ///
    /// # Examples
    /// ```
    /// # fn with(pool: sqlx::SqlitePool) {
    /// let changes = larder_sqlx::Changes::new(pool).resumed_as("web shop");
    /// # let _ = changes;
    /// # }
    /// ```
    pub fn resumed_as(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    fn tables(&self) -> Vec<Table> {
        let mut tables: Vec<Table> = vec![];
        for Watched { table, columns, .. } in &self.watched {
            let at = tables.iter().position(|known| known.name == *table).unwrap_or_else(|| {
                tables.push(Table { name: table.clone(), columns: vec![] });
                tables.len() - 1
            });
            let new = columns.iter().filter(|column| !tables[at].columns.contains(column)).cloned();
            let new: Vec<Column> = new.collect();
            tables[at].columns.extend(new);
        }
        tables
    }

    /// Returns the statements that create the outbox and the triggers, for a migration. They can be run again after
    /// more columns are watched. With MySQL, [`install`](Self::install) also drops the triggers that they replace.
    ///
    /// # Examples
    /// ```
    /// # use larder_sqlx::{Changes, Watched};
    /// # fn with(pool: sqlx::SqlitePool, products: larder::Cache<i64, String>) {
    /// let changes = Changes::new(pool).watch(Watched::table("products").key(&products, ["id"], |id: i64| id));
    /// for statement in changes.sql() {
    ///     println!("{statement};");
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn sql(&self) -> Vec<String> {
        let triggers = self.tables().into_iter().flat_map(|table| DB::triggers_sql(&self.outbox, &table));
        DB::outbox_sql(&self.outbox).into_iter().chain(triggers).collect()
    }

    /// Returns the statements that remove the triggers, and then the outbox. Run them when no process follows it
    /// any more. (If only the outbox is dropped, every write to the watched tables fails.)
    ///
    /// # Examples
    /// ```
    /// # use larder_sqlx::{Changes, Watched};
    /// # fn with(pool: sqlx::SqlitePool, products: larder::Cache<i64, String>) {
    /// let changes = Changes::new(pool).watch(Watched::table("products").key(&products, ["id"], |id: i64| id));
    /// assert!(changes.removal_sql()[0].starts_with("DROP TRIGGER"));
    /// # }
    /// ```
    #[must_use]
    pub fn removal_sql(&self) -> Vec<String> {
        DB::removal_sql(&self.outbox, &self.tables())
    }

    fn check(&self) -> larder::Result<()> {
        let name = &self.outbox.table.name;
        if name.is_empty() || name.len() > LONGEST_NAME {
            return Err(Error::config(format!("the name of the outbox, {name:?}, must have 1 to 40 bytes")));
        }
        if self.watched.is_empty() {
            return Err(Error::config("no table is watched: call `.watch(Watched::table(..).key(..))`"));
        }
        if self.poll.is_zero() || self.keep < self.poll * 10 {
            return Err(Error::config(
                "give a pause between looks of at least 1 ms, and keep what was read for ten pauses or longer",
            ));
        }
        let elsewhere = self.watched.iter().any(|watched| watched.table.schema.is_some());
        if elsewhere && self.outbox.table.schema.as_deref().or(DB::SCHEMA).is_none() {
            return Err(Error::config(
                "a trigger looks for the outbox beside its table: say where it is by `.outbox_schema(..)`",
            ));
        }
        self.watched.iter().try_for_each(Watched::check)
    }
}

impl<DB: Feed> Changes<DB> {
    /// Creates the outbox and the triggers, and replaces older ones. Needs the right to create them.
    ///
    /// Objects that exist already and are up to date are not touched. New triggers wait for transactions that have
    /// used the table, for at most 3 s with PostgreSQL and MySQL. Meanwhile the table's writers wait (MySQL: its
    /// readers too).
    ///
    /// # Errors
    /// An error of the database, such as a lock timeout. [`Config`](larder::ErrorKind::Config) if the watched
    /// tables cannot work.
    ///
    /// # Cancellation safety
    /// PostgreSQL and SQLite install all or nothing. With MySQL call it again.
    ///
    /// # Examples
    /// See [`Changes`].
    pub async fn install(&self) -> larder::Result<()> {
        self.check()?;
        let failed = |error: sqlx::Error| match crate::error::is_lock_timeout(&error) {
            true => Error::backend(
                "installing the triggers (a transaction that is open has a watched table locked: end it, then install again)",
                error,
            ),
            false => Error::backend("installing the triggers", error),
        };
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        DB::install(&mut connection, &self.outbox, &self.tables()).await.map_err(failed)
    }

    /// Begins to follow. Once this has returned, every change that is committed from now on will be read. The
    /// watched caches are cleared, unless a position is [resumed](Self::resumed_as).
    ///
    /// # Errors
    /// An error of the database, such as a missing outbox. [`Config`](larder::ErrorKind::Config) if the watched
    /// tables cannot work, or outside of a tokio runtime. Later errors are counted and traced, and following
    /// continues.
    ///
    /// # Cancellation safety
    /// If it is dropped before it returns, no change is followed.
    ///
    /// # Examples
    /// See [`Changes`].
    pub async fn follow(self) -> larder::Result<Following> {
        self.check()?;
        follow::start(self).await
    }
}

impl<DB: Feed> fmt::Debug for Changes<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Changes")
            .field("outbox", &self.outbox.table)
            .field("watched", &self.watched)
            .finish_non_exhaustive()
    }
}
