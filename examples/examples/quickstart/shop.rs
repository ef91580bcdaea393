//! The database: products with a price, a category and a version that each write raises.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};

use larder_sqlx::QuerySource;
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use tempfile::TempDir;

#[derive(Debug, Clone, sqlx::FromRow, Serialize, Deserialize)]
pub(crate) struct Product {
    pub(crate) id: i64,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) cents: i64,
    pub(crate) version: i64,
}

pub(crate) const BY_ID: &str = "SELECT p.id, p.name, c.name AS category, p.cents, p.version
    FROM products p JOIN categories c ON c.id = p.category_id WHERE p.id = ?";

/// The database, in a folder of its own that goes with it, or in that of the process that started this one.
pub(crate) struct Shop {
    pool: SqlitePool,
    products: u32,
    /// For each product, the version that the last acknowledged write left: what a read may not go below.
    acknowledged: Vec<AtomicI64>,
    database: PathBuf,
    folder: Option<TempDir>,
}

impl Shop {
    pub(crate) async fn generate(products: u32) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let folder = tempfile::tempdir()?;
        let database = folder.path().join("shop.db");
        let pool = connect(&database).await?;
        sqlx::raw_sql(
            "CREATE TABLE categories (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
             CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, cents INTEGER NOT NULL,
                category_id INTEGER NOT NULL REFERENCES categories, version INTEGER NOT NULL);
             WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n WHERE id < 40)
             INSERT INTO categories SELECT id, 'category ' || id FROM n;",
        )
        .execute(&pool)
        .await?;
        sqlx::query(
            "WITH RECURSIVE n(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < ? - 1)
             INSERT INTO products SELECT id, 'product number ' || id, 100 + id % 900, 1 + id % 40, 1 FROM n",
        )
        .bind(products)
        .execute(&pool)
        .await?;
        println!("generated {products} products in 40 categories: {}", folder.path().display());
        Ok(Self { pool, products, acknowledged: first_versions(products), database, folder: Some(folder) })
    }

    /// The database that another process generated.
    pub(crate) async fn open(database: &Path, products: u32) -> Result<Self, sqlx::Error> {
        let (pool, database) = (connect(database).await?, database.to_owned());
        Ok(Self { pool, products, acknowledged: first_versions(products), database, folder: None })
    }

    /// Returns the path of the database.
    pub(crate) fn database(&self) -> &Path {
        &self.database
    }

    pub(crate) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    pub(crate) fn products(&self) -> u32 {
        self.products
    }

    /// The source that the cache has, for reading without one.
    pub(crate) fn source(&self) -> QuerySource<Product, sqlx::Sqlite> {
        QuerySource::new(self.pool.clone(), BY_ID)
    }

    /// Changes a product; returns its new version once the write is committed.
    pub(crate) async fn write(&self, id: i64) -> Result<i64, sqlx::Error> {
        let change = "UPDATE products SET cents = 100 + (cents + 7) % 900, version = version + 1 WHERE id = ?
            RETURNING version";
        sqlx::query_scalar(change).bind(id).fetch_one(&self.pool).await
    }

    /// The version below which no read of `id` that begins now may be.
    pub(crate) fn floor(&self, id: i64) -> i64 {
        self.acknowledged[id as usize].load(Ordering::SeqCst)
    }

    /// Notes that a write was acknowledged: committed, and invalidated.
    pub(crate) fn acknowledge(&self, id: i64, version: i64) {
        self.acknowledged[id as usize].fetch_max(version, Ordering::SeqCst);
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Some(folder) = &self.folder {
            println!("removed {}", folder.path().display());
        }
    }
}

fn first_versions(products: u32) -> Vec<AtomicI64> {
    (0..products).map(|_| AtomicI64::new(1)).collect()
}

async fn connect(database: &Path) -> Result<SqlitePool, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Off);
    SqlitePoolOptions::new().max_connections(4).connect_with(options).await
}
