//! PostgreSQL.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::postgres::PgListener;
use sqlx::{Connection as _, PgConnection, Pool};

use super::{Backslash, Dialect, Lexis, Style, quoted};
use crate::changes::feed::{Each, Feed, Outbox, Seen, Table, drop_tables, full, safe, within};
use crate::changes::{Column, Name};

impl Dialect for sqlx::Postgres {
    const MOST_BINDS: usize = 65_535;
    const ARRAYS: bool = true;
    const LEXIS: Lexis = Lexis {
        placeholders: Style { question: false, numbered: "$", example: "`$1`, `$2`, .." },
        backticks: false,
        brackets: false,
        hash_comments: false,
        backslash: Backslash::AfterE,
        dollar_quotes: true,
        nested_comments: true,
    };

    /// The same however many keys there are.
    fn key_list(_keys: usize, parts: usize) -> String {
        let arrays: Vec<String> = (1..=parts).map(|part| format!("${part}")).collect();
        format!("SELECT * FROM unnest({})", arrays.join(", "))
    }

    fn quote(name: &str) -> String {
        quoted(name, '"')
    }
}

/// Where names without a schema are.
const SCHEMA: Option<&str> = Some("public");

/// How long the database may take for a row, or for an answer without one.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to connect. A pool that waits longer also pauses longer between its attempts.
const CONNECTING: Duration = Duration::from_secs(3);

/// A text, whatever it consists of.
fn literal(text: &str) -> String {
    let mark = if text.contains('\\') { "E" } else { "" };
    format!("{mark}{}", quoted(&text.replace('\\', "\\\\"), '\''))
}

/// `json_build_object('id', NEW."id"::text)::text`.
fn image(table: &Table, row: &str) -> String {
    let column = |column: &Column| {
        let value = format!("{row}.{}", sqlx::Postgres::quote(&column.name));
        let text = if column.binary { format!("encode({value}, 'hex')") } else { format!("{value}::text") };
        format!("{}, {text}", literal(&column.name))
    };
    format!("json_build_object({})::text", table.columns.iter().map(column).collect::<Vec<_>>().join(", "))
}

/// A function's body between marks that are not in it.
fn dollar_quoted(body: &str) -> String {
    let mut mark = "$larder$".to_owned();
    while body.contains(&mark) {
        mark.insert(mark.len() - 1, 'x');
    }
    format!("{mark}{body}{mark}")
}

/// The channel on which changes are told: its name is at most 63 bytes long.
fn channel(outbox: &Outbox) -> String {
    outbox.own(&full::<sqlx::Postgres>(&outbox.table, SCHEMA))
}

/// The function of a table's triggers, beside the outbox.
fn function(outbox: &Outbox, table: &Table) -> String {
    let name = outbox.own(&table.name.source());
    full::<sqlx::Postgres>(&Name { schema: outbox.table.schema.clone(), name }, SCHEMA)
}

/// What the trigger of a table does, for rows and for statements.
fn trigger_body(outbox: &Outbox, table: &Table) -> String {
    let (source, into) = (literal(&table.name.source()), full::<sqlx::Postgres>(&outbox.table, SCHEMA));
    let (old, new) = (image(table, "OLD"), image(table, "NEW"));
    format!(
        "
DECLARE
    old_image text;
    new_image text;
BEGIN
    IF TG_LEVEL = 'STATEMENT' THEN
        IF TG_OP = 'TRUNCATE' THEN
            INSERT INTO {into} (source) VALUES ({source});
        END IF;
        PERFORM pg_notify({channel}, '');
        RETURN NULL;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        old_image := {old};
        INSERT INTO {into} (source, image) VALUES ({source}, old_image);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        new_image := {new};
        IF new_image IS DISTINCT FROM old_image THEN
            INSERT INTO {into} (source, image) VALUES ({source}, new_image);
        END IF;
    END IF;
    RETURN NULL;
END
",
        channel = literal(&channel(outbox)),
    )
}

/// A moment, by what was committed then, and the server that said so.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// A `pg_snapshot`.
    visible: String,
    /// When the server was started, and on which timeline it writes: another after a failover.
    server: String,
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.visible, self.server)
    }
}

