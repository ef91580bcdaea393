//! What following changes needs of a database.

use std::fmt::{Debug, Display};
use std::future::Future;
use std::str::FromStr;
use std::time::Duration;

use sqlx::Pool;

use super::values::Column;
use super::watched::Name;
use crate::Dialect;

/// Where changes are written down.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Outbox {
    pub(crate) table: Name,
    /// MySQL: for how long a number that is missing may belong to a transaction that has not ended.
    pub(crate) longest_transaction: Duration,
    /// PostgreSQL: whether a write of a watched table wakes the followers.
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

    /// The name of what belongs to a watched table: the same in every version of this crate.
    pub(crate) fn own(&self, what: &str) -> String {
        format!("{}_{:016x}", self.table.name, fnv(what))
    }
}

/// FNV-1a.
pub(crate) fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A table that triggers are written for.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Table {
    pub(crate) name: Name,
    pub(crate) columns: Vec<Column>,
}

/// What a look at the outbox came to.
#[doc(hidden)]
#[derive(Debug)]
pub struct Seen<P> {
    /// Everything up to here was handed over.
    pub(crate) position: P,
    /// The database's clock, in seconds.
    pub(crate) at: f64,
    /// The database was restarted, replaced or set back: it may have forgotten what it had told.
    pub(crate) restarted: bool,
}

/// What is done with each change: where it comes from, and the row's image.
pub(crate) type Each<'a> = dyn FnMut(&str, Option<&str>) + Send + 'a;

/// A database whose changes can be followed: `sqlx::Sqlite`, `sqlx::Postgres`, `sqlx::MySql`.
#[diagnostic::on_unimplemented(
    message = "larder-sqlx cannot follow the changes of `{Self}`",
    note = "turn on the feature of the database: `sqlite`, `postgres` or `mysql`"
)]
pub trait Feed: Dialect {
    /// How far the outbox was read; as text it can be kept.
    #[doc(hidden)]
    type Position: Clone + Debug + Display + FromStr + PartialEq + Send + Sync + 'static;

    /// The schema of names without one, where they are always written with one.
    #[doc(hidden)]
    const SCHEMA: Option<&'static str>;

    /// Whether [`own_pool`](Self::own_pool) makes one.
    #[doc(hidden)]
    const OWN_POOL: bool;

    /// The pool of the follower, with the callbacks of the user's: `after_connect` may choose a role.
    #[doc(hidden)]
    fn own_pool(pool: &Pool<Self>) -> Pool<Self>;

    /// What makes the outbox.
    #[doc(hidden)]
    fn outbox_sql(outbox: &Outbox) -> Vec<String>;

    /// What makes the triggers of a table.
    #[doc(hidden)]
    fn triggers_sql(outbox: &Outbox, table: &Table) -> Vec<String>;

    /// What removes the triggers and the outbox.
    #[doc(hidden)]
    fn removal_sql(outbox: &Outbox, tables: &[Table]) -> Vec<String>;

    /// Makes the outbox and the triggers, in place of older ones.
    #[doc(hidden)]
    fn install(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        tables: &[Table],
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The end of the outbox.
    #[doc(hidden)]
    fn end(
        connection: &mut Self::Connection,
        outbox: &Outbox,
    ) -> impl Future<Output = Result<Seen<Self::Position>, sqlx::Error>> + Send;

    /// Hands over every change that is not before `from`, each at least once.
    #[doc(hidden)]
    fn read(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        from: &Self::Position,
        each: &mut Each<'_>,
    ) -> impl Future<Output = Result<Seen<Self::Position>, sqlx::Error>> + Send;

    /// Deletes what was before `position`.
    #[doc(hidden)]
    fn prune(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        position: &Self::Position,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// The position that is kept under a name, and when it was.
    #[doc(hidden)]
    fn kept(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        name: &str,
    ) -> impl Future<Output = Result<Option<(String, f64)>, sqlx::Error>> + Send;

    /// Keeps a position under a name.
    #[doc(hidden)]
    fn keep(
        connection: &mut Self::Connection,
        outbox: &Outbox,
        name: &str,
        position: &str,
        at: f64,
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;

    /// Calls `wake` whenever there is something to read, as far as the database tells. Ends with an error or never.
    #[doc(hidden)]
    fn wakes(
        pool: &Pool<Self>,
        outbox: &Outbox,
        wake: &(dyn Fn() + Send + Sync),
    ) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

/// A schema-qualified, quoted name.
pub(crate) fn full<DB: Dialect>(name: &Name, default: Option<&str>) -> String {
    match name.schema.as_deref().or(default) {
        Some(schema) => format!("{}.{}", DB::quote(schema), DB::quote(&name.name)),
        None => DB::quote(&name.name),
    }
}

/// The only text in the statements of this module that is not constant is quoted by [`Dialect`].
pub(crate) fn safe(sql: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(sql)
}

/// `DROP TABLE`s of what [`Feed::outbox_sql`] makes.
pub(crate) fn drop_tables<DB: Feed>(outbox: &Outbox) -> impl Iterator<Item = String> {
    let tables = [outbox.table.clone(), outbox.positions()];
    tables.into_iter().map(|table| format!("DROP TABLE IF EXISTS {}", full::<DB>(&table, DB::SCHEMA)))
}

/// Gives up when the database stops answering in the middle of something.
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
