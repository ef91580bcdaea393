//! Invalidation from the database: triggers write down what changed, and whoever caches it follows.

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

/// The name of the outbox, unless another is given.
const OUTBOX: &str = "larder_changes";
/// A longer name would not leave room for the names of triggers.
const LONGEST_NAME: usize = 40;
const POLL: Duration = Duration::from_millis(200);
const KEEP: Duration = Duration::from_secs(600);
const LONGEST_TRANSACTION: Duration = Duration::from_secs(600);

/// Invalidation from the database: **whoever writes, also `psql`, a migration or a program in another language, invalidates
/// the caches.** For PostgreSQL, MySQL/MariaDB and SQLite.
///
/// Triggers write each changed row's keys into a table, the *outbox*, in the transaction of the write itself. Each process
/// that caches follows the outbox: it looks every 200 ms, and with PostgreSQL at once, since there a NOTIFY wakes it. A
/// notification is only that: what counts is in the table, so nothing is lost while a process is cut off.
///
/// # What happens
/// 1. [`install`](Self::install), once, or in a migration with what [`sql`](Self::sql) answers.
/// 2. [`follow`](Self::follow), in each process: the end of the outbox is looked up, the caches are cleared (see
///    [`resumed_as`](Self::resumed_as)), and from then on a task reads what comes.
/// 3. What was read is invalidated; what the cache's store does not acknowledge stays noted and is tried again.
/// 4. What every process must have read, since it is older than [`keep`](Self::keep), is deleted.
///
/// # What is promised
/// A get that starts after a change was committed, read and acknowledged does not return an older value. How long that takes
/// is a matter of time and not of proof: usually some milliseconds (PostgreSQL) or the pause between two looks. While the
/// process is cut off from the database it takes as long as that lasts: [`Following::is_current`] tells, and
/// [`Following::sync`] waits for it. A writer who can should invalidate by itself too, as by
/// [`WriteTransaction`](crate::WriteTransaction): only that is there when its call returns.
///
/// # Order
/// Numbers are given when rows are written, and transactions commit in another order. PostgreSQL is asked for what a snapshot
/// shows that the last one did not; for MySQL, missing numbers are looked for until
/// [`longest_transaction`](Self::longest_transaction) has passed; SQLite's writers follow one another. So a transaction that
/// was open while others overtook it is not missed.
///
/// # Where the promise ends
/// - What fires no trigger is not seen: in MySQL `TRUNCATE` and the cascades of foreign keys, in SQLite what `INSERT OR
///   REPLACE` removes (unless `PRAGMA recursive_triggers`), everywhere DDL and triggers that were disabled. In PostgreSQL
///   TRUNCATE of the watched table is seen, and so is what is replicated into it; TRUNCATE or DETACH of one of its partitions is
///   not: call [`Cache::clear`](larder::Cache::clear) after it. With logical replication of all tables the subscriber leaves
///   out the rows of the publisher's outbox, if larder is installed there too: its own triggers write them down.
/// - When the server was restarted, another took over, or this process was cut off for longer than `keep`, the caches are
///   cleared: what was told before may be gone.
/// - Loads must come from the server that is followed, not from a replica behind it.
/// - MySQL: a transaction that is open for longer than [`longest_transaction`](Self::longest_transaction).
///
/// # What it needs
/// PostgreSQL 14, MySQL 8.0.29, MariaDB 10.6 or SQLite 3.42. Connections of its own: two (PostgreSQL), one (MySQL); SQLite's
/// pool is shared. Who installs may create tables and triggers; who follows may SELECT and DELETE in the outbox, and SELECT,
/// INSERT and UPDATE in `<outbox>_positions`; who writes the watched tables needs nothing. Through a pooler that gives no
/// sessions (PgBouncer's transaction mode, from version 1.21 on) LISTEN hears nothing, and looking remains; before 1.21, which
/// cannot do prepared statements, follow past the pooler. MySQL with a binary log needs `log_bin_trust_function_creators` or
/// `SUPER` for triggers. NOTIFY makes PostgreSQL commit those who write watched tables one after the other, and
/// `PREPARE TRANSACTION` fail: see [`without_notify`](Self::without_notify).
///
/// A transaction that stays open holds back the pruning of the outbox. To rename a watched column makes writes fail until the
/// triggers are installed again: drop the triggers first, or install in the same transaction (PostgreSQL).
///
/// # Security
/// The triggers run with the rights of the role that installs. Install as the owner of the watched tables, not as a superuser, and
/// keep the outbox in a schema in which only trusted roles may create objects. PostgreSQL: the function refuses tables
/// other than the watched one, and installing fails if the outbox belongs to another role. `SECURITY.md` has the details.
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
    /// The changes of the pool's database, of which nothing is watched yet.
    ///
    /// # Examples
    /// See [`Changes`].
    pub fn new(pool: Pool<DB>) -> Self {
        let table = Name::plain(OUTBOX);
        let outbox = Outbox { table, longest_transaction: LONGEST_TRANSACTION, notifies: true };
        Self { pool, outbox, watched: vec![], poll: POLL, keep: KEEP, name: None }
    }

    /// Watches a table, beside the others.
    ///
    /// # Examples
    /// See [`Changes`].
    pub fn watch(mut self, table: Watched) -> Self {
        self.watched.push(table);
        self
    }

    /// The name of the outbox, of at most 40 bytes. Default `larder_changes`. All who watch a table through one outbox name
    /// the same columns; services that need others take an outbox of their own.
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

    /// The schema (PostgreSQL, default `public`) or database (MySQL, default the pool's) of the outbox.
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

    /// The pause between two looks at the outbox. Default 200 ms.
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

    /// How long what was read is kept for others. A process that was cut off for longer clears its caches. The same for all
    /// who follow. Default 10 min.
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

    /// MySQL: for how long a missing number may belong to a transaction that is not committed yet. What a longer one changes
    /// can be missed. Default 10 min. The other databases know it exactly.
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

    /// PostgreSQL: installs triggers without NOTIFY, and follows by looking only. For databases with `PREPARE TRANSACTION`, which
    /// fails after a NOTIFY, and for many short transactions, since those with a NOTIFY commit one after the other. All who
    /// install through one outbox do the same. Default: changes are notified.
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

    /// Goes on where the last one of this name stopped, instead of clearing the caches at first: for caches in a shared store,
    /// which outlive their processes. The position is kept in the database (`<outbox>_positions`), every second that
    /// something changes, once all that was read is acknowledged. Processes that share a store share the name. Where nothing
    /// is kept under it, or it is older than [`keep`](Self::keep), the caches are cleared all the same.
    ///
    /// Every process that follows invalidates what it reads. On a shared store one is enough: let one of them follow, or
    /// accept that a changed key may be loaded more than once.
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

    /// The statements that make the outbox and the triggers, for a migration. They can be run again after more columns are
    /// watched; with MySQL [`install`](Self::install) also drops the triggers that they replace.
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

    /// The statements that remove the triggers, and then the outbox. Nobody must follow it any more. (To drop the outbox alone
    /// would let every write to the watched tables fail.)
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
    /// Makes the outbox and the triggers, in place of older ones. Needs the right to create them.
    ///
    /// What is there already and as it should be is not touched. To attach new triggers waits for transactions that have used the
    /// table, and meanwhile its writers wait (MySQL: its readers too): for at most 3 s with PostgreSQL and MySQL.
    ///
    /// # Errors
    /// The database's, such as a lock that was not to be had; [`Config`](larder::ErrorKind::Config) when what is watched cannot
    /// work.
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

    /// Begins to follow: when this returned, every change that is committed from now on will be read. The watched caches are
    /// cleared, unless a position is [resumed](Self::resumed_as).
    ///
    /// # Errors
    /// The database's, such as a missing outbox; [`Config`](larder::ErrorKind::Config) when what is watched cannot work, or
    /// outside of a tokio runtime. Later errors are counted, traced and got over.
    ///
    /// # Cancellation safety
    /// Dropped on its way, nothing is followed.
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
