//! Attacks of one role of a database on another, through what larder installs.
#![cfg(all(feature = "postgres", feature = "mysql"))]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use larder::{Cache, Quick, Strategy};
use larder_sqlx::{Changes, QuerySource, Watched};
use larder_testkit::servers::{MariadbServer, PostgresServer};
use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor as _, MySqlPool, PgPool, Postgres};

type Names = Cache<i64, (String,)>;

/// The SQLSTATE of missing rights.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

fn cache(pool: &PgPool) -> Names {
    Cache::builder()
        .namespace("names")
        .backend(Quick::new(100))
        .source(QuerySource::new(pool.clone(), "SELECT name FROM products WHERE id = $1"))
        .strategy(Strategy::aside(Duration::from_secs(3_600)))
        .build()
        .unwrap()
}

fn changes(pool: &PgPool, cache: &Names) -> Changes<Postgres> {
    Changes::new(pool.clone()).watch(Watched::table("products").key(cache, ["id"], |id: i64| id))
}

/// The name of the trigger function of `products`.
fn function(changes: &Changes<Postgres>) -> String {
    let sql = changes.sql().join("\n");
    let (_, rest) = sql.rsplit_once("CREATE OR REPLACE FUNCTION ").unwrap();
    rest.split_once("()").unwrap().0.to_owned()
}

/// A server with the table `products`, the role `mallory`, who may only connect and make temporary objects, and the pools of
/// the superuser and of `mallory`.
async fn attacked() -> Option<(PostgresServer, PgPool, PgPool)> {
    let server = PostgresServer::start(&[])?;
    server.sql(
        "CREATE TABLE products (id BIGINT PRIMARY KEY, name TEXT); INSERT INTO products VALUES (1, 'one'); \
         CREATE ROLE mallory LOGIN",
    );
    let pool = PgPool::connect(&server.url()).await.unwrap();
    let one = PgPoolOptions::new().max_connections(1);
    let mallory = one.connect(&server.url().replace("postgres@", "mallory@")).await.unwrap();
    Some((server, pool, mallory))
}

fn is_superuser(server: &PostgresServer) -> bool {
    server.sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'") == "t"
}

/// The SQLSTATE that a statement fails with.
async fn code(pool: &PgPool, sql: &'static str) -> Option<String> {
    let error = pool.execute(sql).await.err()?;
    Some(error.as_database_error().unwrap_or_else(|| panic!("{error}")).code().unwrap().into_owned())
}

async fn run(pool: &PgPool, sql: String) -> Result<(), String> {
    match sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await {
        Ok(_) => Ok(()),
        Err(error) => {
            Err(error.as_database_error().and_then(sqlx::error::DatabaseError::code).unwrap().into_owned())
        }
    }
}

/// A type whose casts to `text` and `bytea` make `mallory` a superuser if a superuser runs them.
const EVIL_TYPE: &str = "
    CREATE TYPE pg_temp.evil AS (x int);
    CREATE FUNCTION pg_temp.to_text(pg_temp.evil) RETURNS text LANGUAGE plpgsql AS
        $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN 'x'; END $$;
    CREATE FUNCTION pg_temp.to_bytes(pg_temp.evil) RETURNS bytea LANGUAGE plpgsql AS
        $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN 'x'; END $$;
    CREATE CAST (pg_temp.evil AS text) WITH FUNCTION pg_temp.to_text(pg_temp.evil) AS IMPLICIT;
    CREATE CAST (pg_temp.evil AS bytea) WITH FUNCTION pg_temp.to_bytes(pg_temp.evil) AS IMPLICIT;
    CREATE TEMPORARY TABLE products (id pg_temp.evil, name text);
";

#[tokio::test]
async fn a_strangers_table_cannot_use_the_trigger_function() {
    let Some((server, pool, mallory)) = attacked().await else { return };
    let changes = changes(&pool, &cache(&pool));
    changes.install().await.unwrap();
    run(&mallory, EVIL_TYPE.into()).await.unwrap();
    let function = function(&changes);
    let trigger =
        format!("CREATE TRIGGER t AFTER INSERT ON products FOR EACH ROW EXECUTE FUNCTION {function}()");
    let attached = run(&mallory, trigger).await;
    let fired = code(&mallory, "INSERT INTO pg_temp.products VALUES (ROW(1), 'x')").await;
    assert!(!is_superuser(&server), "the cast ran as the superuser: {attached:?}, {fired:?}");
    assert_eq!(attached, Err(INSUFFICIENT_PRIVILEGE.into()));
}

