//! Operations on a database while caches follow it: new credentials, deploys, altered tables, restored dumps.
#![cfg(all(feature = "postgres", feature = "mysql"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use larder::source::BatchSource as _;
use larder::{Cache, Quick, Source as _, Strategy};
use larder_sqlx::{Changes, Feed, Following, QuerySource, Watched};
use larder_testkit::servers::{MariadbServer, PostgresServer};
use sqlx::postgres::PgPoolOptions;
use sqlx::{MySqlPool, PgPool, Pool};

type Names = Cache<i64, (String,)>;

const PRODUCTS: &str = "CREATE TABLE products (id BIGINT PRIMARY KEY, name VARCHAR(100)); \
                        INSERT INTO products VALUES (1, 'one'), (2, 'two')";

macro_rules! cache {
    ($pool:expr, $place:literal) => {
        Cache::builder()
            .namespace("names")
            .backend(Quick::new(100))
            .source(QuerySource::new($pool.clone(), concat!("SELECT name FROM products WHERE id = ", $place)))
            .strategy(Strategy::aside(Duration::from_secs(3_600)))
            .build()
            .unwrap()
    };
}

fn changes<DB: Feed>(pool: &Pool<DB>, cache: &Names) -> Changes<DB> {
    Changes::new(pool.clone()).watch(Watched::table("products").key(cache, ["id"], |id: i64| id))
}

async fn name(cache: &Names, key: i64) -> String {
    cache.get(&key).await.unwrap().map_or(String::new(), |row| row.0.clone())
}

/// `sync`, with an end.
async fn synced(following: &Following) {
    let synced = tokio::time::timeout(Duration::from_secs(15), following.sync()).await;
    assert!(synced.is_ok(), "it does not follow: {following:?}");
}

/// Rotated credentials: the pool is given the new ones, and the old ones are taken away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_credentials_rotate() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql(PRODUCTS);
    server.sql("CREATE ROLE old LOGIN SUPERUSER; CREATE ROLE new LOGIN SUPERUSER");
    let url = |user: &str| server.url().replace("postgres@", &format!("{user}@"));
    let pool = PgPool::connect(&url("old")).await.unwrap();
    let cache: Names = cache!(pool, "$1");
    changes(&pool, &cache).install().await.unwrap();
    let following = changes(&pool, &cache).follow().await.unwrap();
    assert_eq!(name(&cache, 1).await, "one");
    pool.set_connect_options(url("new").parse().unwrap());
    server.sql(
        "ALTER ROLE old NOLOGIN; SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'old'",
    );
    server.sql("UPDATE products SET name = 'rotated' WHERE id = 1");
    synced(&following).await;
    assert_eq!(name(&cache, 1).await, "rotated");
    // the listener too
    let listens = || {
        server.sql("SELECT count(*) FROM pg_stat_activity WHERE usename = 'new' AND query LIKE 'LISTEN%'")
            == "1"
    };
    let began = Instant::now();
    while !listens() {
        assert!(began.elapsed() < Duration::from_secs(15), "nobody listens");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_credentials_rotate() {
    let Some(server) = MariadbServer::start(&[]) else { return };
    server.sql(PRODUCTS);
    server.sql(
        "CREATE USER old@'%'; GRANT ALL ON *.* TO old@'%'; CREATE USER new@'%'; GRANT ALL ON *.* TO new@'%'",
    );
    let url = |user: &str| server.url().replace("root@", &format!("{user}@"));
    let pool = MySqlPool::connect(&url("old")).await.unwrap();
    let cache: Names = cache!(pool, "?");
    // triggers run as their definer, which must go on to exist
    let root = MySqlPool::connect(&server.url()).await.unwrap();
    changes(&root, &cache).install().await.unwrap();
    let following = changes(&pool, &cache).follow().await.unwrap();
    assert_eq!(name(&cache, 1).await, "one");
    pool.set_connect_options(url("new").parse().unwrap());
    server.sql("DROP USER old@'%'");
    for id in server.sql("SELECT id FROM information_schema.processlist WHERE user = 'old'").lines() {
        _ = server.try_sql(&format!("KILL {id}"));
    }
    server.sql("UPDATE products SET name = 'rotated' WHERE id = 1");
    synced(&following).await;
    assert_eq!(name(&cache, 1).await, "rotated");
}

/// The pool's callbacks prepare the follower's connections too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_the_follower_are_prepared_like_the_pools() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql(PRODUCTS);
    server.sql(
        "CREATE ROLE app; GRANT ALL ON SCHEMA public TO app; ALTER TABLE products OWNER TO app; \
                CREATE ROLE guest LOGIN NOINHERIT; GRANT app TO guest",
    );
    let options = PgPoolOptions::new().after_connect(|connection, _| {
        Box::pin(async move { sqlx::query("SET ROLE app").execute(connection).await.map(|_| ()) })
    });
    let pool = options.connect(&server.url().replace("postgres@", "guest@")).await.unwrap();
    let cache: Names = cache!(pool, "$1");
    changes(&pool, &cache).install().await.unwrap();
    let following = changes(&pool, &cache).follow().await.unwrap();
    assert_eq!(name(&cache, 1).await, "one");
    server.sql("UPDATE products SET name = 'new' WHERE id = 1");
    synced(&following).await;
    assert_eq!(name(&cache, 1).await, "new");
}