impl FromStr for Snapshot {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (visible, server) = text.split_once('|').ok_or(())?;
        Ok(Self { visible: visible.to_owned(), server: server.to_owned() })
    }
}

/// The columns that a [`Snapshot`] and the server's time are read from. On a standby it is an error, as it should be: what
/// is loaded from there is as old as its lag.
const NOW: &str = "now.visible::text, \
    extract(epoch FROM pg_postmaster_start_time())::text || '/' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8), \
    extract(epoch FROM clock_timestamp())::float8";

impl Feed for sqlx::Postgres {
    type Position = Snapshot;

    const SCHEMA: Option<&'static str> = SCHEMA;
    const OWN_POOL: bool = true;

    fn own_pool(pool: &Pool<Self>) -> Pool<Self> {
        // one to read, one to listen; the user's pool may be used up by those who wait for their loads
        let options = sqlx::postgres::PgPoolOptions::new()
            .max_connections(2)
            .acquire_timeout(CONNECTING)
            .test_before_acquire(false);
        options.connect_lazy_with((*pool.connect_options()).clone())
    }

    fn outbox_sql(outbox: &Outbox) -> Vec<String> {
        let (table, positions) =
            (full::<Self>(&outbox.table, SCHEMA), full::<Self>(&outbox.positions(), SCHEMA));
        let index = Self::quote(&outbox.beside("_xid").name);
        vec![
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
                 xid xid8 NOT NULL DEFAULT pg_current_xact_id(), source text NOT NULL, image text)"
            ),
            format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (xid)"),
            format!(
                "CREATE TABLE IF NOT EXISTS {positions} \
                 (name text PRIMARY KEY, position text NOT NULL, at float8 NOT NULL)"
            ),
        ]
    }

    fn removal_sql(outbox: &Outbox, tables: &[Table]) -> Vec<String> {
        let functions = tables.iter().map(|table| function(outbox, table));
        let drops = functions.map(|function| format!("DROP FUNCTION IF EXISTS {function}() CASCADE"));
        drops.chain(drop_tables::<Self>(outbox)).collect()
    }

    fn triggers_sql(outbox: &Outbox, table: &Table) -> Vec<String> {
        let name = outbox.own(&table.name.source());
        let schema = outbox.table.schema.as_deref().or(SCHEMA).unwrap_or_default();
        let function = function(outbox, table);
        let on = full::<Self>(&table.name, SCHEMA);
        let (rows, statements) = (Self::quote(&format!("{name}_r")), Self::quote(&format!("{name}_s")));
        let body = dollar_quoted(&trigger_body(outbox, table));
        vec![
            // whoever may write the table need not be allowed to write the outbox; text must not depend on the session
            format!(
                "CREATE OR REPLACE FUNCTION {function}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER \
                 SET search_path = pg_catalog, {}, pg_temp SET datestyle = 'ISO, YMD' SET timezone = 'UTC' \
                 SET intervalstyle = 'iso_8601' SET extra_float_digits = 1 AS {body}",
                Self::quote(schema)
            ),
            format!(
                "CREATE OR REPLACE TRIGGER {rows} AFTER INSERT OR UPDATE OR DELETE ON {on} \
                 FOR EACH ROW EXECUTE FUNCTION {function}()"
            ),
            format!(
                "CREATE OR REPLACE TRIGGER {statements} AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON {on} \
                 FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
            ),
            // also for what is replicated into this table
            format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {rows}"),
            format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {statements}"),
        ]
    }

    async fn install(
        connection: &mut PgConnection,
        outbox: &Outbox,
        tables: &[Table],
    ) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin().await?;
        // `IF NOT EXISTS` is not safe against another who makes the same
        let lock = "SELECT pg_advisory_xact_lock(hashtext('larder_sqlx install'))";
        sqlx::query(lock).execute(&mut *transaction).await?;
        let triggers = tables.iter().flat_map(|table| Self::triggers_sql(outbox, table));
        for statement in Self::outbox_sql(outbox).into_iter().chain(triggers) {
            sqlx::raw_sql(safe(statement)).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn end(connection: &mut PgConnection, _outbox: &Outbox) -> Result<Seen<Snapshot>, sqlx::Error> {
        let sql = format!("SELECT {NOW} FROM (SELECT pg_current_snapshot() AS visible) AS now");
        let (visible, server, at) = within(PATIENCE, sqlx::query_as(safe(sql)).fetch_one(connection)).await?;
        Ok(Seen { position: Snapshot { visible, server }, at, restarted: false })
    }

    /// What is visible now and was not then was written by a transaction that was under way then, or began later. So it
    /// does not matter in which order they committed, nor how long one took, and nothing is read twice.
    async fn read(
        connection: &mut PgConnection,
        outbox: &Outbox,
        from: &Snapshot,
        each: &mut Each<'_>,
    ) -> Result<Seen<Snapshot>, sqlx::Error> {
        let table = full::<Self>(&outbox.table, SCHEMA);
        let sql = format!(
            "SELECT {NOW}, news.source, news.image FROM (SELECT pg_current_snapshot() AS visible) AS now LEFT JOIN ( \
                 SELECT source, image FROM {table} WHERE xid >= pg_snapshot_xmax($1::text::pg_snapshot) \
                 UNION ALL \
                 SELECT source, image FROM {table} WHERE xid IN (SELECT pg_snapshot_xip($1::text::pg_snapshot)) \
             ) AS news ON true"
        );
        type Row = (String, String, f64, Option<String>, Option<String>);
        let mut rows = sqlx::query_as::<_, Row>(safe(sql)).bind(&from.visible).fetch(connection);
        let mut seen = None;
        while let Some((visible, server, now, source, image)) = within(PATIENCE, rows.try_next()).await? {
            if let Some(source) = source {
                each(&source, image.as_deref());
            }
            seen.get_or_insert_with(|| {
                let restarted = server != from.server;
                Seen { position: Snapshot { visible, server }, at: now, restarted }
            });
        }
        seen.ok_or(sqlx::Error::RowNotFound)
    }

    async fn prune(
        connection: &mut PgConnection,
        outbox: &Outbox,
        position: &Snapshot,
    ) -> Result<(), sqlx::Error> {
        let table = full::<Self>(&outbox.table, SCHEMA);
        let sql = format!("DELETE FROM {table} WHERE xid < pg_snapshot_xmin($1::text::pg_snapshot)");
        let delete = sqlx::query(safe(sql)).bind(&position.visible).execute(connection);
        within(PATIENCE, delete).await.map(|_| ())
    }

    async fn kept(
        connection: &mut PgConnection,
        outbox: &Outbox,
        name: &str,
    ) -> Result<Option<(String, f64)>, sqlx::Error> {
        let positions = full::<Self>(&outbox.positions(), SCHEMA);
        let sql = format!("SELECT position, at FROM {positions} WHERE name = $1");
        within(PATIENCE, sqlx::query_as(safe(sql)).bind(name).fetch_optional(connection)).await
    }

    async fn keep(
        connection: &mut PgConnection,
        outbox: &Outbox,
        name: &str,
        position: &str,
        at: f64,
    ) -> Result<(), sqlx::Error> {
        let positions = full::<Self>(&outbox.positions(), SCHEMA);
        let sql = format!(
            "INSERT INTO {positions} AS kept VALUES ($1, $2, $3) \
             ON CONFLICT (name) DO UPDATE SET position = excluded.position, at = excluded.at WHERE kept.at <= excluded.at"
        );
        let keep = sqlx::query(safe(sql)).bind(name).bind(position).bind(at).execute(connection);
        within(PATIENCE, keep).await.map(|_| ())
    }

    async fn wakes(
        pool: &Pool<Self>,
        outbox: &Outbox,
        wake: &(dyn Fn() + Send + Sync),
    ) -> Result<(), sqlx::Error> {
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(&channel(outbox)).await?;
        // what was told before it listened
        wake();
        loop {
            // `None`: it was cut off, and listens again
            listener.try_recv().await?;
            wake();
        }
    }
}