/// The outbox and the triggers of version 0.1.0 before the fix.
fn old_sql(function: &str) -> String {
    let (rows, statements) = (function.replace("\"public\".", ""), function.replace("\"public\".", ""));
    let (rows, statements) = (rows.replace('"', "") + "_r", statements.replace('"', "") + "_s");
    format!(
        r#"
CREATE TABLE IF NOT EXISTS "public"."larder_changes" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(), source text NOT NULL, image text);
CREATE INDEX IF NOT EXISTS "larder_changes_xid" ON "public"."larder_changes" (xid);
CREATE TABLE IF NOT EXISTS "public"."larder_changes_positions"
    (name text PRIMARY KEY, position text NOT NULL, at float8 NOT NULL);
CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, "public", pg_temp SET datestyle = 'ISO, YMD' SET timezone = 'UTC'
SET intervalstyle = 'iso_8601' SET extra_float_digits = 1 AS $larder$
DECLARE
    old_image text;
    new_image text;
BEGIN
    IF TG_LEVEL = 'STATEMENT' THEN
        IF TG_OP = 'TRUNCATE' THEN
            INSERT INTO "public"."larder_changes" (source) VALUES ('products');
        END IF;
        PERFORM pg_notify('larder_changes_x', '');
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        old_image := json_build_object('id', OLD."id"::text)::text;
        INSERT INTO "public"."larder_changes" (source, image) VALUES ('products', old_image);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        new_image := json_build_object('id', NEW."id"::text)::text;
        IF new_image IS DISTINCT FROM old_image THEN
            INSERT INTO "public"."larder_changes" (source, image) VALUES ('products', new_image);
        END IF;
    END IF;
    RETURN NULL;
END
$larder$;
CREATE OR REPLACE TRIGGER "{rows}" AFTER INSERT OR UPDATE OR DELETE ON "public"."products"
    FOR EACH ROW EXECUTE FUNCTION {function}();
CREATE OR REPLACE TRIGGER "{statements}" AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON "public"."products"
    FOR EACH STATEMENT EXECUTE FUNCTION {function}();
ALTER TABLE "public"."products" ENABLE ALWAYS TRIGGER "{rows}";
ALTER TABLE "public"."products" ENABLE ALWAYS TRIGGER "{statements}";
"#
    )
}

/// An attack that was prepared while the old version was installed does not outlive the upgrade.
#[tokio::test]
async fn install_upgrades_what_an_older_version_installed() {
    let Some((server, pool, mallory)) = attacked().await else { return };
    let cache = cache(&pool);
    let new = changes(&pool, &cache);
    let function = function(&new);
    server.sql(&old_sql(&function));
    run(&mallory, EVIL_TYPE.into()).await.unwrap();
    let trigger = |name: &str| {
        format!(
            "CREATE TRIGGER {name} AFTER INSERT ON pg_temp.products FOR EACH ROW EXECUTE FUNCTION {function}()"
        )
    };
    run(&mallory, trigger("planted")).await.unwrap();
    new.install().await.unwrap();
    let fired = code(&mallory, "INSERT INTO pg_temp.products VALUES (ROW(1), 'x')").await;
    let another = run(&mallory, trigger("another")).await;
    assert!(!is_superuser(&server), "the cast ran as the superuser");
    assert_eq!(fired.as_deref(), Some(INSUFFICIENT_PRIVILEGE));
    assert_eq!(another, Err(INSUFFICIENT_PRIVILEGE.into()));
    // and it still works for whom it is
    let following = changes(&pool, &cache).follow().await.unwrap();
    cache.get(&1).await.unwrap();
    server.sql("UPDATE products SET name = 'new' WHERE id = 1");
    following.sync().await;
    assert_eq!(cache.get(&1).await.unwrap().unwrap().0, "new");
}