/// A deploy installs again, beside a transaction that has written a watched table and stays open.
macro_rules! installed_beside_an_open_transaction {
    ($test:ident, $server:ident, $pool:ident, $place:literal) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let Some(server) = $server::start(&[]) else { return };
            server.sql(PRODUCTS);
            let pool = $pool::connect(&server.url()).await.unwrap();
            let cache: Names = cache!(pool, $place);
            let mut open = pool.begin().await.unwrap();
            sqlx::query("UPDATE products SET name = 'open' WHERE id = 1").execute(&mut *open).await.unwrap();
            // the first time it must wait, but not for ever
            let began = Instant::now();
            let first = tokio::time::timeout(Duration::from_secs(20), changes(&pool, &cache).install()).await;
            let error = first.expect("it waits for ever").unwrap_err();
            assert!(began.elapsed() > Duration::from_secs(2), "{error:?}");
            assert!(error.to_string().contains("end it, then install again"), "{error}");
            open.rollback().await.unwrap();
            changes(&pool, &cache).install().await.unwrap();

            let mut open = pool.begin().await.unwrap();
            sqlx::query("UPDATE products SET name = 'open' WHERE id = 1").execute(&mut *open).await.unwrap();
            let again = tokio::time::timeout(Duration::from_secs(2), changes(&pool, &cache).install()).await;
            again.expect("it waits for the transaction").unwrap();
            open.commit().await.unwrap();
            // other columns: what is there is replaced
            let more = changes(&pool, &cache).watch(Watched::table("products").key(
                &cache,
                ["id", "name"],
                |(id, _): (i64, String)| id,
            ));
            more.install().await.unwrap();
            let following = more.follow().await.unwrap();
            assert_eq!(name(&cache, 1).await, "open");
            server.sql("UPDATE products SET name = 'new' WHERE id = 1");
            synced(&following).await;
            assert_eq!((name(&cache, 1).await.as_str(), following.stats().unreadable), ("new", 0));
        }
    };
}
installed_beside_an_open_transaction!(
    postgres_is_installed_beside_an_open_transaction,
    PostgresServer,
    PgPool,
    "$1"
);
installed_beside_an_open_transaction!(
    mariadb_is_installed_beside_an_open_transaction,
    MariadbServer,
    MySqlPool,
    "?"
);

