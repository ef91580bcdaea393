//! Sources over a real SQLite database, alone and behind a cache.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use larder::source::BatchSource;
use larder::{Cache, Quick, Source, Strategy};
use larder_sqlx::{QuerySource, SourceError};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Product {
    shop: String,
    id: i64,
    note: Option<String>,
}

struct Database {
    pool: SqlitePool,
    _folder: tempfile::TempDir,
}

/// A database file with products 0..1000 of the shop "a", each third without a note, and one of the shop "b".
async fn database() -> Database {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new().filename(folder.path().join("shop.db")).create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(4).connect_with(options).await.unwrap();
    let setup = "CREATE TABLE products (shop TEXT, id INTEGER, note TEXT, PRIMARY KEY (shop, id));
        WITH RECURSIVE n(id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM n WHERE id < 999)
        INSERT INTO products SELECT 'a', id, CASE WHEN id % 3 = 0 THEN NULL ELSE 'note ' || id END FROM n;
        INSERT INTO products VALUES ('b', 7, 'another shop');";
    sqlx::raw_sql(setup).execute(&pool).await.unwrap();
    Database { pool, _folder: folder }
}

fn product(id: i64) -> Product {
    Product { shop: "a".into(), id, note: (id % 3 != 0).then(|| format!("note {id}")) }
}

const BY_ID: &str = "SELECT shop, id, note FROM products WHERE shop = 'a' AND id = ?";
const BY_IDS: &str = "SELECT shop, id, note FROM products WHERE shop = 'a' AND id IN ({keys})";
const BY_SHOP: &str = "SELECT shop, id, note FROM products WHERE shop = ? AND id = ?";
const BY_SHOPS: &str = "SELECT shop, id, note FROM products WHERE (shop, id) IN ({keys})";

#[tokio::test]
async fn a_key_is_bound_and_no_row_is_none() {
    let database = database().await;
    let source = QuerySource::<Product, _>::new(database.pool.clone(), BY_ID);
    assert_eq!(source.load(&7i64).await.unwrap(), Some(product(7)));
    assert_eq!(source.load(&9u64).await.unwrap(), Some(product(9)), "NULL is None");
    assert_eq!(source.load(&5_000u32).await.unwrap(), None);
    assert!(matches!(source.load(&u64::MAX).await, Err(SourceError::Bind(_))));
}

#[tokio::test]
async fn a_tuple_is_bound_in_order() {
    let database = database().await;
    let source = QuerySource::<Product, _>::new(database.pool.clone(), BY_SHOP);
    let found = source.load(&("b".to_owned(), 7i64)).await.unwrap().unwrap();
    assert_eq!(found.note.as_deref(), Some("another shop"));
    let hostile = "b' OR '1' = '1".to_owned();
    assert_eq!(source.load(&(hostile, 7i64)).await.unwrap(), None, "bound, not written into the query");
}

#[tokio::test]
async fn a_query_that_does_not_fit_its_key_says_so() {
    let database = database().await;
    let source = QuerySource::<Product, _>::new(database.pool.clone(), BY_SHOP);
    let error = source.load(&7i64).await.unwrap_err().to_string();
    assert!(error.contains("2 placeholders and the key binds 1"), "{error}");
    let source = QuerySource::<Product, _>::batch(database.pool.clone(), BY_ID, |product| product.id);
    let error = source.load(&7).await.unwrap_err().to_string();
    assert!(error.contains("0 `{keys}` and needs one, as in `WHERE id IN ({keys})`"), "{error}");
}

/// Before the first load, and with a hint.
#[tokio::test]
async fn a_query_that_does_not_fit_its_key_is_refused_by_build() {
    let database = database().await;
    let builder = || {
        Cache::<i64, Product>::builder()
            .backend(Quick::new(10))
            .strategy(Strategy::aside(Duration::from_secs(60)))
    };
    let refused = builder().source(QuerySource::new(database.pool.clone(), BY_SHOP)).build().unwrap_err();
    assert_eq!(refused.kind(), larder::ErrorKind::Config);
    let text = refused.to_string();
    assert!(
        text.contains("2 placeholders and the key binds 1: write one for each part of the key"),
        "{text}"
    );
    let batch = QuerySource::batch(database.pool.clone(), BY_ID, |product: &Product| product.id);
    let text = builder().batch_source(batch).build().unwrap_err().to_string();
    assert!(text.contains("needs one, as in `WHERE id IN ({keys})`"), "{text}");
    let mixed = "SELECT shop, id, note FROM products WHERE shop = ?1 AND id = ?";
    let text =
        builder().source(QuerySource::new(database.pool.clone(), mixed)).build().unwrap_err().to_string();
    assert!(text.contains("write all of its placeholders in one way"), "{text}");
}