/// The owner of the watched table is not the role that installed: his types are shown without calling his functions.
#[tokio::test]
async fn the_casts_of_a_watched_tables_owner_are_not_called() {
    let Some((server, pool, mallory)) = attacked().await else { return };
    server.sql(
        "GRANT CREATE ON SCHEMA public TO mallory; ALTER TABLE products OWNER TO mallory; \
         CREATE TABLE digests (id BYTEA); ALTER TABLE digests OWNER TO mallory",
    );
    let names = cache(&pool);
    let bytes: Cache<Vec<u8>, u8> = Cache::builder()
        .backend(Quick::new(10))
        .strategy(Strategy::aside(Duration::from_secs(9)))
        .build()
        .unwrap();
    let changes = changes(&pool, &names).watch(Watched::table("digests").key(
        &bytes,
        [larder_sqlx::Column::bytes("id")],
        |id: Vec<u8>| id,
    ));
    changes.install().await.unwrap();
    let evil = EVIL_TYPE
        .replace("pg_temp.", "public.")
        .replace("CREATE TEMPORARY TABLE products (id public.evil, name text);", "");
    run(&mallory, evil).await.unwrap();
    run(&mallory, "ALTER TABLE products DROP COLUMN id; ALTER TABLE products ADD id public.evil".into())
        .await
        .unwrap();
    run(&mallory, "ALTER TABLE digests DROP COLUMN id; ALTER TABLE digests ADD id public.evil".into())
        .await
        .unwrap();
    let written =
        run(&mallory, "UPDATE products SET id = ROW(7); INSERT INTO digests VALUES (ROW(1))".into()).await;
    assert!(!is_superuser(&server), "the cast ran as the superuser");
    assert_eq!(written, Ok(()));
}

/// Functions and operators that match better than those of `pg_catalog`, in a schema that is searched. Each escalates.
fn planted() -> String {
    let body = "LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN NULL; END $$";
    let functions = [
        ("json_build_object(text, text)", "json"),
        ("json_build_object(text, bigint)", "json"),
        ("format(text, bigint)", "text"),
        ("format(text, text, name)", "text"),
        ("encode(bytea, text)", "text"),
        ("concat(numeric, text, text)", "text"),
        ("\"left\"(text, int)", "text"),
        ("rtrim(text, text)", "text"),
        ("strpos(text, text)", "int"),
        ("pg_notify(text, text)", "text"),
        ("pg_current_xact_id()", "xid8"),
        ("pg_current_snapshot()", "pg_snapshot"),
        ("pg_snapshot_xmax(pg_snapshot)", "xid8"),
        ("pg_snapshot_xmin(pg_snapshot)", "xid8"),
        ("pg_get_userbyid(oid)", "name"),
        ("hashtext(text)", "int"),
        ("pg_advisory_xact_lock(int)", "int"),
        ("clock_timestamp()", "timestamptz"),
        ("pg_postmaster_start_time()", "timestamptz"),
        ("pg_current_wal_insert_lsn()", "pg_lsn"),
        ("pg_walfile_name(pg_lsn)", "text"),
    ];
    let mut sql = String::new();
    for (function, returns) in functions {
        sql += &format!("CREATE FUNCTION public.{function} RETURNS {returns} {body};\n");
    }
    let operators = [
        ("=", "text", "text"),
        ("<>", "text", "text"),
        ("=", "name", "name"),
        ("<>", "name", "name"),
        ("=", "name", "text"),
        ("=", "oid", "oid"),
        ("<", "xid8", "xid8"),
        (">=", "xid8", "xid8"),
        ("=", "xid8", "xid8"),
        ("<=", "float8", "float8"),
        ("||", "text", "text"),
    ];
    for (at, (operator, left, right)) in operators.iter().enumerate() {
        sql += &format!(
            "CREATE FUNCTION public.operator_{at}({left}, {right}) RETURNS boolean {body};
             CREATE OPERATOR public.{operator} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = public.operator_{at});\n"
        );
    }
    sql
}

#[tokio::test]
async fn planted_functions_are_never_called() {
    let Some((server, pool, mallory)) = attacked().await else { return };
    server.sql("GRANT CREATE ON SCHEMA public TO mallory");
    run(&mallory, planted()).await.unwrap();
    let cache = cache(&pool);
    let changes = || changes(&pool, &cache).resumed_as("shop");
    changes().install().await.unwrap();
    assert!(!is_superuser(&server), "while it was installed");
    server.sql("UPDATE products SET name = 'new'; INSERT INTO products VALUES (2, 'two'); TRUNCATE products");
    assert!(!is_superuser(&server), "when the table was written");
    // who installs and follows searches the attacker's schema first
    server.sql("ALTER ROLE postgres SET search_path = public, pg_catalog");
    let careless = PgPool::connect(&server.url()).await.unwrap();
    let careless =
        || Changes::new(careless.clone()).watch(Watched::table("products").key(&cache, ["id"], |id: i64| id));
    for statement in careless().sql() {
        run(&pool, format!("SET search_path = public, pg_catalog; {statement}; RESET search_path"))
            .await
            .unwrap();
    }
    assert!(!is_superuser(&server), "when the statements of `sql` were run");
    careless().install().await.unwrap();
    assert!(!is_superuser(&server), "when it was installed again");
    let quick =
        careless().resumed_as("shop").poll(Duration::from_millis(10)).keep(Duration::from_millis(100));
    let following = quick.follow().await.unwrap();
    for turn in 0..5 {
        _ = server.try_sql(&format!(
            "SET search_path = pg_catalog; INSERT INTO public.products VALUES ({turn}, 'x')"
        ));
        following.sync().await;
    }
    assert!(!is_superuser(&server), "when it was followed: {following:?}");
    assert_eq!(following.stats().failures, 0);
}

