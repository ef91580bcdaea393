//! Invalidation by any writer: on each database, and through everything that can cut a follower off.
#![cfg(all(feature = "sqlite", feature = "postgres", feature = "mysql", feature = "uuid"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use larder::codec::Json;
use larder::{Cache, Quick, Strategy, Tag};
use larder_memory::{Fault, MemoryServer};
use larder_sqlx::{Changes, Column, QuerySource, Watched};
use larder_testkit::servers::{MariadbServer, PostgresServer};
use sqlx::{MySqlPool, PgPool, SqlitePool};

type Names = Cache<i64, (String,)>;

/// The guaranteed time for a change that only the database notifies of.
const SECOND: Duration = Duration::from_secs(1);

fn safe(sql: String) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(sql)
}

/// Reads until the value is there; answers how long that took.
async fn until(cache: &Names, key: i64, name: &str) -> Duration {
    let began = Instant::now();
    loop {
        let found = cache.get(&key).await;
        if found.as_ref().is_ok_and(|found| found.as_deref().map_or("", |row| row.0.as_str()) == name) {
            return began.elapsed();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "{key} is not {name:?} but {found:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

async fn name(cache: &Names, key: i64) -> String {
    cache.get(&key).await.unwrap().map_or(String::new(), |row| row.0.clone())
}

async fn is_cached(cache: &Names, key: i64) -> bool {
    cache.get_if_present(&key).await.unwrap().is_some()
}

/// Everything that holds on each database. `direct` is another program: psql, the command-line client, a connection of its own.
macro_rules! on_each {
    ($($property:ident($pool:ident, $direct:ident, $names:ident) $body:block)*) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn on_sqlite() {
            let folder = tempfile::tempdir().unwrap();
            let options = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(folder.path().join("shop.db"))
                .create_if_missing(true)
                .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal);
            let pool = SqlitePool::connect_with(options.clone()).await.unwrap();
            let direct = async |sql: String| {
                use sqlx::Connection as _;
                let mut other = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::raw_sql(safe(sql)).execute(&mut other).await.unwrap();
            };
            let names = |pool: &SqlitePool, table: &str| {
                QuerySource::new(pool.clone(), safe(format!("SELECT name FROM {table} WHERE id = ?")))
            };
            $({
                println!("{}", stringify!($property));
                let ($pool, $direct, $names) = (pool.clone(), &direct, names);
                $body
            })*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn on_postgres() {
            let Some(server) = PostgresServer::start(&[]) else { return };
            let pool = PgPool::connect(&server.url()).await.unwrap();
            let direct = async |sql: String| {
                server.sql(&sql);
            };
            let names = |pool: &PgPool, table: &str| {
                QuerySource::new(pool.clone(), safe(format!("SELECT name FROM {table} WHERE id = $1")))
            };
            $({
                println!("{}", stringify!($property));
                let ($pool, $direct, $names) = (pool.clone(), &direct, names);
                $body
            })*
        }

        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn on_mariadb() {
            let Some(server) = MariadbServer::start(&[]) else { return };
            let pool = MySqlPool::connect(&server.url()).await.unwrap();
            let direct = async |sql: String| {
                server.sql(&sql);
            };
            let names = |pool: &MySqlPool, table: &str| {
                QuerySource::new(pool.clone(), safe(format!("SELECT name FROM {table} WHERE id = ?")))
            };
            $({
                println!("{}", stringify!($property));
                let ($pool, $direct, $names) = (pool.clone(), &direct, names);
                $body
            })*
        }
    };
}

/// A table of products 1 to 5 in the categories 1 and 0.
fn made(table: &str) -> String {
    format!(
        "CREATE TABLE {table} (id BIGINT PRIMARY KEY, name VARCHAR(100), category BIGINT);
         INSERT INTO {table} VALUES (1, 'one', 1), (2, 'two', 0), (3, 'three', 1), (4, 'four', 0), (5, 'five', 1);"
    )
}

macro_rules! cache {
    ($source:expr, $backend:expr) => {
        Cache::builder()
            .namespace("names")
            .backend($backend)
            .source($source)
            .strategy(Strategy::aside(Duration::from_secs(3_600)).negative_ttl(Duration::from_secs(3_600)))
            .tag_keys(|id: &i64| [Tag::new("parity", id % 2)])
            .build()
            .unwrap()
    };
}

on_each! {
    every_kind_of_write_is_seen(pool, direct, names) {
        direct(made("writes")).await;
        let cache: Names = cache!(names(&pool, "writes"), Quick::new(100));
        let changes = Changes::new(pool.clone()).outbox("o_writes")
            .watch(Watched::table("writes").key(&cache, ["id"], |id: i64| id));
        changes.install().await.unwrap();
        let following = changes.follow().await.unwrap();
        for id in 1..=7 {
            name(&cache, id).await;
        }
        direct("UPDATE writes SET name = 'new' WHERE id = 1".into()).await;
        direct("DELETE FROM writes WHERE id = 2".into()).await;
        direct("INSERT INTO writes VALUES (6, 'six', 0)".into()).await;
        // both the old and the new key
        direct("UPDATE writes SET id = 7 WHERE id = 3".into()).await;
        direct("UPDATE writes SET name = 'many' WHERE id IN (4, 5)".into()).await;
        following.sync().await;
        let mut found = vec![];
        for id in 1..=7 {
            found.push(name(&cache, id).await);
        }
        assert_eq!(found, ["new", "", "", "many", "many", "six", "three"]);
        let stats = following.stats();
        assert_eq!((stats.changes, stats.failures, stats.cleared, stats.unreadable), (7, 0, 0, 0));
    }

    what_was_not_changed_stays(pool, direct, names) {
        direct(made("stays")).await;
        let cache: Names = cache!(names(&pool, "stays"), Quick::new(100));
        let changes = Changes::new(pool.clone()).outbox("o_stays")
            .watch(Watched::table("stays").key(&cache, ["id"], |id: i64| id));
        changes.install().await.unwrap();
        let following = changes.follow().await.unwrap();
        for id in 1..=3 {
            name(&cache, id).await;
        }
        direct("UPDATE stays SET name = 'new' WHERE id = 1".into()).await;
        following.sync().await;
        assert!(!is_cached(&cache, 1).await && is_cached(&cache, 2).await && is_cached(&cache, 3).await);
    }

    what_is_rolled_back_changes_nothing(pool, direct, names) {
        direct(made("undone")).await;
        let cache: Names = cache!(names(&pool, "undone"), Quick::new(100));
        let changes = Changes::new(pool.clone()).outbox("o_undone")
            .watch(Watched::table("undone").key(&cache, ["id"], |id: i64| id));
        changes.install().await.unwrap();
        let following = changes.follow().await.unwrap();
        name(&cache, 1).await;
        let mut transaction = pool.begin().await.unwrap();
        sqlx::query("UPDATE undone SET name = 'new' WHERE id = 1").execute(&mut *transaction).await.unwrap();
        transaction.rollback().await.unwrap();
        following.sync().await;
        assert!(is_cached(&cache, 1).await);
        direct("UPDATE undone SET name = 'newer' WHERE id = 1".into()).await;
        following.sync().await;
        assert_eq!(name(&cache, 1).await, "newer");
    }

    a_row_that_moves_ends_both_tags(pool, direct, names) {
        direct(made("moves")).await;
        let cache: Names = cache!(names(&pool, "moves"), Quick::new(100));
        let changes = Changes::new(pool.clone()).outbox("o_moves").watch(
            Watched::table("moves").tag(&cache, ["category"], |category: i64| Tag::new("parity", category)),
        );
        changes.install().await.unwrap();
        let following = changes.follow().await.unwrap();
        for id in 1..=5 {
            name(&cache, id).await;
        }
        direct("UPDATE moves SET name = 'new' WHERE id = 2".into()).await;
        following.sync().await;
        let mut cached = vec![];
        for id in 1..=5 {
            cached.push(is_cached(&cache, id).await);
        }
        assert_eq!(cached, [true, false, true, false, true]);
        direct("UPDATE moves SET category = 0 WHERE id = 1".into()).await;
        following.sync().await;
        assert!(!is_cached(&cache, 3).await && !is_cached(&cache, 2).await);
        // no category, no tag, no harm
        name(&cache, 1).await;
        direct("INSERT INTO moves VALUES (9, 'nine', NULL)".into()).await;
        following.sync().await;
        assert!(is_cached(&cache, 1).await);
        assert_eq!(following.stats().unreadable, 0);
    }

    names_and_keys_of_any_shape(pool, direct, _names) {
        use larder_sqlx::Dialect;
        fn quote<DB: Dialect>(_: &sqlx::Pool<DB>, name: &str) -> String {
            DB::quote(name)
        }
        let odd = "it's an \"odd\" `table`; -- $larder$ [x]";
        let (shop, number, digest) = ("the shop's \"name\"", "select", "di`gest'");
        let table = quote(&pool, odd);
        let [shop_q, number_q, digest_q] = [shop, number, digest].map(|name| quote(&pool, name));
        let is_mysql = table.starts_with('`');
        let binary = if is_mysql { "VARBINARY(20)" } else if pool_is_postgres(&pool) { "BYTEA" } else { "BLOB" };
        let text = if is_mysql { "VARCHAR(100) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin" } else { "VARCHAR(100)" };
        direct(format!("CREATE TABLE {table} ({shop_q} {text}, {number_q} BIGINT, {digest_q} {binary})")).await;
        type Key = (String, i64, Vec<u8>);
        let cache: Cache<Key, u8> = Cache::builder()
            .backend(Quick::new(100))
            .strategy(Strategy::aside(Duration::from_secs(3_600)))
            .build()
            .unwrap();
        let outbox = "odd 'outbox' \"x\" `y`";
        let changes = Changes::new(pool.clone()).outbox(outbox).watch(
            Watched::table(odd).key(&cache, [shop.into(), number.into(), Column::bytes(digest)], |key: Key| key),
        );
        changes.install().await.unwrap();
        changes.install().await.unwrap();
        let following = changes.follow().await.unwrap();
        let keys: Vec<Key> = [
            ("ä \"b\"\n\t'c' \\ {}[],:", -5, vec![0, 255, 39]),
            ("", 0, vec![]),
            ("Case", i64::MAX, vec![1]),
            ("🍞", i64::MIN, vec![1, 2, 3]),
        ].map(|(shop, number, digest)| (shop.to_owned(), number, digest)).to_vec();
        for key in &keys {
            cache.insert(key, 1).await.unwrap();
            cache.insert(&(key.0.clone(), key.1, vec![9, 9]), 1).await.unwrap();
        }
        for (shop, number, digest) in &keys {
            let (one, two, three) = if pool_is_postgres(&pool) { ("$1", "$2", "$3") } else { ("?", "?", "?") };
            let insert = format!("INSERT INTO {table} VALUES ({one}, {two}, {three})");
            sqlx::query(safe(insert)).bind(shop).bind(number).bind(digest).execute(&pool).await.unwrap();
        }
        following.sync().await;
        for key in &keys {
            assert!(cache.get_if_present(key).await.unwrap().is_none(), "{key:?}");
            assert!(cache.get_if_present(&(key.0.clone(), key.1, vec![9, 9])).await.unwrap().is_some());
        }
        // keys that differ in case only are two
        for spelt in ["Case", "case"] {
            cache.insert(&(spelt.to_owned(), i64::MAX, vec![1]), 1).await.unwrap();
        }
        direct(format!("UPDATE {table} SET {shop_q} = 'case' WHERE {shop_q} = 'Case'")).await;
        following.sync().await;
        for spelt in ["Case", "case"] {
            assert!(cache.get_if_present(&(spelt.to_owned(), i64::MAX, vec![1])).await.unwrap().is_none(), "{spelt}");
        }
        assert_eq!(following.stats().unreadable, 0);
    }

    what_the_store_does_not_acknowledge_is_not_lost(pool, direct, names) {
        direct(made("unacknowledged")).await;
        let server = MemoryServer::new();
        let cache: Names = cache!(names(&pool, "unacknowledged"), server.connect("follower").encoded(Json));
        let other: Names = cache!(names(&pool, "unacknowledged"), server.connect("reader").encoded(Json));
        let changes = Changes::new(pool.clone()).outbox("o_unacknowledged")
            .watch(Watched::table("unacknowledged").key(&cache, ["id"], |id: i64| id));
        changes.install().await.unwrap();
        let following = changes.follow().await.unwrap();
        name(&other, 1).await;
        let down = server.faults().when(|operation| operation.process == "follower", Fault::Error);
        direct("UPDATE unacknowledged SET name = 'new' WHERE id = 1".into()).await;
        // it is told, too, that something is not invalidated yet
        let began = Instant::now();
        while following.stats().failures < 3 || following.is_current(Duration::from_millis(500)) {
            assert!(began.elapsed() < Duration::from_secs(20), "{following:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(name(&other, 1).await, "one", "the store was not told");
        server.faults().remove(down);
        following.sync().await;
        assert_eq!(name(&other, 1).await, "new");
    }

    a_shared_store_goes_on_where_the_last_follower_stopped(pool, direct, names) {
        direct(made("resumed")).await;
        let server = MemoryServer::new();
        let cache = |process: &str| -> Names {
            cache!(names(&pool, "resumed"), server.connect(process).encoded(Json))
        };
        let changes = |cache: &Names| {
            let table = Watched::table("resumed").key(cache, ["id"], |id: i64| id);
            Changes::new(pool.clone()).outbox("o_resumed").watch(table)
        };
        let first = cache("first");
        changes(&first).install().await.unwrap();
        let following = changes(&first).resumed_as("shop").follow().await.unwrap();
        for id in 1..=3 {
            name(&first, id).await;
        }
        following.sync().await;
        direct("UPDATE resumed SET name = 'seen' WHERE id = 3".into()).await;
        following.sync().await;
        // kept once a second
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        following.sync().await;
        name(&first, 3).await;
        drop(following);
        direct("UPDATE resumed SET name = 'unseen' WHERE id = 1".into()).await;
        let second = cache("second");
        assert_eq!(name(&second, 1).await, "one", "nobody followed");
        let following = changes(&second).resumed_as("shop").follow().await.unwrap();
        following.sync().await;
        assert_eq!(name(&second, 1).await, "unseen");
        assert!(is_cached(&second, 2).await, "what did not change is still there");
        drop(following);
        // without a name all of it is cleared
        let following = changes(&second).follow().await.unwrap();
        assert!(!is_cached(&second, 2).await);
        drop(following);
    }

    what_cannot_be_read_clears(pool, direct, names) {
        direct(made("unreadable")).await;
        let cache: Names = cache!(names(&pool, "unreadable"), Quick::new(100));
        let changes = |column: &'static str| {
            let table = Watched::table("unreadable").key(&cache, [column], |id: i64| id);
            Changes::new(pool.clone()).outbox("o_unreadable").watch(table)
        };
        // triggers of an older version, that do not write `id` down
        changes("category").install().await.unwrap();
        let following = changes("id").follow().await.unwrap();
        name(&cache, 1).await;
        name(&cache, 2).await;
        direct("UPDATE unreadable SET name = 'new' WHERE id = 1".into()).await;
        following.sync().await;
        assert_eq!((name(&cache, 1).await.as_str(), following.stats().unreadable), ("new", 1));
        assert!(!is_cached(&cache, 2).await);
        changes("id").install().await.unwrap();
        name(&cache, 2).await;
        direct("UPDATE unreadable SET name = 'newer' WHERE id = 1".into()).await;
        following.sync().await;
        assert_eq!((name(&cache, 1).await.as_str(), following.stats().unreadable), ("newer", 1));
        assert!(is_cached(&cache, 2).await);
        // a text that is no number
        let wrong = Changes::new(pool.clone()).outbox("o_wrong")
            .watch(Watched::table("unreadable").key(&cache, ["name"], |id: i64| id));
        wrong.install().await.unwrap();
        let wrong = wrong.follow().await.unwrap();
        direct("UPDATE unreadable SET name = 'newest' WHERE id = 1".into()).await;
        wrong.sync().await;
        assert_eq!(wrong.stats().unreadable, 2, "before and after");
    }

    what_everybody_has_read_is_deleted_and_who_was_away_clears(pool, direct, names) {
        direct(made("pruned")).await;
        let server = MemoryServer::new();
        let cache = |process: &str| -> Names {
            cache!(names(&pool, "pruned"), server.connect(process).encoded(Json))
        };
        let (busy, away) = (cache("busy"), cache("away"));
        let changes = |cache: &Names| {
            let table = Watched::table("pruned").key(cache, ["id"], |id: i64| id);
            let changes = Changes::new(pool.clone()).outbox("o_pruned").watch(table);
            changes.poll(Duration::from_millis(50)).keep(Duration::from_millis(500))
        };
        changes(&busy).install().await.unwrap();
        // one keeps its position, and is gone for longer than what it has not read is kept
        drop({
            let following = changes(&away).resumed_as("away").follow().await.unwrap();
            following.sync().await;
            following.sync().await;
            following
        });
        let following = changes(&busy).follow().await.unwrap();
        name(&away, 1).await;
        name(&away, 2).await;
        direct("UPDATE pruned SET name = 'new' WHERE id = 1".into()).await;
        following.sync().await;
        let left = || async {
            let (rows,): (i64,) = sqlx::query_as("SELECT count(*) FROM o_pruned").fetch_one(&pool).await.unwrap();
            rows
        };
        assert_eq!(left().await, 1);
        let began = Instant::now();
        while left().await > 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "nothing was deleted");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(began.elapsed() > Duration::from_millis(500), "it was kept for others");
        drop(following);
        name(&away, 2).await;
        let following = changes(&away).resumed_as("away").follow().await.unwrap();
        following.sync().await;
        assert_eq!(following.stats().cleared, 1, "what it had not read may be gone");
        assert!(!is_cached(&away, 2).await);
    }

    a_burst_is_read_to_its_end(pool, direct, names) {
        direct(made("burst")).await;
        let rows: Vec<String> = (100..1_100).map(|id| format!("({id}, 'old', 1)")).collect();
        direct(format!("INSERT INTO burst VALUES {}", rows.join(", "))).await;
        let cache: Names = cache!(names(&pool, "burst"), Quick::new(10_000));
        let changes = Changes::new(pool.clone()).outbox("o_burst")
            .watch(Watched::table("burst").key(&cache, ["id"], |id: i64| id));
        changes.install().await.unwrap();
        let following = changes.follow().await.unwrap();
        for id in 100..1_100 {
            name(&cache, id).await;
        }
        direct("UPDATE burst SET name = 'new' WHERE id >= 100".into()).await;
        following.sync().await;
        for id in 100..1_100 {
            assert!(!is_cached(&cache, id).await, "{id}");
        }
        assert_eq!(following.stats().changes, 1_000);
    }

    each_process_is_told(pool, direct, names) {
        direct(made("told")).await;
        let (one, two): (Names, Names) =
            (cache!(names(&pool, "told"), Quick::new(100)), cache!(names(&pool, "told"), Quick::new(100)));
        let changes = |cache: &Names| {
            let table = Watched::table("told").key(cache, ["id"], |id: i64| id);
            Changes::new(pool.clone()).outbox("o_told").watch(table)
        };
        changes(&one).install().await.unwrap();
        // what was cached before anybody followed may be old already
        name(&one, 1).await;
        direct("UPDATE told SET name = 'missed' WHERE id = 1".into()).await;
        let (first, second) = (changes(&one).follow().await.unwrap(), changes(&two).follow().await.unwrap());
        assert_eq!(name(&one, 1).await, "missed");
        name(&two, 1).await;
        direct("UPDATE told SET name = 'new' WHERE id = 1".into()).await;
        first.sync().await;
        second.sync().await;
        assert_eq!((name(&one, 1).await, name(&two, 1).await), ("new".into(), "new".into()));
    }

    a_closure_that_panics_is_got_over(pool, direct, names) {
        direct(made("panics")).await;
        let cache: Names = cache!(names(&pool, "panics"), Quick::new(100));
        let table = Watched::table("panics").key(&cache, ["id"], |id: i64| if id == 2 { panic!("on purpose") } else { id });
        let changes = Changes::new(pool.clone()).outbox("o_panics").watch(table);
        changes.install().await.unwrap();
        let removal = changes.removal_sql();
        let following = changes.follow().await.unwrap();
        for id in 1..=3 {
            name(&cache, id).await;
        }
        direct("UPDATE panics SET name = 'new' WHERE id = 2".into()).await;
        following.sync().await;
        assert_eq!((name(&cache, 2).await.as_str(), is_cached(&cache, 1).await), ("new", false));
        assert_eq!(following.stats().unreadable, 1);
        direct("UPDATE panics SET name = 'newer' WHERE id = 1".into()).await;
        following.sync().await;
        assert_eq!(name(&cache, 1).await, "newer");
        // nothing is left, and the table can be written
        drop(following);
        for statement in removal {
            direct(statement).await;
        }
        direct("UPDATE panics SET name = 'unwatched' WHERE id = 1".into()).await;
        assert!(sqlx::query("SELECT 1 FROM o_panics").fetch_optional(&pool).await.is_err());
    }

    what_cannot_work_is_refused(pool, _direct, names) {
        let cache: Names = cache!(names(&pool, "nowhere"), Quick::new(10));
        let text = |changes: larder::Result<()>| changes.unwrap_err().to_string();
        let new = || Changes::new(pool.clone());
        assert!(text(new().install().await).contains("`.watch(Watched::table(..).key(..))`"));
        let table = || Watched::table("nowhere").key(&cache, ["id"], |id: i64| id);
        assert!(text(new().watch(Watched::table("x")).install().await).contains("would invalidate nothing"));
        let two = Watched::table("x").key(&cache, ["id", "name"], |id: i64| id);
        let refused = text(new().watch(two).install().await);
        assert!(refused.contains("2 columns are named and the closure takes 1"), "{refused}");
        let mixed = table().key(&cache, [Column::bytes("id")], |_: Vec<u8>| 7);
        assert!(text(new().watch(mixed).install().await).contains("`Column::bytes` everywhere"));
        assert!(text(new().watch(table()).outbox("x".repeat(41)).install().await).contains("1 to 40 bytes"));
        assert!(text(new().watch(table()).poll(Duration::ZERO).install().await).contains("at least 1 ms"));
        let error = new().watch(table()).outbox("o_nowhere").install().await.unwrap_err();
        assert_eq!(error.kind(), larder::ErrorKind::Backend);
        let error = new().watch(table()).outbox("o_nothing").follow().await.unwrap_err();
        assert!(error.to_string().contains("which `install` or the statements of `sql` make"), "{error}");
        let elsewhere = Watched::table_in("elsewhere", "x").key(&cache, ["id"], |id: i64| id);
        let refused = new().watch(elsewhere).outbox("o_nothing").install().await.unwrap_err();
        let kind = if pool_is_postgres(&pool) { larder::ErrorKind::Backend } else { larder::ErrorKind::Config };
        assert_eq!(refused.kind(), kind, "{refused}");
    }
}

fn pool_is_postgres<DB: sqlx::Database>(_: &sqlx::Pool<DB>) -> bool {
    DB::NAME == "PostgreSQL"
}

/// The faults that the two servers have in common: a cut, a restart, a freeze, an overtaken transaction.
struct Faults<'a> {
    cache: &'a Names,
    following: &'a larder_sqlx::Following,
    direct: &'a (dyn Fn(&str) -> String + Sync),
}

impl Faults<'_> {
    fn set(&self, name: &str) {
        (self.direct)(&format!("UPDATE products SET name = '{name}' WHERE id = 1"));
    }

    /// Measures the time until the old value is no longer served after a change by another program, 50 times.
    async fn measure(&self, what: &str) {
        let mut delays = vec![];
        for turn in 0..50 {
            let name = format!("{what} {turn}");
            self.set(&name);
            let delay = until(self.cache, 1, &name).await;
            if delay > SECOND / 2 {
                println!("{what}, turn {turn}: {delay:?}, {:?}", self.following);
            }
            delays.push(delay);
        }
        delays.sort();
        println!("{what}: noticed after {:?} in the middle, {:?} at most", delays[25], delays[49]);
        assert!(delays[49] < SECOND, "{delays:?}");
    }

    /// Something that cuts the follower off; what was changed meanwhile is noticed within a second after it.
    async fn through(&self, what: &str, cut: impl AsyncFnOnce()) {
        self.set(&format!("before {what}"));
        until(self.cache, 1, &format!("before {what}")).await;
        cut().await;
        self.set(&format!("after {what}"));
        let delay = until(self.cache, 1, &format!("after {what}")).await;
        println!("{what}: noticed {delay:?} after it");
        assert!(delay < SECOND, "{what}: {delay:?}");
        self.following.sync().await;
        assert!(self.following.is_current(SECOND));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres_through_cuts_restarts_and_freezes() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    let server = Arc::new(server);
    server.sql(&made("products"));
    let pool = PgPool::connect(&server.url()).await.unwrap();
    let source = QuerySource::new(pool.clone(), "SELECT name FROM products WHERE id = $1");
    let cache: Names = cache!(source, Quick::new(100));
    let changes =
        Changes::new(pool.clone()).watch(Watched::table("products").key(&cache, ["id"], |id: i64| id));
    changes.install().await.unwrap();
    let following = changes.follow().await.unwrap();
    let direct = |sql: &str| server.sql(sql);
    let faults = Faults { cache: &cache, following: &following, direct: &direct };
    faults.measure("psql").await;

    // the follower's own connections, again and again, with a write after each
    for turn in 0..5 {
        faults
            .through(&format!("cut {turn}"), async || {
                server.sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                     AND pid <> pg_backend_pid()",
                );
                faults.set("while it was cut off");
            })
            .await;
    }
    let behind = Instant::now();
    faults
        .through("a freeze of 3 s", async || {
            let frozen = Arc::clone(&server);
            tokio::task::spawn_blocking(move || {
                frozen.freeze();
                std::thread::sleep(Duration::from_secs(3));
                frozen.thaw();
            })
            .await
            .unwrap();
            assert!(!following.is_current(SECOND) || behind.elapsed() < SECOND, "{following:?}");
        })
        .await;
    faults
        .through("a restart", async || {
            server.kill();
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert!(!following.is_current(SECOND), "{following:?}");
            server.start_again();
        })
        .await;
    assert!(following.stats().failures > 0 && following.stats().cleared == 1, "{following:?}");
    faults.measure("psql after all that").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_through_cuts_restarts_and_freezes() {
    let Some(server) = MariadbServer::start(&[]) else { return };
    let server = Arc::new(server);
    server.sql(&made("products"));
    let pool = MySqlPool::connect(&server.url()).await.unwrap();
    let source = QuerySource::new(pool.clone(), "SELECT name FROM products WHERE id = ?");
    let cache: Names = cache!(source, Quick::new(100));
    let changes =
        Changes::new(pool.clone()).watch(Watched::table("products").key(&cache, ["id"], |id: i64| id));
    changes.install().await.unwrap();
    let following = changes.follow().await.unwrap();
    let direct = |sql: &str| server.sql(sql);
    let faults = Faults { cache: &cache, following: &following, direct: &direct };
    faults.measure("mariadb").await;
    for turn in 0..3 {
        faults
            .through(&format!("cut {turn}"), async || {
                let others = server.sql("SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root'");
                for id in others.lines() {
                    _ = server.try_sql(&format!("KILL {id}"));
                }
                faults.set("while it was cut off");
            })
            .await;
    }
    faults
        .through("a freeze of 3 s", async || {
            let frozen = Arc::clone(&server);
            tokio::task::spawn_blocking(move || {
                frozen.freeze();
                std::thread::sleep(Duration::from_secs(3));
                frozen.thaw();
            })
            .await
            .unwrap();
        })
        .await;
    faults
        .through("a restart", async || {
            server.kill();
            tokio::time::sleep(Duration::from_secs(4)).await;
            assert!(!following.is_current(SECOND), "{following:?}");
            server.start_again();
        })
        .await;
    assert!(following.stats().failures > 0 && following.stats().cleared >= 1, "{following:?}");
    faults.measure("mariadb after all that").await;
}

/// Rows are numbered when they are written, and become visible in another order.
macro_rules! overtaken {
    ($test:ident, $server:ident, $pool:ident, $place:literal) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            let Some(server) = $server::start(&[]) else { return };
            server.sql(&made("products"));
            let pool = $pool::connect(&server.url()).await.unwrap();
            let source =
                QuerySource::new(pool.clone(), concat!("SELECT name FROM products WHERE id = ", $place));
            let cache: Names = cache!(source, Quick::new(100));
            let table = || Watched::table("products").key(&cache, ["id"], |id: i64| id);
            Changes::new(pool.clone()).watch(table()).install().await.unwrap();
            // one that is open when following begins, two that are overtaken, one of them undone
            let mut early = pool.begin().await.unwrap();
            sqlx::query("UPDATE products SET name = 'early' WHERE id = 1")
                .execute(&mut *early)
                .await
                .unwrap();
            server.sql("UPDATE products SET name = 'overtaking' WHERE id = 5");
            let following = Changes::new(pool.clone()).watch(table()).follow().await.unwrap();
            let mut slow = pool.begin().await.unwrap();
            sqlx::query("UPDATE products SET name = 'slow' WHERE id = 2").execute(&mut *slow).await.unwrap();
            let mut undone = pool.begin().await.unwrap();
            sqlx::query("UPDATE products SET name = 'undone' WHERE id = 3")
                .execute(&mut *undone)
                .await
                .unwrap();
            server.sql("UPDATE products SET name = 'quick' WHERE id = 4");
            following.sync().await;
            for id in 1..=5 {
                name(&cache, id).await;
            }
            assert_eq!(name(&cache, 4).await, "quick");
            undone.rollback().await.unwrap();
            following.sync().await;
            slow.commit().await.unwrap();
            following.sync().await;
            assert_eq!(name(&cache, 2).await, "slow", "its number is lower than one that was read");
            server.sql("UPDATE products SET name = 'quicker' WHERE id = 4");
            following.sync().await;
            early.commit().await.unwrap();
            following.sync().await;
            assert_eq!(name(&cache, 1).await, "early", "it was open before anybody followed");
            let all = [name(&cache, 3).await, name(&cache, 4).await, name(&cache, 5).await];
            assert_eq!(all, ["three", "quicker", "overtaking"]);
        }
    };
}
overtaken!(postgres_commits_in_another_order, PostgresServer, PgPool, "$1");
overtaken!(mariadb_commits_in_another_order, MariadbServer, MySqlPool, "?");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_postgres_has() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql(&made("products"));
    let pool = PgPool::connect(&server.url()).await.unwrap();
    let source = QuerySource::new(pool.clone(), "SELECT name FROM products WHERE id = $1");
    let cache: Names = cache!(source, Quick::new(100));
    let changes =
        Changes::new(pool.clone()).watch(Watched::table("products").key(&cache, ["id"], |id: i64| id));
    changes.install().await.unwrap();
    let following = changes.follow().await.unwrap();

    // somebody who may write the table and nothing else, with settings of his own
    server.sql("CREATE ROLE clerk LOGIN; GRANT SELECT, UPDATE, INSERT ON products TO clerk");
    name(&cache, 1).await;
    server.sql("SET ROLE clerk; SET search_path = pg_temp; UPDATE public.products SET name = 'by a clerk' WHERE id = 1");
    following.sync().await;
    assert_eq!(name(&cache, 1).await, "by a clerk");
    assert!(
        server.try_sql("SET ROLE clerk; SELECT * FROM larder_changes").is_err(),
        "and sees no other's changes"
    );

    // what is replicated into the table, or loaded as if
    server
        .sql("SET session_replication_role = replica; UPDATE products SET name = 'replicated' WHERE id = 1");
    following.sync().await;
    assert_eq!(name(&cache, 1).await, "replicated");

    // savepoints: one transaction has several numbers within
    server.sql("BEGIN; SAVEPOINT a; UPDATE products SET name = 'saved' WHERE id = 1; RELEASE a; COMMIT");
    following.sync().await;
    assert_eq!(name(&cache, 1).await, "saved");

    name(&cache, 2).await;
    server.sql("TRUNCATE products");
    following.sync().await;
    assert_eq!((name(&cache, 1).await, name(&cache, 2).await), (String::new(), String::new()));

    // in another schema, with an outbox there
    server.sql("CREATE SCHEMA sales; CREATE TABLE sales.orders (id BIGINT PRIMARY KEY, name TEXT); INSERT INTO sales.orders VALUES (1, 'old')");
    let source = QuerySource::new(pool.clone(), "SELECT name FROM sales.orders WHERE id = $1");
    let orders: Names = cache!(source, Quick::new(100));
    let table = Watched::table_in("sales", "orders").key(&orders, ["id"], |id: i64| id);
    let changes = Changes::new(pool.clone()).outbox_schema("sales").outbox("changes").watch(table);
    // as a migration does it
    server.sql(&changes.sql().join(";\n"));
    let followed = changes.follow().await.unwrap();
    name(&orders, 1).await;
    server.sql("UPDATE sales.orders SET name = 'new' WHERE id = 1");
    followed.sync().await;
    assert_eq!(name(&orders, 1).await, "new");
}
