//! Invalidation by any writer of the database: `cargo run -p larder-examples --example 21_changes`

use std::time::{Duration, Instant};

use larder::{Cache, Quick, Strategy, Tag};
use larder_sqlx::{Changes, QuerySource, Watched};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{Connection, SqliteConnection};

#[derive(Debug, sqlx::FromRow)]
struct Product {
    name: String,
    category: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let file = SqliteConnectOptions::new().filename(folder.path().join("shop.db")).create_if_missing(true);
    let file = file.journal_mode(SqliteJournalMode::Wal);
    let pool = SqlitePoolOptions::new().connect_with(file.clone()).await?;
    sqlx::raw_sql(
        "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT, category INTEGER);
         INSERT INTO products VALUES (1, 'bread', 1), (2, 'cake', 1), (3, 'milk', 2);",
    )
    .execute(&pool)
    .await?;
    let products: Cache<i64, Product> = Cache::builder()
        .backend(Quick::new(10_000))
        .source(QuerySource::new(pool.clone(), "SELECT name, category FROM products WHERE id = ?"))
        .strategy(
            Strategy::aside(Duration::from_secs(600))
                .tagged(|product: &Product| [Tag::new("category", product.category)]),
        )
        .build()?;

    let changes = Changes::new(pool.clone()).watch(
        Watched::table("products").key(&products, ["id"], |id: i64| id).tag(
            &products,
            ["category"],
            |category: i64| Tag::new("category", category),
        ),
    );
    println!("a migration would run:");
    for statement in changes.sql() {
        println!("  {statement};");
    }
    changes.install().await?;
    let following = changes.follow().await?;
    for id in 1..=3 {
        products.get(&id).await?;
    }

    // another program, that knows nothing of a cache
    let mut other = SqliteConnection::connect_with(&file).await?;
    sqlx::query("UPDATE products SET name = 'rye bread' WHERE id = 1").execute(&mut other).await?;
    let began = Instant::now();
    while products.get(&1).await?.is_some_and(|product| product.name != "rye bread") {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    println!("noticed after {:?}", began.elapsed());
    // the tag of its category ended the cake too, and not the milk
    assert!(products.get_if_present(&2).await?.is_none() && products.get_if_present(&3).await?.is_some());
    println!("{:?}, up to {:?} behind", following.stats(), following.lag());
    Ok(())
}