/// Triggers and tables that differ from the expected ones are corrected.
#[tokio::test]
async fn what_was_changed_by_hand_is_installed_again() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql(PRODUCTS);
    let pool = PgPool::connect(&server.url()).await.unwrap();
    let cache: Names = cache!(pool, "$1");
    changes(&pool, &cache).install().await.unwrap();
    let following = changes(&pool, &cache).follow().await.unwrap();
    let function = server.sql("SELECT oid::regproc FROM pg_proc WHERE proname LIKE 'larder\\_changes\\_%' AND proname NOT LIKE '%replicated'");
    let trigger = server.sql("SELECT tgname FROM pg_trigger WHERE tgname LIKE 'larder_changes_%_r'");
    for (turn, tampering) in [
        format!("ALTER FUNCTION {function} SECURITY INVOKER"),
        format!("ALTER FUNCTION {function} RESET search_path"),
        format!("GRANT EXECUTE ON FUNCTION {function} TO PUBLIC"),
        format!("ALTER TABLE products DISABLE TRIGGER {trigger}"),
        format!("ALTER TABLE products ENABLE TRIGGER {trigger}"),
        format!("DROP TRIGGER {trigger} ON products"),
        format!("DROP FUNCTION {function} CASCADE"),
        "DROP INDEX larder_changes_xid".to_owned(),
    ]
    .into_iter()
    .enumerate()
    {
        server.sql(&tampering);
        changes(&pool, &cache).install().await.unwrap();
        let state = server.sql(
            "SELECT prosecdef, proacl::text LIKE '%{=X/%', proconfig::text LIKE '%search_path%', \
             (SELECT string_agg(tgenabled::text, '') FROM pg_trigger WHERE tgfoid = pg_proc.oid), \
             to_regclass('larder_changes_xid') IS NOT NULL FROM pg_proc WHERE proname LIKE 'larder\\_changes\\_%' AND proname NOT LIKE '%replicated'",
        );
        assert_eq!(state, "t|f|t|AA|t", "{tampering}");
        name(&cache, 1).await;
        server.sql(&format!("UPDATE products SET name = 'turn {turn}' WHERE id = 1"));
        synced(&following).await;
        assert_eq!(name(&cache, 1).await, format!("turn {turn}"), "{tampering}");
    }
}

/// A statement that was prepared before the table was altered.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loads_go_on_after_alter_table() {
    #[derive(sqlx::FromRow)]
    struct Product {
        id: i64,
        name: String,
    }
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql(PRODUCTS);
    let pool = PgPoolOptions::new().max_connections(1).connect(&server.url()).await.unwrap();
    let one = QuerySource::<Product, _>::new(pool.clone(), "SELECT * FROM products WHERE id = $1");
    let many = QuerySource::<Product, _>::batch(
        pool.clone(),
        "SELECT * FROM products WHERE id IN ({keys})",
        |product: &Product| product.id,
    );
    for turn in 0..3 {
        let name = one.load(&1i64).await.unwrap().unwrap().name;
        assert_eq!(name, "one", "after {turn} changes");
        assert_eq!(many.load_many(&[1, 2]).await.unwrap().iter().flatten().count(), 2);
        server.sql(&format!("ALTER TABLE products ADD c{turn} int"));
    }
    // an error that is no such is told
    server.sql("DROP TABLE products");
    assert!(one.load(&1i64).await.is_err() && many.load_many(&[1]).await.is_err());
}

