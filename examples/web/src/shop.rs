//! The database: products in categories, with a version that each write raises.

use std::sync::Arc;
use std::time::Duration;

use larder::{Source, source_fn};
use larder_sqlx::QuerySource;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tempfile::TempDir;

const CATEGORIES: i64 = 10;

/// A product as it is sold.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow, Serialize, Deserialize)]
pub struct Product {
    /// Its number.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// The number of its category.
    pub category: i64,
    /// Its price.
    pub cents: i64,
    /// The number of writes of the product.
    pub version: i64,
}

/// The totals of a category.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow, Serialize, Deserialize)]
pub struct Summary {
    /// The number of the category.
    pub category: i64,
    /// The number of its products.
    pub products: i64,
    /// The price of the cheapest.
    pub cheapest: i64,
    /// The number of writes of its products, all together.
    pub versions: i64,
}

/// A database in a folder of its own, which goes with it.
#[derive(Debug)]
pub struct Shop {
    pool: SqlitePool,
    /// The time that is added to each load, so that there is something to see.
    delay: Duration,
    _folder: TempDir,
}

impl Shop {
    /// A shop with so many products in 10 categories, of which each load takes `delay` longer.
    ///
    /// # Errors
    /// The database's.
    pub async fn generate(
        products: u32,
        delay: Duration,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let folder = tempfile::tempdir()?;
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("shop.db"))
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Off);
        let pool = SqlitePoolOptions::new().max_connections(8).connect_with(options).await?;
        sqlx::raw_sql(
            "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, category INTEGER NOT NULL,
                cents INTEGER NOT NULL, version INTEGER NOT NULL);
             CREATE INDEX by_category ON products (category);",
        )
        .execute(&pool)
        .await?;
        sqlx::query(
            "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < ?1)
             INSERT INTO products SELECT id, 'product ' || id, id % ?2, 1000 + id % 900, 1 FROM n",
        )
        .bind(products)
        .bind(CATEGORIES)
        .execute(&pool)
        .await?;
        Ok(Self { pool, delay, _folder: folder })
    }

    /// The source of its products.
    pub(crate) fn products(&self) -> impl Source<i64, Value = Product> {
        self.source("SELECT id, name, category, cents, version FROM products WHERE id = ?")
    }

    /// The source of its categories.
    pub(crate) fn summaries(&self) -> impl Source<i64, Value = Summary> {
        self.source(
            "SELECT category, count(*) AS products, min(cents) AS cheapest, sum(version) AS versions
             FROM products WHERE category = ? GROUP BY category",
        )
    }

    /// A query by number. It reads what is committed: no transaction is open around it.
    fn source<T>(&self, query: &'static str) -> impl Source<i64, Value = T> + use<T>
    where
        T: for<'r> sqlx::FromRow<'r, sqlx::sqlite::SqliteRow> + Send + Sync + Unpin + 'static,
    {
        let source = Arc::new(QuerySource::<T, _>::new(self.pool.clone(), query));
        let delay = self.delay;
        source_fn(move |id: i64| {
            let source = Arc::clone(&source);
            async move {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                Source::<i64>::load(&*source, &id).await
            }
        })
    }

    /// Gives a product another price; the product as it is committed, or none.
    pub(crate) async fn reprice(&self, id: i64, cents: i64) -> Result<Option<Product>, sqlx::Error> {
        let change = "UPDATE products SET cents = ?, version = version + 1 WHERE id = ?
            RETURNING id, name, category, cents, version";
        sqlx::query_as(change).bind(cents).bind(id).fetch_optional(&self.pool).await
    }

    /// Makes all products of a category cheaper; the ids and versions that were committed.
    pub(crate) async fn sale(&self, category: i64, percent: i64) -> Result<Vec<(i64, i64)>, sqlx::Error> {
        let change = "UPDATE products SET cents = max(1, cents * (100 - ?) / 100), version = version + 1
            WHERE category = ? RETURNING id, version";
        sqlx::query_as(change).bind(percent).bind(category).fetch_all(&self.pool).await
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}
