//! One query for each key.

use std::fmt;
use std::marker::PhantomData;

use larder::Source;
use sqlx::{Connection as _, Database, Executor, FromRow, IntoArguments, Pool, SqlSafeStr, SqlStr};

use crate::error::is_outdated_statement;
use crate::placeholder::Placeholders;
use crate::{BindTo, Dialect, SourceError};

/// A source that loads a key with a query of the user. If there is no row, the value is absent; further rows are
/// ignored.
///
/// # Examples
/// ```
/// use larder_sqlx::QuerySource;
///
/// #[derive(sqlx::FromRow)]
/// struct Price { cents: i64 }
///
/// # fn with(pool: sqlx::SqlitePool) {
/// let by_id = QuerySource::<Price, _>::new(pool.clone(), "SELECT cents FROM prices WHERE id = ?");
/// let by_shop_and_id = QuerySource::<Price, _>::new(pool, "SELECT cents FROM prices WHERE shop = ? AND id = ?");
/// # let _ = (by_id, by_shop_and_id);
/// # }
/// ```
pub struct QuerySource<T, DB: Database> {
    pool: Pool<DB>,
    sql: SqlStr,
    placeholders: Placeholders,
    row: PhantomData<fn() -> T>,
}

impl<T, DB: Dialect> QuerySource<T, DB> {
    /// Returns a source that runs `sql` with the parts of the key bound to its placeholders. These are `?` in their
    /// order (SQLite also `?1`, `?2`), and `$1`, `$2` for PostgreSQL. The query is a `&'static str`, or
    /// [`sqlx::AssertSqlSafe`] around one made at run time, which must hold no user input.
    ///
    /// A column that compares without case or trailing blanks finds one row by several keys, each of which is
    /// cached and invalidated separately. Normalise such keys, as [`Watched::key`](crate::Watched::key) shows.
    ///
    /// [`CacheBuilder::build`](larder::CacheBuilder::build) refuses a query that does not fit the key. The error
    /// contains a hint ([`SourceError::Placeholders`], [`SourceError::MixedPlaceholders`]).
    ///
    /// # Examples
    /// See [`QuerySource`].
    pub fn new(pool: Pool<DB>, sql: impl SqlSafeStr) -> Self {
        let sql = sql.into_sql_str();
        let placeholders = Placeholders::of(DB::LEXIS, sql.as_str());
        Self { pool, sql, placeholders, row: PhantomData }
    }
}

impl<T, DB: Database> fmt::Debug for QuerySource<T, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuerySource").field("sql", &self.sql.as_str()).finish_non_exhaustive()
    }
}

impl<K, T, DB> Source<K> for QuerySource<T, DB>
where
    K: BindTo<DB> + Sync,
    T: for<'r> FromRow<'r, DB::Row> + Send + Sync + Unpin + 'static,
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    type Value = T;
    type Error = SourceError;

    async fn load(&self, key: &K) -> Result<Option<T>, SourceError> {
        self.placeholders.check(K::BINDS)?;
        let arguments = || {
            let mut arguments = DB::Arguments::default();
            key.bind_to(&mut arguments).map_err(SourceError::Bind).map(|()| arguments)
        };
        let first = arguments()?;
        let mut connection = self.pool.acquire().await?;
        match sqlx::query_as_with(self.sql.clone(), first).fetch_optional(&mut *connection).await {
            Err(error) if is_outdated_statement(&error) => {
                connection.clear_cached_statements().await?;
                let again = sqlx::query_as_with(self.sql.clone(), arguments()?);
                Ok(again.fetch_optional(&mut *connection).await?)
            }
            row => Ok(row?),
        }
    }

    fn check(&self) -> larder::Result<()> {
        self.placeholders.check(K::BINDS).map_err(SourceError::into_config)
    }
}