/// Rows of an outbox that was dumped from a cluster with more transactions than this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outbox_from_another_cluster_is_neither_read_nor_kept() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql(PRODUCTS);
    let pool = PgPool::connect(&server.url()).await.unwrap();
    let cache: Names = cache!(pool, "$1");
    let changes = || {
        let quick = changes(&pool, &cache).poll(Duration::from_millis(20));
        quick.keep(Duration::from_millis(300))
    };
    changes().install().await.unwrap();
    server.sql(
        "INSERT INTO larder_changes (xid, source, image) VALUES ('999999999', 'products', '{\"id\": \"1\"}')",
    );
    let following = changes().follow().await.unwrap();
    for _ in 0..5 {
        name(&cache, 1).await;
        synced(&following).await;
    }
    assert_eq!(following.stats().changes, 0, "it is read again and again");
    assert!(cache.get_if_present(&1).await.unwrap().is_some());
    let began = Instant::now();
    while server.sql("SELECT count(*) FROM larder_changes") != "0" {
        assert!(began.elapsed() < Duration::from_secs(15), "it is never removed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    server.sql("UPDATE products SET name = 'new' WHERE id = 1");
    synced(&following).await;
    assert_eq!(name(&cache, 1).await, "new");
}

/// Numbers that the server leaves out, and those of transactions that were rolled back, are looked for again; what lies
/// between them is not handed over again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gaps_in_the_numbers_of_mariadb_hand_over_nothing_twice() {
    let Some(server) = MariadbServer::start(&[]) else { return };
    server.sql(PRODUCTS);
    let pool = MySqlPool::connect(&server.url()).await.unwrap();
    let cache: Names = cache!(pool, "?");
    changes(&pool, &cache).install().await.unwrap();
    let following = changes(&pool, &cache).follow().await.unwrap();
    let mut written = 0;
    for (step, undone) in [(1, 700), (3, 100)] {
        server.sql(&format!("SET GLOBAL auto_increment_increment = {step}"));
        let mut turns = String::new();
        for turn in 0..undone {
            turns += &format!(
                "UPDATE products SET name = 'step {step} turn {turn}' WHERE id = 1; \
                 BEGIN; INSERT INTO products VALUES (9, 'undone'); ROLLBACK;\n"
            );
        }
        server.sql(&turns);
        written += undone;
        for _ in 0..10 {
            synced(&following).await;
        }
        assert_eq!(following.stats().changes, written, "with a step of {step}");
        // what was open when others overtook it is not missed
        let mut open = pool.begin().await.unwrap();
        sqlx::query("UPDATE products SET name = 'slow' WHERE id = 2").execute(&mut *open).await.unwrap();
        server.sql(&turns);
        synced(&following).await;
        assert_ne!(name(&cache, 2).await, "slow");
        open.commit().await.unwrap();
        synced(&following).await;
        assert_eq!(name(&cache, 2).await, "slow");
        server.sql("UPDATE products SET name = 'two' WHERE id = 2");
        synced(&following).await;
        written += undone + 2;
        assert_eq!(following.stats().changes, written, "with a step of {step}");
    }
}

/// A publication of all tables has the outbox of the publisher in it, and the subscriber has one of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_of_a_logical_replication_are_followed() {
    let Some(publisher) = PostgresServer::start(&["wal_level=logical"]) else { return };
    let Some(subscriber) = PostgresServer::start(&["wal_level=logical"]) else { return };
    let mut ends = vec![];
    for server in [&publisher, &subscriber] {
        server.sql("CREATE TABLE products (id BIGINT PRIMARY KEY, name VARCHAR(100))");
        let pool = PgPool::connect(&server.url()).await.unwrap();
        let cache: Names = cache!(pool, "$1");
        let quick = || {
            let quick = changes(&pool, &cache).poll(Duration::from_millis(50));
            quick.keep(Duration::from_millis(500)).resumed_as("shop")
        };
        quick().install().await.unwrap();
        ends.push((quick().follow().await.unwrap(), cache));
    }
    publisher.sql("CREATE PUBLICATION everything FOR ALL TABLES");
    let url = publisher.url();
    let port = url.rsplit_once(':').unwrap().1.split('/').next().unwrap();
    subscriber.sql(&format!(
        "CREATE SUBSCRIPTION everything CONNECTION 'host=127.0.0.1 port={port} user=postgres dbname=postgres' \
         PUBLICATION everything WITH (copy_data = false)"
    ));
    // each end writes for itself too, so that the numbers of both outboxes are the same
    subscriber.sql("INSERT INTO products VALUES (100, 'own')");
    for id in 1..=20 {
        for (_, cache) in &ends {
            name(cache, id).await;
        }
        publisher.sql(&format!("INSERT INTO products VALUES ({id}, 'published')"));
        for (following, cache) in &ends {
            let began = Instant::now();
            while name(cache, id).await != "published" {
                synced(following).await;
                let stopped = || subscriber.sql("SELECT apply_error_count FROM pg_stat_subscription_stats");
                assert!(began.elapsed() < Duration::from_secs(15), "{id} did not come: {} errors", stopped());
            }
        }
    }
    assert_eq!(subscriber.sql("SELECT apply_error_count FROM pg_stat_subscription_stats"), "0");
    // pruning at the publisher takes nothing from the subscriber that is not pruned there
    let began = Instant::now();
    while publisher.sql("SELECT count(*) FROM larder_changes") != "0" {
        assert!(began.elapsed() < Duration::from_secs(15), "it is never pruned");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    subscriber.sql("DROP SUBSCRIPTION everything");
}