/// Triggers on the outbox run with the rights of the trigger function's owner.
#[tokio::test]
async fn a_planted_outbox_is_refused() {
    let Some((server, pool, mallory)) = attacked().await else { return };
    server.sql("GRANT CREATE ON SCHEMA public TO mallory");
    let planted = "CREATE TABLE public.larder_changes (id bigint, xid xid8 DEFAULT pg_current_xact_id(), source text, image text);
        CREATE FUNCTION public.planted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ALTER ROLE mallory SUPERUSER; RETURN NEW; END $$;
        CREATE TRIGGER planted BEFORE INSERT ON public.larder_changes FOR EACH ROW EXECUTE FUNCTION public.planted()";
    run(&mallory, planted.into()).await.unwrap();
    let changes = changes(&pool, &cache(&pool));
    let error = changes.install().await;
    server.sql("UPDATE products SET name = 'new'");
    assert!(!is_superuser(&server), "the planted trigger ran as the superuser");
    let error = error.unwrap_err();
    let shown = format!("{:?}", error.source_as::<sqlx::Error>());
    assert!(shown.contains("larder_changes, which belongs to mallory"), "{error}, {shown}");
    // the same by the statements for a migration
    assert!(server.try_sql(&changes.sql().join(";\n")).unwrap_err().contains("which belongs to mallory"));
    // a function of that name, too
    server.sql("DROP TABLE larder_changes");
    let function = function(&changes);
    let planted = format!(
        "CREATE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$"
    );
    run(&mallory, planted).await.unwrap();
    assert!(changes.install().await.is_err());
}

/// A superuser installs, and the owner of the table goes on working with it: partitions, another name.
#[tokio::test]
async fn the_owner_of_a_watched_table_can_still_change_it() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql(
        "CREATE ROLE shop LOGIN; GRANT CREATE ON SCHEMA public TO shop; SET ROLE shop; \
         CREATE TABLE products (id BIGINT, name TEXT) PARTITION BY RANGE (id); \
         CREATE TABLE low PARTITION OF products FOR VALUES FROM (0) TO (10)",
    );
    for installer in ["postgres@", "shop@"] {
        let pool = PgPool::connect(&server.url().replace("postgres@", installer)).await.unwrap();
        let cache = cache(&pool);
        let name = if installer == "shop@" { "of_shop" } else { "larder_changes" };
        let changes = || changes(&pool, &cache).outbox(name);
        changes().install().await.unwrap();
        let following = changes().follow().await.unwrap();
        server.sql("SET ROLE shop; CREATE TABLE high PARTITION OF products FOR VALUES FROM (10) TO (20)");
        for id in [1, 11] {
            cache.get(&id).await.unwrap();
            server.sql(&format!("SET ROLE shop; INSERT INTO products VALUES ({id}, 'new')"));
            following.sync().await;
            assert_eq!(cache.get(&id).await.unwrap().unwrap().0, "new", "{installer} {id}");
        }
        server.sql("DROP TABLE high; TRUNCATE products");
        if installer == "shop@" {
            server.sql("DROP FUNCTION IF EXISTS public.larder_changes CASCADE");
        }
    }
}

/// A watched table that gets another name is still written down under its old one, if it belongs to who installed.
#[tokio::test]
async fn a_renamed_table_can_be_written() {
    let Some((server, pool, _)) = attacked().await else { return };
    let cache = cache(&pool);
    changes(&pool, &cache).install().await.unwrap();
    let following = changes(&pool, &cache).follow().await.unwrap();
    server.sql("ALTER TABLE products RENAME TO goods; CREATE VIEW products AS SELECT * FROM goods");
    cache.get(&1).await.unwrap();
    server.sql("UPDATE products SET name = 'new' WHERE id = 1");
    following.sync().await;
    assert_eq!(cache.get(&1).await.unwrap().unwrap().0, "new");
}

