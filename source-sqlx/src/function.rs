//! Loads with more than one query.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;

use larder::Source;
use larder::error::BoxError;
use sqlx::{Database, Pool};

/// Returns a source made of an async closure that gets the pool. For loads of several queries, and for queries that
/// sqlx's macros check at compile time.
///
/// Two queries on a pool may see two states of the database. That is correct for a cache that is invalidated by
/// every change. If both must see one state, read them in one transaction, which the closure begins.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # use larder::Source;
/// # let pool = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
/// # sqlx::raw_sql("CREATE TABLE orders (id INTEGER, total INTEGER); INSERT INTO orders VALUES (7, 250);
/// #     CREATE TABLE items (order_id INTEGER, name TEXT); INSERT INTO items VALUES (7, 'bread')").execute(&pool).await?;
/// struct Order { total: i64, items: Vec<String> }
///
/// let orders = larder_sqlx::query_fn(pool, |pool, id: i64| async move {
///     let order: Option<(i64,)> =
///         sqlx::query_as("SELECT total FROM orders WHERE id = ?").bind(id).fetch_optional(&pool).await?;
///     let Some((total,)) = order else { return Ok(None) };
///     let items =
///         sqlx::query_scalar("SELECT name FROM items WHERE order_id = ?").bind(id).fetch_all(&pool).await?;
///     Ok::<_, sqlx::Error>(Some(Order { total, items }))
/// });
/// let order = orders.load(&7).await?.expect("there is one");
/// assert_eq!((order.total, order.items), (250, vec!["bread".to_owned()]));
/// # Ok(()) }
/// ```
pub fn query_fn<K, T, E, DB, F, Fut>(pool: Pool<DB>, load: F) -> QueryFn<DB, F, T, E>
where
    DB: Database,
    F: Fn(Pool<DB>, K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<T>, E>> + Send,
{
    QueryFn { pool, load, loads: PhantomData }
}

/// A source made of a closure, returned by [`query_fn`].
///
/// # Examples
/// See [`query_fn`].
pub struct QueryFn<DB: Database, F, T, E> {
    pool: Pool<DB>,
    load: F,
    loads: PhantomData<fn() -> Result<T, E>>,
}

impl<DB: Database, F, T, E> fmt::Debug for QueryFn<DB, F, T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryFn").finish_non_exhaustive()
    }
}

impl<K, T, E, DB, F, Fut> Source<K> for QueryFn<DB, F, T, E>
where
    K: Clone + Send + Sync + 'static,
    T: Send + Sync + 'static,
    E: Into<BoxError> + Send + 'static,
    DB: Database,
    F: Fn(Pool<DB>, K) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Option<T>, E>> + Send,
{
    type Value = T;
    type Error = E;

    async fn load(&self, key: &K) -> Result<Option<T>, E> {
        (self.load)(self.pool.clone(), key.clone()).await
    }
}