/// A database in which ordinary roles may not ask for positions of the write-ahead log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_without_rights_on_the_log_can_follow() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql(PRODUCTS);
    server.sql(
        "CREATE ROLE app LOGIN; GRANT ALL ON SCHEMA public TO app; ALTER TABLE products OWNER TO app; \
         REVOKE EXECUTE ON FUNCTION pg_current_wal_insert_lsn, pg_current_wal_lsn, pg_walfile_name FROM PUBLIC",
    );
    let pool = PgPool::connect(&server.url().replace("postgres@", "app@")).await.unwrap();
    let cache: Names = cache!(pool, "$1");
    changes(&pool, &cache).install().await.unwrap();
    let following = changes(&pool, &cache).follow().await.unwrap();
    assert_eq!(name(&cache, 1).await, "one");
    server.sql("UPDATE products SET name = 'new' WHERE id = 1");
    synced(&following).await;
    assert_eq!((name(&cache, 1).await.as_str(), following.stats().failures), ("new", 0));
}

/// A migration tool with an old client made the triggers: its character set is not that of the data.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn triggers_made_by_a_latin1_client_take_every_text() {
    let Some(server) = MariadbServer::start(&[]) else { return };
    server.sql("CREATE TABLE products (id VARCHAR(50) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY, size INT)");
    let pool = MySqlPool::connect(&server.url()).await.unwrap();
    for names in ["latin1", "utf8mb3"] {
        let cache: Cache<(String, i64), u8> = Cache::builder()
            .backend(Quick::new(100))
            .strategy(Strategy::aside(Duration::from_secs(3_600)))
            .build()
            .unwrap();
        let changes = Changes::new(pool.clone())
            .outbox(format!("o_{names}"))
            .watch(Watched::table("products").key(&cache, ["id", "size"], |key: (String, i64)| key));
        let mut old = pool.acquire().await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!("SET NAMES {names}"))).execute(&mut *old).await.unwrap();
        for statement in changes.sql() {
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut *old).await.unwrap();
        }
        old.close().await.unwrap();
        let following = changes.follow().await.unwrap();
        let key = (format!("ä 🍞 {names}"), 7);
        cache.insert(&key, 1).await.unwrap();
        let insert = sqlx::query("INSERT INTO products VALUES (?, ?)").bind(&key.0).bind(key.1);
        insert.execute(&pool).await.unwrap();
        synced(&following).await;
        assert!(cache.get_if_present(&key).await.unwrap().is_none(), "{names}");
        assert_eq!(following.stats().unreadable, 0);
    }
}

/// Two-phase commits of a watched table, which PostgreSQL refuses after a NOTIFY.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prepared_transactions_are_seen_without_notify() {
    let Some(server) = PostgresServer::start(&["max_prepared_transactions=5"]) else { return };
    server.sql(PRODUCTS);
    let pool = PgPool::connect(&server.url()).await.unwrap();
    let cache: Names = cache!(pool, "$1");
    let prepared = "BEGIN; UPDATE products SET name = 'new' WHERE id = 1; PREPARE TRANSACTION 'two'";
    changes(&pool, &cache).install().await.unwrap();
    assert!(server.try_sql(prepared).is_err(), "it can be notified, too");
    let without = || changes(&pool, &cache).without_notify();
    without().install().await.unwrap();
    let following = without().follow().await.unwrap();
    assert_eq!(name(&cache, 1).await, "one");
    server.sql(prepared);
    synced(&following).await;
    assert_eq!(name(&cache, 1).await, "one");
    server.sql("COMMIT PREPARED 'two'");
    synced(&following).await;
    assert_eq!(name(&cache, 1).await, "new");
    server.sql("TRUNCATE products");
    synced(&following).await;
    assert_eq!(name(&cache, 1).await, "");
}
