//! A table behind a cache: `cargo run -p larder-examples --example 04_sqlite`

use std::time::Duration;

use larder::{Cache, Quick, Strategy};
use larder_sqlx::QuerySource;
use sqlx::sqlite::SqlitePoolOptions;

#[derive(Debug, sqlx::FromRow)]
struct Product {
    id: i64,
    name: String,
    cents: i64,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await?;
    sqlx::raw_sql(
        "CREATE TABLE products (id INTEGER PRIMARY KEY, name TEXT NOT NULL, cents INTEGER NOT NULL);
         INSERT INTO products VALUES (1, 'bread', 250), (2, 'cake', 900), (3, 'milk', 120);",
    )
    .execute(&pool)
    .await?;

    let query = "SELECT id, name, cents FROM products WHERE id IN ({keys})";
    let products: Cache<i64, Product> = Cache::builder()
        .backend(Quick::new(10_000))
        .batch_source(QuerySource::batch(pool.clone(), query, |product: &Product| product.id))
        .strategy(Strategy::aside(Duration::from_secs(600)))
        .build()?;

    for product in products.get_many(&[1, 2, 3, 4]).await? {
        println!("{product:?}"); // one query; the fourth does not exist
    }
    // write, commit, invalidate
    sqlx::query("UPDATE products SET cents = 300 WHERE id = 1").execute(&pool).await?;
    products.invalidate(&1).await?;
    let bread = products.get(&1).await?.expect("there is bread");
    println!("{} costs {} now", bread.name, bread.cents);
    assert_eq!(bread.cents, 300);
    Ok(())
}
