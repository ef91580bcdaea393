//! Sources over SQL databases with [sqlx](https://docs.rs/sqlx), and invalidations that come from them: SQLite, PostgreSQL,
//! MySQL and MariaDB.
//!
//! | type | purpose |
//! |---|---|
//! | [`QuerySource`] | `SELECT .. WHERE id = ?`: one query a key |
//! | [`BatchQuerySource`] | `SELECT .. WHERE id IN ({keys})`: one query for many keys |
//! | [`query_fn`] | a closure that gets the pool: several queries a key |
//! | [`BindKey`] | the values of a key: integers, strings, bytes, tuples, your own types |
//! | [`WriteTransaction`] | a transaction whose invalidations happen when it commits |
//! | [`Changes`] | invalidation by triggers: every write invalidates, also by `psql` |
//! | [`SourceError`] | sqlx's error, or a query that does not fit its key |
//!
//! Values are bound, never written into the query. A query that does not fit its key is refused when the cache is built.
//! The pool is the user's, and so are sqlx's runtime and TLS: enable `runtime-tokio` and what you need on your own
//! dependency on sqlx.
//!
//! # Ways to invalidate
//! | writer | use | reads are fresh |
//! |---|---|---|
//! | this service, in one place | [`Cache::invalidate`](larder::Cache::invalidate) after the commit | when it returned |
//! | this service, in transactions of several steps | [`WriteTransaction`] | when `commit` returned |
//! | the same, which may crash between commit and invalidation | [`WriteTransaction::guarded`] | from the commit on |
//! | other programs, migrations, people too | [`Changes`], in addition to the above | some milliseconds later, or up to 200 without PostgreSQL |
//!
//! sqlx keeps prepared statements, with the types of the bound values, by the query's text. With PostgreSQL, do not
//! use one text with two types of keys on one pool.
//!
//! # Features
//! `sqlite` (default), `postgres`, `mysql`: the databases. `uuid`: UUIDs as keys.
//!
//! # Examples
//! ```
//! use std::time::Duration;
//! use larder::{Cache, Quick, Strategy};
//! use larder_sqlx::QuerySource;
//!
//! #[derive(sqlx::FromRow)]
//! struct Product { name: String, price: i64 }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
//! # sqlx::query("CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, price INTEGER)").execute(&pool).await?;
//! # sqlx::query("INSERT INTO products VALUES (7, 'bread', 250)").execute(&pool).await?;
//! let products: Cache<i64, Product> = Cache::builder()
//!     .backend(Quick::new(10_000))
//!     .source(QuerySource::new(pool, "SELECT name, price FROM products WHERE id = ?"))
//!     .strategy(Strategy::aside(Duration::from_secs(600)))
//!     .build()?;
//! let bread = products.get(&7).await?.expect("there is bread");
//! assert_eq!((bread.name.as_str(), bread.price), ("bread", 250));
//! # Ok(()) }
//! ```

#![cfg_attr(
    not(any(feature = "sqlite", feature = "postgres", feature = "mysql")),
    allow(dead_code, unreachable_code, unused_imports, unused_macros, unused_variables)
)]

mod batch;
mod bind;
mod changes;
mod dialect;
mod error;
mod function;
mod noted;
mod placeholder;
mod single;
mod transaction;

pub use batch::BatchQuerySource;
pub use bind::{BindKey, BindParts, BindTo, Native};
pub use changes::{
    Changes, Column, ColumnValue, Feed, FollowStats, Following, FromColumns, Unreadable, Watched,
};
pub use dialect::Dialect;
pub use error::SourceError;
pub use function::{QueryFn, query_fn};
pub use single::QuerySource;
pub use transaction::{CommitError, Savepoint, WriteTransaction};
