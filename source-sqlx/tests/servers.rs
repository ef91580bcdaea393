//! Sources over real PostgreSQL and MariaDB servers: any key, one query a batch, wrong queries refused by `build()`.
#![cfg(all(feature = "postgres", feature = "mysql", feature = "uuid"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::time::Duration;

use larder::source::{BatchSource, Retry};
use larder::{Cache, Quick, Source, Strategy};
use larder_sqlx::{BindKey, CommitError, Native, QuerySource, SourceError, WriteTransaction};
use larder_testkit::servers::{MariadbServer, PostgresServer, Shared};
use sqlx::{MySqlPool, PgPool};

static POSTGRES: Shared<PostgresServer> = Shared::new(|| PostgresServer::start(&[]));
static MARIADB: Shared<MariadbServer> = Shared::new(|| MariadbServer::start(&[]));

#[derive(Debug, PartialEq, sqlx::FromRow)]
struct Product {
    shop: String,
    id: i64,
    note: Option<String>,
    /// The time when the statement began: the same in all rows of one query.
    began: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct ProductKey {
    shop: String,
    id: u32,
}

impl BindKey for ProductKey {
    type Parts<'k> = (&'k str, u32);

    fn parts(&self) -> (&str, u32) {
        (&self.shop, self.id)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, sqlx::Type)]
#[repr(i32)]
enum Size {
    Small = 1,
    Large = 2,
}

/// Products 0..1000 of the shop "a", each third without a note, and one of the shop "b"; things by every kind of key.
const POSTGRES_SETUP: &str = "
    CREATE TABLE products (shop TEXT, id BIGINT, note TEXT, PRIMARY KEY (shop, id));
    INSERT INTO products SELECT 'a', id, CASE WHEN id % 3 = 0 THEN NULL ELSE 'note ' || id END FROM generate_series(0, 999) id;
    INSERT INTO products VALUES ('b', 7, 'another shop');
    CREATE TABLE things (small SMALLINT, wide BIGINT, name TEXT, hash BYTEA, mark UUID, flag BOOLEAN, size INTEGER);
    INSERT INTO things VALUES (1, 11, 'one', '\\x01ff', '00000000-0000-0000-0000-000000000001', true, 1),
                              (2, 12, 'two', '\\x02ff', '00000000-0000-0000-0000-000000000002', false, 2);";
const MARIADB_SETUP: &str = "
    CREATE TABLE products (shop VARCHAR(20), id BIGINT, note TEXT, PRIMARY KEY (shop, id));
    INSERT INTO products SELECT 'a', seq, IF(seq % 3 = 0, NULL, CONCAT('note ', seq)) FROM seq_0_to_999;
    INSERT INTO products VALUES ('b', 7, 'another shop');
    CREATE TABLE things (small SMALLINT, wide BIGINT UNSIGNED, name VARCHAR(20), hash VARBINARY(20), mark BINARY(16),
                         flag BOOLEAN, size INTEGER);
    INSERT INTO things VALUES (1, 11, 'one', x'01ff', x'00000000000000000000000000000001', true, 1),
                              (2, 18446744073709551615, 'two', x'02ff', x'00000000000000000000000000000002', false, 2);";

async fn postgres() -> Option<(std::sync::Arc<PostgresServer>, PgPool)> {
    let server = POSTGRES.get()?;
    if server.try_sql("SELECT 1 FROM things").is_err() {
        // another test may be quicker
        _ = server.try_sql(POSTGRES_SETUP);
    }
    let pool = PgPool::connect(&server.url()).await.unwrap();
    until_ready(|| server.try_sql("SELECT count(*) FROM things").is_ok_and(|count| count == "2")).await;
    Some((server, pool))
}

async fn mariadb() -> Option<(std::sync::Arc<MariadbServer>, MySqlPool)> {
    let server = MARIADB.get()?;
    if server.try_sql("SELECT 1 FROM things").is_err() {
        _ = server.try_sql(MARIADB_SETUP);
    }
    let pool = MySqlPool::connect(&server.url()).await.unwrap();
    until_ready(|| server.try_sql("SELECT count(*) FROM things").is_ok_and(|count| count == "2")).await;
    Some((server, pool))
}