/// The result is that of a cast to text, though no cast is called.
#[tokio::test]
async fn values_are_shown_as_a_cast_shows_them() {
    let Some(server) = PostgresServer::start(&[]) else { return };
    server.sql(
        "CREATE TYPE mood AS ENUM ('happy', 'it''s \"so so\"');
         CREATE DOMAIN flag AS boolean; CREATE DOMAIN code AS char(5); CREATE TYPE pair AS (a int, b text);
         CREATE TABLE shown (a boolean, b char(5), c inet, d cidr, e uuid, f numeric, g timestamptz, h interval, i float8,
             j date, k mood, l flag, m code, n pair, o int[], p jsonb, q name, r \"char\", s varchar(5), t inet, u bytea);",
    );
    let columns: Vec<char> = ('a'..='t').collect();
    let pool = PgPool::connect(&server.url()).await.unwrap();
    let cache: Cache<Vec<Option<String>>, u8> = Cache::builder()
        .backend(Quick::new(10))
        .strategy(Strategy::aside(Duration::from_secs(9)))
        .build()
        .unwrap();
    let mut table = Watched::table("shown");
    for column in &columns {
        table = table.key(&cache, [column.to_string()], |text: Option<String>| vec![text]);
    }
    let table = table.key(&cache, [larder_sqlx::Column::bytes("u")], |_: Option<Vec<u8>>| vec![]);
    let changes = Changes::new(pool.clone()).watch(table);
    changes.install().await.unwrap();
    server.sql(
        "SET timezone = 'UTC'; SET intervalstyle = 'iso_8601';
         INSERT INTO shown VALUES (true, 'ab', '10.0.0.1', '10.0.0.0/8', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 1.50,
             '2024-01-02 03:04:05.6+02', '1 day 2 hours', 0.1, '2024-02-03', 'it''s \"so so\"', false, 'xy ', ROW(1, 'a b'),
             '{1,2}', '{\"a\": 1}', 'n', 'c', 'v  ', '::1', '\\x00ff');
         INSERT INTO shown DEFAULT VALUES",
    );
    let cast = |column: &char| {
        let casts = format!("coalesce(({column}::text), '<null>')");
        server
            .sql(&format!("SET timezone = 'UTC'; SET intervalstyle = 'iso_8601'; SELECT {casts} FROM shown"))
    };
    for column in &columns {
        let written =
            format!("SELECT coalesce(image::json->>'{column}', '<null>') FROM larder_changes ORDER BY id");
        assert_eq!(server.sql(&written), cast(column), "{column}");
    }
    assert_eq!(server.sql("SELECT image::json->>'u' FROM larder_changes ORDER BY id LIMIT 1"), "00ff");
}

/// Triggers of MySQL run with the rights of who made them, and so does a function that a view calls for them.
#[tokio::test]
async fn a_view_in_the_place_of_a_mysql_outbox_is_refused() {
    let Some(server) = MariadbServer::start(&[]) else { return };
    server.sql(
        "CREATE TABLE products (id BIGINT PRIMARY KEY, name VARCHAR(20)); INSERT INTO products VALUES (1, 'one');
         CREATE TABLE hidden (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, source VARCHAR(200), image LONGTEXT);
         CREATE FUNCTION planted() RETURNS INT SQL SECURITY INVOKER RETURN 1;
         CREATE SQL SECURITY INVOKER VIEW larder_changes AS
             SELECT id, source, image FROM hidden WHERE planted() = 1 WITH CHECK OPTION",
    );
    let pool = MySqlPool::connect(&server.url()).await.unwrap();
    let source = QuerySource::new(pool.clone(), "SELECT name FROM products WHERE id = ?");
    let strategy = Strategy::aside(Duration::from_secs(9));
    let cache: Names =
        Cache::builder().backend(Quick::new(9)).source(source).strategy(strategy).build().unwrap();
    let changes =
        Changes::new(pool.clone()).watch(Watched::table("products").key(&cache, ["id"], |id: i64| id));
    let error = changes.install().await.unwrap_err();
    let shown = format!("{:?}", error.source_as::<sqlx::Error>());
    assert!(shown.contains("it is no base table"), "{error}, {shown}");
    assert_eq!(
        server.sql("SELECT count(*) FROM information_schema.triggers WHERE trigger_schema = database()"),
        "0"
    );
}
