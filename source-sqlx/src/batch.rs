//! One query for many keys.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::hash::Hash;
use std::marker::PhantomData;

use larder::Source;
use larder::source::BatchSource;
use sqlx::{
    AssertSqlSafe, Connection as _, Database, Executor, FromRow, IntoArguments, Pool, SqlSafeStr, SqlStr,
};

use crate::error::is_outdated_statement;
use crate::placeholder::{Placeholders, places};
use crate::{BindTo, Dialect, QuerySource, SourceError};

/// The mark for the keys in a batch query.
const KEYS: &str = "{keys}";
/// The maximum number of keys in one query. More keys are loaded with several queries.
const MOST_KEYS: usize = 512;

/// A source that loads many keys with one query, and a single key with the same query.
///
/// The query marks the place of the keys with `{keys}`, and `key_of` returns the key of a row. It must return
/// exactly the requested key, so beware of columns that compare without case, as MySQL's do by default. If a key
/// has several rows, the first counts. Rows of other keys are ignored. More than 512 keys (SQLite: or 999 values)
/// are loaded with several queries.
///
/// | database | `IN ({keys})` is sent as | statements prepared |
/// |---|---|---|
/// | SQLite | `IN (?, ?)`, `IN (VALUES (?, ?), (?, ?))` | ten: the list is filled up to a power of two by repeating its last key |
/// | MySQL, MariaDB | `IN (?, ?)`, `IN ((?, ?), (?, ?))` | ten, likewise |
/// | PostgreSQL | `IN (SELECT * FROM unnest($1, $2))` | one: an array is bound for each part of the key |
///
/// For PostgreSQL the arrays may also be used as they are: `WHERE id = ANY($1)`,
/// `FROM prices JOIN unnest($1, $2) AS k (shop, id) USING (shop, id)`.
///
/// # Examples
/// ```
/// use larder_sqlx::QuerySource;
///
/// #[derive(sqlx::FromRow)]
/// struct Price { shop: String, id: i64, cents: i64 }
///
/// # fn with(pool: sqlx::SqlitePool) {
/// let by_id = QuerySource::<Price, _>::batch(
///     pool.clone(),
///     "SELECT shop, id, cents FROM prices WHERE id IN ({keys})",
///     |price| price.id,
/// );
/// let by_shop_and_id = QuerySource::<Price, _>::batch(
///     pool,
///     "SELECT shop, id, cents FROM prices WHERE (shop, id) IN ({keys})",
///     |price| (price.shop.clone(), price.id),
/// );
/// # let _ = (by_id, by_shop_and_id);
/// # }
/// ```
pub struct BatchQuerySource<K, T, DB: Database, F> {
    pool: Pool<DB>,
    sql: SqlStr,
    keys: Vec<usize>,
    own: Placeholders,
    key_of: F,
    row: PhantomData<fn(K) -> T>,
}

impl<T, DB: Dialect> QuerySource<T, DB> {
    /// Returns a source that loads many keys with one query, for
    /// [`CacheBuilder::batch_source`](larder::CacheBuilder::batch_source). The query may be of any type that
    /// [`new`](Self::new) takes.
    ///
    /// [`CacheBuilder::build`](larder::CacheBuilder::build) refuses a query without exactly one `{keys}`
    /// (PostgreSQL: or its arrays), or with further placeholders of its own. The error contains a hint
    /// ([`SourceError::Keys`], [`SourceError::OwnPlaceholders`]).
    ///
    /// # Examples
    /// See [`BatchQuerySource`].
    pub fn batch<K, F: Fn(&T) -> K>(
        pool: Pool<DB>,
        sql: impl SqlSafeStr,
        key_of: F,
    ) -> BatchQuerySource<K, T, DB, F> {
        let sql = sql.into_sql_str();
        let (keys, own) = (places(DB::LEXIS, sql.as_str(), KEYS), Placeholders::of(DB::LEXIS, sql.as_str()));
        BatchQuerySource { pool, sql, keys, own, key_of, row: PhantomData }
    }
}

impl<K, T, DB: Database, F> fmt::Debug for BatchQuerySource<K, T, DB, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BatchQuerySource").field("sql", &self.sql.as_str()).finish_non_exhaustive()
    }
}