async fn until_ready(ready: impl Fn() -> bool) {
    for _ in 0..250 {
        if ready() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the tables were not made");
}

fn expected(id: i64) -> (String, i64, Option<String>) {
    ("a".to_owned(), id, (id % 3 != 0).then(|| format!("note {id}")))
}

fn seen(product: Product) -> (String, i64, Option<String>) {
    (product.shop, product.id, product.note)
}

/// Properties that hold on each database. One test runs them all, on one server.
macro_rules! on_each {
    ($($property:ident($pool:ident, $began:ident, $one:ident, $two:ident) $body:block)*) => {
        #[tokio::test]
        async fn on_postgres() {
            let Some((_server, pool)) = postgres().await else { return };
            $({
                println!("{}", stringify!($property));
                let ($began, $one, $two, $pool) = ("statement_timestamp()::text AS began", "$1", "$2", pool.clone());
                $body
            })*
        }
        #[tokio::test]
        async fn on_mariadb() {
            let Some((_server, pool)) = mariadb().await else { return };
            $({
                println!("{}", stringify!($property));
                let ($began, $one, $two, $pool) = ("CAST(NOW(6) AS CHAR) AS began", "?", "?", pool.clone());
                $body
            })*
        }
    };
}

fn sql(text: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(text)
}

on_each! {
    a_key_is_bound_and_no_row_is_none(pool, began, one, _two) {
        let query = format!("SELECT shop, id, note, {began} FROM products WHERE shop = 'a' AND id = {one}");
        let source = QuerySource::<Product, _>::new(pool, sql(query));
        assert_eq!(source.load(&7i64).await.unwrap().map(seen), Some(expected(7)));
        assert_eq!(source.load(&9u16).await.unwrap().map(seen), Some(expected(9)), "NULL is None");
        assert_eq!(source.load(&5_000usize).await.unwrap(), None);
    }

    a_struct_and_a_tuple_are_bound_in_order(pool, began, one, two) {
        let query = format!("SELECT shop, id, note, {began} FROM products WHERE shop = {one} AND id = {two}");
        let source = QuerySource::<Product, _>::new(pool, sql(query));
        let found = source.load(&ProductKey { shop: "b".to_owned(), id: 7 }).await.unwrap().unwrap();
        assert_eq!(found.note.as_deref(), Some("another shop"));
        let hostile = "b' OR '1' = '1".to_owned();
        assert_eq!(source.load(&(hostile, 7i64)).await.unwrap(), None, "bound, not written into the query");
    }

    every_kind_of_key_is_bound_alone_and_in_a_batch(pool, _began, one, _two) {
        macro_rules! by {
            ($column:literal, $key:ty, $first:expr, $second:expr) => {{
                let (first, second): ($key, $key) = ($first, $second);
                // sqlx keeps a prepared statement, and with it the types of its values, by the query's text
                let own = stringify!($key);
                let query = format!("SELECT name FROM things WHERE {} = {one} -- {own}", $column);
                let source = QuerySource::<(String,), _>::new(pool.clone(), sql(query));
                assert_eq!(source.load(&second).await.unwrap(), Some(("two".to_owned(),)), "by {}", $column);
                let query = format!("SELECT name, small FROM things WHERE {} IN ({{keys}}) -- {own}", $column);
                let both = [first.clone(), second.clone()];
                let key_of = move |row: &(String, i16)| both[row.1 as usize - 1].clone();
                let batch = QuerySource::<(String, i16), _>::batch(pool.clone(), sql(query), key_of);
                let found = batch.load_many(&[second, first]).await.unwrap();
                let names: Vec<_> = found.into_iter().map(|row| row.unwrap().0).collect();
                assert_eq!(names, ["two", "one"], "by {}", $column);
            }};
        }
        by!("small", i16, 1, 2);
        by!("small", i8, 1, 2);
        by!("small", u8, 1, 2);
        by!("small", u64, 1, 2);
        by!("name", String, "one".into(), "two".into());
        by!("name", std::sync::Arc<str>, "one".into(), "two".into());
        by!("hash", Vec<u8>, vec![1, 255], vec![2, 255]);
        by!("hash", [u8; 2], [1, 255], [2, 255]);
        by!("mark", uuid::Uuid, uuid::Uuid::from_u128(1), uuid::Uuid::from_u128(2));
        by!("flag", bool, true, false);
        by!("size", Large, Large(Size::Small), Large(Size::Large));
    }

    a_batch_is_one_query_and_aligned(pool, began, _one, _two) {
        let query = format!("SELECT shop, id, note, {began} FROM products WHERE shop = 'a' AND id IN ({{keys}})");
        let source = QuerySource::<Product, _>::batch(pool, sql(query), |product: &Product| product.id);
        for count in [0, 1, 2, 3, 100, 511, 512, 513, 1_500] {
            let keys: Vec<i64> = (0..count).rev().collect();
            let found = source.load_many(&keys).await.unwrap();
            let queries: HashSet<&str> = found.iter().flatten().map(|product| product.began.as_str()).collect();
            assert_eq!(queries.len(), (count as usize).div_ceil(512), "{count} keys: {queries:?}");
            let found: Vec<_> = found.into_iter().map(|product| product.map(seen)).collect();
            let all: Vec<_> = keys.iter().map(|&id| (id < 1_000).then(|| expected(id))).collect();
            assert_eq!(found, all, "{count} keys");
        }
        let twice = source.load_many(&[7, 5_000, 7]).await.unwrap();
        assert_eq!(twice.into_iter().map(|product| product.map(seen)).collect::<Vec<_>>(), [
            Some(expected(7)), None, Some(expected(7))
        ]);
    }

    a_batch_of_structs(pool, began, _one, _two) {
        let query = format!("SELECT shop, id, note, {began} FROM products WHERE (shop, id) IN ({{keys}})");
        let key_of = |product: &Product| ProductKey { shop: product.shop.clone(), id: product.id as u32 };
        let source = QuerySource::<Product, _>::batch(pool, sql(query), key_of);
        let key = |shop: &str, id| ProductKey { shop: shop.to_owned(), id };
        let keys: Vec<_> = (0..400).map(|id| key("a", id)).chain([key("b", 7), key("b", 8)]).collect();
        let found = source.load_many(&keys).await.unwrap();
        let queries: HashSet<&str> = found.iter().flatten().map(|product| product.began.as_str()).collect();
        assert_eq!((found.len(), queries.len()), (402, 1));
        assert_eq!(found[400].as_ref().unwrap().note.as_deref(), Some("another shop"));
        assert_eq!(found[401], None);
    }

    a_query_that_does_not_fit_its_key_is_refused_by_build(pool, _began, one, two) {
        let build = |text: String| {
            Cache::<i64, (String,)>::builder()
                .backend(Quick::new(10))
                .source(QuerySource::new(pool.clone(), sql(text)))
                .strategy(Strategy::aside(Duration::from_secs(60)))
                .build()
        };
        assert!(build(format!("SELECT name FROM things WHERE wide = {one}")).is_ok());
        let error = build(format!("SELECT name FROM things WHERE wide = {one} AND small = {two}")).unwrap_err();
        assert_eq!(error.kind(), larder::ErrorKind::Config);
        let text = error.to_string();
        assert!(text.contains("2 placeholders and the key binds 1: write one for each part"), "{text}");
        assert!(text.contains(&format!("`{one}`")), "{text}");
        assert!(matches!(error.source_as(), Some(SourceError::Placeholders { placeholders: 2, binds: 1, .. })));

        let batch = |text: String| {
            let source = QuerySource::<(i64,), _>::batch(pool.clone(), sql(text), |row: &(i64,)| row.0);
            Cache::builder()
                .backend(Quick::new(10))
                .batch_source(Retry::new(source, 2))
                .strategy(Strategy::aside(Duration::from_secs(60)))
                .build()
        };
        assert!(batch("SELECT wide FROM things WHERE wide IN ({keys})".into()).is_ok());
        let text = batch("SELECT wide FROM things".into()).unwrap_err().to_string();
        assert!(text.contains("0 `{keys}` and needs one, as in `WHERE id IN ({keys})`"), "{text}");
        let own = format!("SELECT wide FROM things WHERE wide IN ({{keys}}) AND small = {one}");
        let text = batch(own).unwrap_err().to_string();
        assert!(text.contains("make it a part of the key"), "{text}");
    }

    a_cache_over_a_table_follows_its_writes(pool, began, _one, _two) {
        let query = format!("SELECT shop, id, note, {began} FROM products WHERE shop = 'b' AND id IN ({{keys}})");
        let cache: Cache<i64, Product> = Cache::builder()
            .backend(Quick::new(1_000))
            .batch_source(QuerySource::batch(pool.clone(), sql(query), |product: &Product| product.id))
            .strategy(Strategy::aside(Duration::from_secs(60)))
            .build()
            .unwrap();
        assert_eq!(cache.get(&70).await.unwrap(), None);
        sqlx::query("INSERT INTO products VALUES ('b', 70, 'new')").execute(&pool).await.unwrap();
        cache.invalidate(&70).await.unwrap();
        assert_eq!(cache.get(&70).await.unwrap().unwrap().note.as_deref(), Some("new"));
    }
}

/// A key that sqlx encodes itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Large(Size);

impl BindKey for Large {
    type Parts<'k> = Native<Size>;

    fn parts(&self) -> Native<Size> {
        Native(self.0)
    }
}

#[tokio::test]
async fn postgres_takes_arrays_as_they_are() {
    let Some((_server, pool)) = postgres().await else { return };
    let any = "SELECT shop, id, note, statement_timestamp()::text AS began FROM products WHERE shop = 'a' AND id = ANY($1)";
    let source = QuerySource::<Product, _>::batch(pool.clone(), any, |product: &Product| product.id);
    Source::<i64>::check(&source).unwrap();
    let found = source.load_many(&[5, 5_000, 3]).await.unwrap();
    assert_eq!(
        found.into_iter().map(|product| product.map(seen)).collect::<Vec<_>>(),
        [Some(expected(5)), None, Some(expected(3))]
    );
    assert_eq!(source.load(&5).await.unwrap().map(seen), Some(expected(5)));
    let join = "SELECT shop, id, note, statement_timestamp()::text AS began FROM products
                JOIN unnest($1, $2) AS k (shop, id) USING (shop, id)";
    let key_of = |product: &Product| (product.shop.clone(), product.id);
    let source = QuerySource::<Product, _>::batch(pool.clone(), join, key_of);
    let found = source.load_many(&[("b".to_owned(), 7), ("a".to_owned(), 6)]).await.unwrap();
    assert_eq!(found[0].as_ref().unwrap().note.as_deref(), Some("another shop"));
    assert_eq!(found.into_iter().nth(1).unwrap().map(seen), Some(expected(6)));
    let wrong = QuerySource::<Product, _>::batch(pool, join, |product: &Product| product.id);
    let refused = Source::<i64>::check(&wrong).unwrap_err();
    assert!(refused.to_string().contains("2 placeholders and the key binds 1"), "{refused}");
}

/// A number that does not fit a signed integer: an error without an unsigned type, a key with one.
#[tokio::test]
async fn unsigned_keys() {
    if let Some((_server, pool)) = postgres().await {
        let source = QuerySource::<(String,), _>::new(pool, "SELECT name FROM things WHERE wide = $1");
        assert!(matches!(source.load(&u64::MAX).await, Err(SourceError::Bind(_))));
    }
    if let Some((_server, pool)) = mariadb().await {
        let source = QuerySource::<(String,), _>::new(pool, "SELECT name FROM things WHERE wide = ?");
        assert_eq!(source.load(&u64::MAX).await.unwrap(), Some(("two".to_owned(),)));
    }
}

#[tokio::test]
async fn what_may_pass_by_itself_is_transient() {
    let Some((server, pool)) = postgres().await else { return };
    let source = QuerySource::<(String,), _>::new(
        pool.clone(),
        "SELECT name FROM things WHERE wide = $1 AND pg_sleep(5) IS NOT NULL",
    );
    let load = tokio::spawn(async move { source.load(&11i64).await });
    until_ready(|| server.sql("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(5)%' AND pid <> pg_backend_pid()") == "1").await;
    let error = load.await.unwrap().unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    let error = QuerySource::<(String,), _>::new(pool, "SELECT nothing FROM things WHERE wide = $1")
        .load(&1i64)
        .await;
    assert!(!error.unwrap_err().is_transient());
}

/// A commit whose connection was ended may have happened: its keys are invalidated, and the guard stays in place.
#[tokio::test]
async fn a_commit_that_is_cut_off_invalidates_and_leaves_its_guard() {
    let Some((server, pool)) = postgres().await else { return };
    let store = larder_memory::MemoryServer::new();
    let cache: Cache<i64, (String,)> = Cache::builder()
        .namespace("thing")
        .backend(store.connect("writer").encoded(larder::codec::Json))
        .source(QuerySource::new(pool.clone(), "SELECT name FROM things WHERE wide = $1"))
        .strategy(Strategy::aside(Duration::from_secs(600)))
        .build()
        .unwrap();
    let mut transaction = WriteTransaction::begin(&pool).await.unwrap().guarded(Duration::from_millis(300));
    let (id,): (i32,) = sqlx::query_as("SELECT pg_backend_pid()").fetch_one(&mut *transaction).await.unwrap();
    cache.get(&11).await.unwrap();
    sqlx::query("UPDATE things SET name = 'new' WHERE wide = 11").execute(&mut *transaction).await.unwrap();
    transaction.invalidate(&cache, 11);
    server.sql(&format!("SELECT pg_terminate_backend({id}, 5000)"));
    let failed = transaction.commit().await;
    assert!(matches!(failed, Err(CommitError::Commit(_))), "{failed:?}");
    assert!(cache.get_if_present(&11).await.unwrap().is_none());
    cache.get(&11).await.unwrap();
    assert!(cache.get_if_present(&11).await.unwrap().is_none(), "the guard stands");
    tokio::time::sleep(Duration::from_millis(350)).await;
    cache.get(&11).await.unwrap();
    assert!(cache.get_if_present(&11).await.unwrap().is_some(), "and ends by itself");
}
