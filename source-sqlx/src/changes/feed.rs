//! The interface of a database whose changes can be followed.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::Pool;

use super::values::Column;
use super::watched::Name;
use crate::Dialect;

/// The table in which changes are recorded, and its settings.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Outbox {
    pub(crate) table: Name,
    /// MySQL: the time for which a missing number may belong to a transaction that has not ended.
    pub(crate) longest_transaction: Duration,
    /// PostgreSQL: `true` if a write of a watched table wakes the followers.
    pub(crate) notifies: bool,
}

impl Outbox {
    /// The table in which positions are kept.
    pub(crate) fn positions(&self) -> Name {
        self.beside("_positions")
    }

    pub(crate) fn beside(&self, suffix: &str) -> Name {
        Name { schema: self.table.schema.clone(), name: format!("{}{suffix}", self.table.name) }
    }

    /// The name of an object that belongs to a watched table, which is the same in every version of this crate.
    pub(crate) fn own(&self, what: &str) -> String {
        format!("{}_{:016x}", self.table.name, fnv(what))
    }
}

/// The FNV-1a hash of a text.
pub(crate) fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A table with triggers.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) name: Name,
    pub(crate) columns: Vec<Column>,
}

/// The result of one read of the outbox.
#[doc(hidden)]
#[derive(Debug)]
pub struct Seen<P> {
    /// The position up to which all changes were handed over.
    pub(crate) position: P,
    /// The time of the database's clock, in seconds.
    pub(crate) at: f64,
    /// `true` if the database was restarted, replaced or restored: it may have forgotten earlier changes.
    pub(crate) restarted: bool,
}

/// The handler of each change, with its table and the row's image.
pub(crate) type Each<'a> = dyn FnMut(&str, Option<&str>) + Send + 'a;

/// A database whose changes can be followed: `sqlx::Sqlite`, `sqlx::Postgres`, `sqlx::MySql`.
#[diagnostic::on_unimplemented(
    message = "larder-sqlx cannot follow the changes of `{Self}`",
    note = "turn on the feature of the database: `sqlite`, `postgres` or `mysql`"
)]
pub trait Feed: Dialect {
    /// The position up to which the outbox was read, which can be stored as text.
    #[doc(hidden)]
    type Position: Clone + Debug + Display + FromStr + PartialEq + Send + Sync + 'static;

    /// The default schema of names, if names are always written with a schema.
    #[doc(hidden)]
    const SCHEMA: Option<&'static str>;

    /// `true` if [`own_pool`](Self::own_pool) makes a separate pool.
    #[doc(hidden)]
    const OWN_POOL: bool;

    /// Returns the pool of the follower, with the user's callbacks: `after_connect` may select a role.
    #[doc(hidden)]
    fn own_pool(pool: &Pool<Self>) -> Pool<Self>;

    /// Returns the statements that create the outbox.
    #[doc(hidden)]
    fn outbox_sql(outbox: &Outbox) -> Vec<String>;

    /// Returns the statements that create the triggers of a table.
    #[doc(hidden)]
    fn triggers_sql(outbox: &Outbox, table: &Table) -> Vec<String>;

    /// Returns the statements that remove the triggers and the outbox.
    #[doc(hidden)]
    fn removal_sql(outbox: &Outbox, tables: &[Table]) -> Vec<String>;

    /// Creates the outbox and the triggers, and replaces older ones.
    #[doc(hidden)]
    fn install(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        tables: &[Table],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Reads the end of the outbox.
    #[doc(hidden)]
    fn end(
        connection: &mut Self::Connection,
        outbox: &Outbox,
    ) -> impl Future<Output = Result<Seen<Self::Position>, sqlx::Error>> + Send;

    /// Hands over every change from `from` on, each at least once.
    #[doc(hidden)]
    fn read(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        from: &Self::Position,
        each: &mut Each<'_>,
    ) -> impl Future<Output = Result<Seen<Self::Position>, sqlx::Error>> + Send;

    /// Deletes the changes before `position`.
    #[doc(hidden)]
    fn prune(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        position: &Self::Position,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Reads the position that is stored under a name, and the time of storing.
    #[doc(hidden)]
    fn kept(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        name: &str,
    ) -> impl Future<Output = Result<Option<(String, f64)>, sqlx::Error>> + Send;

    /// Stores a position under a name.
    #[doc(hidden)]
    fn keep(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        name: &str,
        position: &str,
        at: f64,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Calls `wake` for each notification of the database that a change may be ready. Ends with an error or never.
    #[doc(hidden)]
    fn wakes(
        pool: &Pool<Self>,
        outbox: &Outbox,
        wake: &(dyn Fn() + Send + Sync),
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// Returns a schema-qualified, quoted name.
pub(crate) fn full<DB: Dialect>(name: &Name, default: Option<&str>) -> String {
    match name.schema.as_deref().or(default) {
        Some(schema) => format!("{}.{}", DB::quote(schema), DB::quote(&name.name)),
        None => DB::quote(&name.name),
    }
}

/// Asserts that a statement is safe: its only text that is not constant is quoted by [`Dialect`].
pub(crate) fn safe(sql: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(sql)
}

/// Returns the `DROP TABLE` statements for the tables of [`Feed::outbox_sql`].
pub(crate) fn drop_tables<DB: Feed>(outbox: &Outbox) -> impl Iterator<Item = String> {
    let tables = [outbox.table.clone(), outbox.positions()];
    tables.into_iter().map(|table| format!("DROP TABLE IF EXISTS {}", full::<DB>(&table, DB::SCHEMA)))
}

/// Ends with an error if the database stops answering.
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(crate) async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer,
        Err(elapsed) => Err(sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, elapsed))),
    }
}