impl<K, T, DB, F> BatchQuerySource<K, T, DB, F>
where
    K: BindTo<DB> + Hash + Eq + Clone + Send + Sync + 'static,
    T: for<'r> FromRow<'r, DB::Row> + Send + Sync + Unpin + 'static,
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    F: Fn(&T) -> K + Send + Sync + 'static,
{
    fn most_keys() -> usize {
        if DB::ARRAYS {
            return MOST_KEYS;
        }
        // a power of two, so that filling up the list does not pass the limit
        let most = (DB::MOST_BINDS / K::BINDS.max(1)).clamp(1, MOST_KEYS);
        1 << most.ilog2()
    }

    /// The position of the keys. `None` in a query that takes them as arrays.
    fn place(&self) -> Result<Option<usize>, SourceError> {
        match (&self.keys[..], self.own.count()) {
            (&[place], 0) => Ok(Some(place)),
            ([_], found) => Err(SourceError::OwnPlaceholders { found }),
            ([], found) if DB::ARRAYS && found > 0 => self.own.check(K::BINDS).map(|()| None),
            (places, _) => Err(SourceError::Keys { found: places.len() }),
        }
    }

    fn query(&self, keys: usize) -> Result<SqlStr, SourceError> {
        let Some(place) = self.place()? else { return Ok(self.sql.clone()) };
        let mut sql = self.sql.as_str().to_owned();
        sql.replace_range(place..place + KEYS.len(), &DB::key_list(keys, K::BINDS));
        // the text consists of the user's own query and generated placeholders; the keys are bound
        Ok(AssertSqlSafe(sql).into_sql_str())
    }

    /// Loads the rows of up to [`most_keys`](Self::most_keys) keys.
    async fn rows(&self, keys: &[K]) -> Result<HashMap<K, T>, SourceError> {
        let Some(last) = keys.last() else { return Ok(HashMap::new()) };
        let filled = if DB::ARRAYS { keys.len() } else { keys.len().next_power_of_two() };
        let sql = self.query(filled)?;
        let arguments = || {
            let mut arguments = DB::Arguments::default();
            let listed = keys.iter().chain(std::iter::repeat_n(last, filled - keys.len()));
            K::bind_all_to(listed, &mut arguments).map_err(SourceError::Bind).map(|()| arguments)
        };
        let first = arguments()?;
        let mut connection = self.pool.acquire().await?;
        let rows: Vec<T> = match sqlx::query_as_with(sql.clone(), first).fetch_all(&mut *connection).await {
            Err(error) if is_outdated_statement(&error) => {
                connection.clear_cached_statements().await?;
                sqlx::query_as_with(sql, arguments()?).fetch_all(&mut *connection).await?
            }
            rows => rows?,
        };
        let mut by_key = HashMap::with_capacity(rows.len());
        for row in rows {
            by_key.entry((self.key_of)(&row)).or_insert(row);
        }
        Ok(by_key)
    }
}

impl<K, T, DB, F> Source<K> for BatchQuerySource<K, T, DB, F>
where
    K: BindTo<DB> + Hash + Eq + Clone + Send + Sync + 'static,
    T: for<'r> FromRow<'r, DB::Row> + Send + Sync + Unpin + 'static,
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    F: Fn(&T) -> K + Send + Sync + 'static,
{
    type Value = T;
    type Error = SourceError;

    async fn load(&self, key: &K) -> Result<Option<T>, SourceError> {
        Ok(self.rows(std::slice::from_ref(key)).await?.remove(key))
    }

    fn check(&self) -> larder::Result<()> {
        self.place().map(|_| ()).map_err(SourceError::into_config)
    }
}

impl<K, T, DB, F> BatchSource<K> for BatchQuerySource<K, T, DB, F>
where
    K: BindTo<DB> + Hash + Eq + Clone + Send + Sync + 'static,
    T: for<'r> FromRow<'r, DB::Row> + Send + Sync + Unpin + 'static,
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    F: Fn(&T) -> K + Send + Sync + 'static,
{
    /// Loads a repeated key separately, since a row cannot be copied. A cache never requests a key twice.
    async fn load_many(&self, keys: &[K]) -> Result<Vec<Option<T>>, SourceError> {
        let mut values = Vec::with_capacity(keys.len());
        let mut seen = HashSet::with_capacity(keys.len());
        for chunk in keys.chunks(Self::most_keys()) {
            let mut rows = self.rows(chunk).await?;
            for key in chunk {
                let value = if seen.insert(key) { rows.remove(key) } else { self.load(key).await? };
                values.push(value);
            }
        }
        Ok(values)
    }
}