/// A placeholder without a value is bound as NULL: the query runs, finds nothing, and an absence would be kept.
#[tokio::test]
async fn a_query_that_would_find_nothing_without_an_error_is_refused() {
    let database = database().await;
    for sql in [
        "SELECT shop, id, note FROM products WHERE shop = ? AND id = ?2 AND id = ?",
        "SELECT shop, id, note FROM products WHERE shop = ?1 AND id = ?",
    ] {
        let source = QuerySource::<Product, _>::new(database.pool.clone(), sql);
        let refused = source.load(&("a".to_owned(), 7i64)).await;
        assert!(matches!(refused, Err(SourceError::MixedPlaceholders)), "{sql}: {refused:?}");
    }
    let numbered = "SELECT shop, id, note FROM products WHERE id = $2 AND shop = $1";
    let source = QuerySource::<Product, _>::new(database.pool.clone(), numbered);
    assert_eq!(source.load(&("a".to_owned(), 7i64)).await.unwrap(), Some(product(7)), "{numbered}");
    let refused = source.load(&7i64).await;
    assert!(
        matches!(refused, Err(SourceError::Placeholders { placeholders: 2, binds: 1, .. })),
        "{refused:?}"
    );
    let with_more = "SELECT shop, id, note FROM products WHERE id IN ({keys}) AND shop = ?";
    let source =
        QuerySource::<Product, _>::batch(database.pool.clone(), with_more, |product: &Product| product.id);
    let refused = source.load_many(&[7]).await;
    assert!(matches!(refused, Err(SourceError::OwnPlaceholders { found: 1 })), "{refused:?}");
}

#[tokio::test]
async fn keys_in_text_are_text_and_the_first_row_of_a_key_counts() {
    let database = database().await;
    let sql = "SELECT shop, id, '{keys}' AS note FROM products /* {keys} */ WHERE id IN ({keys}) ORDER BY shop DESC";
    let source = QuerySource::<Product, _>::batch(database.pool.clone(), sql, |product: &Product| product.id);
    let found = source.load_many(&[7]).await.unwrap().remove(0).unwrap();
    assert_eq!((found.shop.as_str(), found.note.as_deref()), ("b", Some("{keys}")));
}

#[tokio::test]
async fn a_batch_is_aligned_whatever_its_keys() {
    let database = database().await;
    let source = QuerySource::<Product, _>::batch(database.pool.clone(), BY_IDS, |product| product.id);
    for count in [0, 1, 2, 3, 100, 511, 512, 513, 1_500] {
        let keys: Vec<i64> = (0..count).rev().collect();
        let expected: Vec<_> = keys.iter().map(|&id| (id < 1_000).then(|| product(id))).collect();
        assert_eq!(source.load_many(&keys).await.unwrap(), expected, "{count} keys");
    }
    larder_testkit::source::load_many_agrees_with_load(&source, &[7, 5_000, 7, 8]).await;
    let twice = source.load_many(&[7, 5_000, 7]).await.unwrap();
    assert_eq!(twice, [Some(product(7)), None, Some(product(7))]);
    assert_eq!(source.load(&7).await.unwrap(), Some(product(7)));
}

#[tokio::test]
async fn a_batch_of_tuples() {
    let database = database().await;
    let key_of = |product: &Product| (product.shop.clone(), product.id);
    let source = QuerySource::<Product, _>::batch(database.pool.clone(), BY_SHOPS, key_of);
    let keys: Vec<_> =
        (0..600).map(|id| ("a".to_owned(), id)).chain([("b".to_owned(), 7), ("b".to_owned(), 8)]).collect();
    let found = source.load_many(&keys).await.unwrap();
    assert_eq!(found.len(), 602);
    assert_eq!(found[5], Some(product(5)));
    assert_eq!(found[600].as_ref().unwrap().note.as_deref(), Some("another shop"));
    assert_eq!(found[601], None);
}

#[tokio::test]
async fn a_cache_over_a_table_follows_its_writes() {
    let database = database().await;
    let cache: Cache<i64, Product> = Cache::builder()
        .backend(Quick::new(1_000))
        .batch_source(QuerySource::batch(database.pool.clone(), BY_IDS, |product: &Product| product.id))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
        .unwrap();
    let keys: Vec<i64> = (0..300).collect();
    assert!(cache.get_many(&keys).await.unwrap().iter().all(Option::is_some));
    assert_eq!(cache.stats().load_latency.count(), 1, "one query for all");
    sqlx::query("UPDATE products SET note = 'new' WHERE shop = 'a' AND id = 7")
        .execute(&database.pool)
        .await
        .unwrap();
    cache.invalidate(&7).await.unwrap();
    assert_eq!(cache.get(&7).await.unwrap().unwrap().note.as_deref(), Some("new"));
}

#[tokio::test]
async fn the_databases_own_error_comes_back() {
    let database = database().await;
    let cache: Cache<i64, Product> = Cache::builder()
        .backend(Quick::new(10))
        .source(QuerySource::new(database.pool.clone(), "SELECT * FROM nowhere WHERE id = ?"))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
        .unwrap();
    let error = cache.get(&7).await.unwrap_err();
    let own: &sqlx::Error = error.source_as().expect("sqlx's error went in");
    assert!(own.to_string().contains("no such table"), "{own}");
}
