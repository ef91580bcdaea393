//! The dialect and change feed of PostgreSQL.

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

    /// Returns the same list for any number of keys.
    fn key_list(_keys: usize, parts: usize) -> String {
        let arrays: Vec<String> = (1..=parts).map(|part| format!("${part}")).collect();
        format!("SELECT * FROM unnest({})", arrays.join(", "))
    }

    fn quote(name: &str) -> String {
        quoted(name, '"')
    }
}

/// The schema of names without one.
const SCHEMA: Option<&str> = Some("public");

/// The search path of the trigger function.
const SEARCH_PATH: &str = "search_path = pg_catalog, pg_temp";

/// The maximum time for a row, or for an answer without one.
const PATIENCE: Duration = Duration::from_secs(10);
/// The maximum time to connect. A pool that waits longer also pauses longer between its attempts.
const CONNECTING: Duration = Duration::from_secs(3);

/// Returns any text as a literal.
fn literal(text: &str) -> String {
    let mark = if text.contains('\\') { "E" } else { "" };
    format!("{mark}{}", quoted(&text.replace('\\', "\\\\"), '\''))
}

/// Returns the text of a column's value, or the hexadecimal digits of its bytes.
///
/// `pg_catalog.format` calls the output function of the type, which only a superuser can define. A cast would call
/// the function that the owner of the type chose, with the rights of the trigger function's owner (prevents:
/// privilege escalation). For `boolean`, `char(n)` and `inet` the output is then changed into the result of a cast.
fn text(column: &Column, row: &str) -> String {
    let value = format!("{row}.{}", sqlx::Postgres::quote(&column.name));
    if column.binary {
        // `bytea_output` is `hex`: the digits follow `\x`
        return format!(
            "CASE WHEN {value} IS DISTINCT FROM NULL THEN pg_catalog.substr(pg_catalog.format('%s', {value}), 3) END"
        );
    }
    format!(
        "CASE WHEN {value} IS DISTINCT FROM NULL THEN ( \
         SELECT CASE shown.by \
         WHEN 'pg_catalog.boolout'::pg_catalog.regproc THEN CASE shown.text WHEN 't' THEN 'true' ELSE 'false' END \
         WHEN 'pg_catalog.bpcharout'::pg_catalog.regproc THEN pg_catalog.rtrim(shown.text, ' ') \
         WHEN 'pg_catalog.inet_out'::pg_catalog.regproc THEN shown.text || CASE \
         WHEN pg_catalog.strpos(shown.text, '/') > 0 THEN '' \
         WHEN pg_catalog.strpos(shown.text, ':') > 0 THEN '/128' ELSE '/32' END \
         ELSE shown.text END \
         FROM (SELECT pg_catalog.format('%s', {value}) AS text, (SELECT type.typoutput FROM pg_catalog.pg_type AS type \
         WHERE type.oid = pg_catalog.pg_typeof({value})) AS by) AS shown) END"
    )
}

/// Returns the texts of the watched columns, as JSON.
fn image(table: &Table, row: &str) -> String {
    let column = |column: &Column| format!("{}, {}", literal(&column.name), text(column, row));
    let columns = table.columns.iter().map(column).collect::<Vec<_>>().join(",\n            ");
    format!("pg_catalog.json_build_object(\n            {columns})::pg_catalog.text")
}

/// Returns a function's body between marks that it does not contain.
fn dollar_quoted(body: &str) -> String {
    let mut mark = "$larder$".to_owned();
    while body.contains(&mark) {
        mark.insert(mark.len() - 1, 'x');
    }
    format!("{mark}{body}{mark}")
}

/// Returns the channel for notifications of changes, whose name is at most 63 bytes long.
fn channel(outbox: &Outbox) -> String {
    outbox.own(&full::<sqlx::Postgres>(&outbox.table, SCHEMA))
}

/// Returns the statements that create the outbox, after one that refuses objects of other roles.
fn tables_sql(outbox: &Outbox) -> Vec<String> {
    let (table, positions) =
        (full::<sqlx::Postgres>(&outbox.table, SCHEMA), full::<sqlx::Postgres>(&outbox.positions(), SCHEMA));
    let index = outbox.beside("_xid").name;
    let own = [outbox.table.name.as_str(), &outbox.positions().name, &index];
    let guard = refuse_strangers(schema(&outbox.table), &own);
    let index = sqlx::Postgres::quote(&index);
    vec![
        guard,
        format!(
            "CREATE TABLE IF NOT EXISTS {table} (id pg_catalog.int8 GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
             xid pg_catalog.xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(), \
             source pg_catalog.text NOT NULL, image pg_catalog.text)"
        ),
        format!("CREATE INDEX IF NOT EXISTS {index} ON {table} (xid)"),
        format!(
            "CREATE TABLE IF NOT EXISTS {positions} \
             (name pg_catalog.text PRIMARY KEY, position pg_catalog.text NOT NULL, at pg_catalog.float8 NOT NULL)"
        ),
    ]
}

/// The body of the trigger that keeps rows of another server's outbox out. With logical replication of all tables
/// they arrive with numbers and transactions of that server (prevents: a duplicate key that stops the
/// subscription). Changes that are replicated into a watched table are recorded here by the triggers of that table,
/// which are one level higher.
const REPLICATED: &str = "
BEGIN
    IF pg_catalog.pg_trigger_depth() > 1 THEN
        RETURN NEW;
    END IF;
    RETURN NULL;
END
";

/// Returns the statements that create this trigger, on the outbox and the table of positions.
fn replicated_sql(outbox: &Outbox) -> Vec<String> {
    let name = outbox.beside("_replicated");
    let (function, trigger) = (full::<sqlx::Postgres>(&name, SCHEMA), sqlx::Postgres::quote(&name.name));
    let body = dollar_quoted(REPLICATED);
    let mut statements = vec![
        refuse_strangers(schema(&outbox.table), &[&name.name]),
        format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS pg_catalog.trigger LANGUAGE plpgsql SET {SEARCH_PATH} AS {body}"
        ),
        format!("REVOKE ALL ON FUNCTION {function}() FROM PUBLIC"),
    ];
    for table in [&outbox.table, &outbox.positions()].map(|table| full::<sqlx::Postgres>(table, SCHEMA)) {
        statements.push(format!(
            "CREATE OR REPLACE TRIGGER {trigger} BEFORE INSERT OR UPDATE OR DELETE ON {table} \
             FOR EACH ROW EXECUTE FUNCTION {function}()"
        ));
        statements.push(format!("ALTER TABLE {table} ENABLE REPLICA TRIGGER {trigger}"));
    }
    statements
}

/// Returns the schema of a name.
fn schema(name: &Name) -> &str {
    name.schema.as_deref().or(SCHEMA).unwrap_or_default()
}

/// Returns the statement that lets the owner of the watched table attach the trigger function, as a new partition
/// does. The function's body refuses other tables of the owner.
fn grant_to_owner(function: &str, on: &str) -> String {
    let body = format!(
        "
BEGIN
    EXECUTE (SELECT pg_catalog.format('GRANT EXECUTE ON FUNCTION %s() TO %I',
            {function}, pg_catalog.pg_get_userbyid(relowner))
        FROM pg_catalog.pg_class WHERE oid OPERATOR(pg_catalog.=) {on}::pg_catalog.regclass);
END
",
        function = literal(function),
        on = literal(on),
    );
    format!("DO {}", dollar_quoted(&body))
}

/// Returns the function of a table's triggers, in the outbox's schema.
fn function(outbox: &Outbox, table: &Table) -> String {
    let name = outbox.own(&table.name.source());
    full::<sqlx::Postgres>(&Name { schema: outbox.table.schema.clone(), name }, SCHEMA)
}

/// Returns the condition under which the trigger function works for a relation of another name than the watched
/// table. It must be a partition of the table, or a table of the function's own owner, such as the watched table
/// after it was renamed.
fn is_known(schema: &str, table: &str) -> String {
    format!(
        "EXISTS ( \
         SELECT FROM pg_catalog.pg_class AS known JOIN pg_catalog.pg_namespace AS place ON place.oid = known.relnamespace \
         WHERE (known.oid = TG_RELID OR known.oid IN (SELECT pg_catalog.pg_partition_ancestors(TG_RELID))) \
         AND (place.nspname = {schema} AND known.relname = {table} \
         OR pg_catalog.pg_get_userbyid(known.relowner) = CURRENT_USER))"
    )
}

/// Returns the body of the trigger function of a table, for rows and for statements.
fn trigger_body(outbox: &Outbox, table: &Table) -> String {
    let (source, into) = (literal(&table.name.source()), full::<sqlx::Postgres>(&outbox.table, SCHEMA));
    let (old, new) = (image(table, "OLD"), image(table, "NEW"));
    let schema = literal(schema(&table.name));
    let name = literal(&table.name.name);
    let (known, on) = (is_known(&schema, &name), literal(&full::<sqlx::Postgres>(&table.name, SCHEMA)));
    format!(
        "
DECLARE
    old_image pg_catalog.text;
    new_image pg_catalog.text;
BEGIN
    -- prevents: a trigger on a stranger's table that runs this with the rights of its owner
    IF TG_TABLE_SCHEMA <> {schema} OR TG_TABLE_NAME <> {name} THEN
        IF NOT {known} THEN
            RAISE insufficient_privilege USING MESSAGE = pg_catalog.format(
                'recording a change of %s for larder: this trigger function is for %s',
                TG_RELID::pg_catalog.regclass, {on}), HINT = 'Watch the table by its present name and install again.';
        END IF;
    END IF;
    IF TG_LEVEL = 'STATEMENT' THEN
        IF TG_OP = 'TRUNCATE' THEN
            INSERT INTO {into} (source) VALUES ({source});
        END IF;
        {notify}RETURN NULL;
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
        notify = match outbox.notifies {
            true => format!("PERFORM pg_catalog.pg_notify({}, '');\n        ", literal(&channel(outbox))),
            false => String::new(),
        },
    )
}

/// Returns a statement that fails if one of these tables, indexes and functions belongs to an untrusted role. The
/// owner of an outbox can attach triggers to it, which run with the rights of the trigger function's owner.
fn refuse_strangers(schema: &str, names: &[&str]) -> String {
    let names = names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ");
    let body = format!(
        "
DECLARE
    stranger pg_catalog.text;
BEGIN
    SELECT pg_catalog.format('%I.%I, which belongs to %I', place.nspname, found.name, owner.rolname) INTO stranger
    FROM (SELECT relname AS name, relnamespace AS place, relowner AS owner FROM pg_catalog.pg_class
        UNION ALL SELECT proname, pronamespace, proowner FROM pg_catalog.pg_proc WHERE pronargs = 0) AS found
    JOIN pg_catalog.pg_namespace AS place ON place.oid = found.place
    JOIN pg_catalog.pg_roles AS owner ON owner.oid = found.owner
    WHERE place.nspname OPERATOR(pg_catalog.=) {schema} AND found.name OPERATOR(pg_catalog.=) ANY (ARRAY[{names}]::pg_catalog.name[])
        AND owner.rolname OPERATOR(pg_catalog.<>) CURRENT_USER AND NOT owner.rolsuper LIMIT 1;
    IF stranger IS NOT NULL THEN
        RAISE insufficient_privilege USING MESSAGE = pg_catalog.format(
            'using %s, for larder: install as that role, or drop what it planted', stranger);
    END IF;
END
",
        schema = literal(schema),
    );
    format!("DO {}", dollar_quoted(&body))
}

/// Returns the statements that create or replace the trigger function of a table. They lock no table.
fn function_sql(outbox: &Outbox, table: &Table) -> Vec<String> {
    let guard = refuse_strangers(schema(&outbox.table), &[&outbox.own(&table.name.source())]);
    let function = function(outbox, table);
    let on = full::<sqlx::Postgres>(&table.name, SCHEMA);
    let body = dollar_quoted(&trigger_body(outbox, table));
    vec![
        guard,
        // writers of the table need no right to write the outbox; the text must not depend on the session
        format!(
            "CREATE OR REPLACE FUNCTION {function}() RETURNS pg_catalog.trigger LANGUAGE plpgsql SECURITY DEFINER \
             SET {SEARCH_PATH} SET datestyle = 'ISO, YMD' SET timezone = 'UTC' \
             SET intervalstyle = 'iso_8601' SET extra_float_digits = 1 SET bytea_output = 'hex' AS {body}"
        ),
        format!("REVOKE ALL ON FUNCTION {function}() FROM PUBLIC"),
        grant_to_owner(&function, &on),
    ]
}

/// Returns the statements that attach the function to its table. They wait for transactions that write it.
fn attached_sql(outbox: &Outbox, table: &Table) -> Vec<String> {
    let function = function(outbox, table);
    let on = full::<sqlx::Postgres>(&table.name, SCHEMA);
    let [rows, statements] = trigger_names(outbox, table).map(|name| sqlx::Postgres::quote(&name));
    let events = if outbox.notifies { "INSERT OR UPDATE OR DELETE OR TRUNCATE" } else { "TRUNCATE" };
    vec![
        format!(
            "CREATE OR REPLACE TRIGGER {rows} AFTER INSERT OR UPDATE OR DELETE ON {on} \
             FOR EACH ROW EXECUTE FUNCTION {function}()"
        ),
        format!(
            "CREATE OR REPLACE TRIGGER {statements} AFTER {events} ON {on} \
             FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        ),
        // `ALWAYS`: also for changes that are replicated into this table
        format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {rows}"),
        format!("ALTER TABLE {on} ENABLE ALWAYS TRIGGER {statements}"),
    ]
}

/// Returns the names of a table's triggers: for rows and for statements.
fn trigger_names(outbox: &Outbox, table: &Table) -> [String; 2] {
    let name = outbox.own(&table.name.source());
    [format!("{name}_r"), format!("{name}_s")]
}

/// Returns the statements of an installation whose result does not exist yet. Existing objects are not touched,
/// since that would wait for open transactions, and writers for it (prevents: a deploy that stops all writes).
async fn missing(
    connection: &mut PgConnection,
    outbox: &Outbox,
    tables: &[Table],
) -> Result<Vec<String>, sqlx::Error> {
    let place = schema(&outbox.table);
    let own = [outbox.table.name.clone(), outbox.positions().name, outbox.beside("_xid").name];
    let sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_class AS found \
               JOIN pg_catalog.pg_namespace AS place ON place.oid = found.relnamespace \
               WHERE place.nspname = $1 AND found.relname = ANY ($2::pg_catalog.text[])";
    let (found,): (i64,) = sqlx::query_as(sql).bind(place).bind(&own[..]).fetch_one(&mut *connection).await?;
    let mut statements = tables_sql(outbox);
    if found == own.len() as i64 {
        // the first statement refuses objects of other roles
        statements.truncate(1);
    }
    let sql = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS found \
               JOIN pg_catalog.pg_class AS held ON held.oid = found.tgrelid \
               JOIN pg_catalog.pg_proc AS called ON called.oid = found.tgfoid \
               JOIN pg_catalog.pg_namespace AS place ON place.oid = held.relnamespace AND place.oid = called.pronamespace \
               WHERE place.nspname = $1 AND held.relname = ANY ($2::pg_catalog.text[]) AND found.tgname = $3 \
               AND called.proname = $3 AND called.prosrc = $4 AND found.tgenabled = 'R'";
    let found = sqlx::query_as(sql).bind(place).bind(&own[..]);
    let found = found.bind(outbox.beside("_replicated").name).bind(REPLICATED);
    let (found,): (i64,) = found.fetch_one(&mut *connection).await?;
    if found < 2 {
        statements.extend(replicated_sql(outbox));
    }
    for table in tables {
        let sql = "SELECT \
            EXISTS (SELECT FROM pg_catalog.pg_proc AS found \
                JOIN pg_catalog.pg_namespace AS place ON place.oid = found.pronamespace \
                WHERE place.nspname = $1 AND found.proname = $2 AND found.pronargs = 0 AND found.prosrc = $3 \
                AND found.prosecdef AND $4 = ANY (found.proconfig) \
                AND pg_catalog.has_function_privilege(watched.relowner, found.oid, 'EXECUTE') \
                AND NOT EXISTS (SELECT FROM pg_catalog.aclexplode( \
                    coalesce(found.proacl, pg_catalog.acldefault('f', found.proowner))) AS given WHERE given.grantee = 0)), \
            (SELECT pg_catalog.count(*) FROM pg_catalog.pg_trigger AS found \
                JOIN pg_catalog.pg_proc AS called ON called.oid = found.tgfoid \
                JOIN pg_catalog.pg_namespace AS place ON place.oid = called.pronamespace \
                WHERE found.tgrelid = watched.oid AND place.nspname = $1 AND called.proname = $2 AND found.tgenabled = 'A' \
                AND ((found.tgname = $5 AND found.tgtype = 29) OR (found.tgname = $6 AND found.tgtype = $9))) = 2 \
            FROM pg_catalog.pg_class AS watched JOIN pg_catalog.pg_namespace AS around ON around.oid = watched.relnamespace \
            WHERE around.nspname = $7 AND watched.relname = $8";
        let [rows, changes] = trigger_names(outbox, table);
        let found: Option<(bool, bool)> = sqlx::query_as(sql)
            .bind(place)
            .bind(outbox.own(&table.name.source()))
            .bind(trigger_body(outbox, table))
            .bind(SEARCH_PATH.replace(" = ", "="))
            .bind(rows)
            .bind(changes)
            .bind(schema(&table.name))
            .bind(&table.name.name)
            .bind(if outbox.notifies { 60_i16 } else { 32 })
            .fetch_optional(&mut *connection)
            .await?;
        let (has_function, is_attached) = found.unwrap_or_default();
        if !has_function {
            statements.extend(function_sql(outbox, table));
        }
        if !is_attached {
            statements.extend(attached_sql(outbox, table));
        }
    }
    Ok(statements)
}

/// A moment, as the transactions that were committed by then, and the server that was asked.
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The transactions, as a `pg_snapshot`.
    visible: String,
    /// The time at which the server was started. It changes with a failover, since a standby is not followed.
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

/// The columns for a [`Snapshot`] and the server's time, and for the check if the server is a standby. Every role
/// may read them, also if `wal_level` is not the server's own (Aurora).
const NOW: &str = "now.visible::pg_catalog.text, \
    extract(epoch FROM pg_catalog.pg_postmaster_start_time())::pg_catalog.text, \
    extract(epoch FROM pg_catalog.clock_timestamp())::pg_catalog.float8, pg_catalog.pg_is_in_recovery()";

/// Fails on a standby: a value that is loaded from there is as old as its lag.
fn refuse_standby(is_standby: bool) -> Result<(), sqlx::Error> {
    match is_standby {
        true => Err(sqlx::Error::Configuration(
            "the server is a standby: load from the primary and follow it".into(),
        )),
        false => Ok(()),
    }
}

impl Feed for sqlx::Postgres {
    type Position = Snapshot;

    const SCHEMA: Option<&'static str> = SCHEMA;
    const OWN_POOL: bool = true;

    fn own_pool(pool: &Pool<Self>) -> Pool<Self> {
        // one to read, one to listen; loads that wait may use up the user's pool
        let options = pool.options().clone();
        let options = options.min_connections(0).max_connections(2);
        let options = options.acquire_timeout(CONNECTING).test_before_acquire(false);
        options.connect_lazy_with((*pool.connect_options()).clone())
    }

    fn outbox_sql(outbox: &Outbox) -> Vec<String> {
        [tables_sql(outbox), replicated_sql(outbox)].concat()
    }

    fn removal_sql(outbox: &Outbox, tables: &[Table]) -> Vec<String> {
        let own = full::<Self>(&outbox.beside("_replicated"), SCHEMA);
        let functions = tables.iter().map(|table| function(outbox, table)).chain([own]);
        let drops = functions.map(|function| format!("DROP FUNCTION IF EXISTS {function}() CASCADE"));
        drops.chain(drop_tables::<Self>(outbox)).collect()
    }

    fn triggers_sql(outbox: &Outbox, table: &Table) -> Vec<String> {
        [function_sql(outbox, table), attached_sql(outbox, table)].concat()
    }

    async fn install(
        connection: &mut PgConnection,
        outbox: &Outbox,
        tables: &[Table],
    ) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin().await?;
        // valid until the end of the transaction, also through a pooler
        let settings = "SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), \
                        pg_catalog.set_config('lock_timeout', '3s', true)";
        sqlx::query(settings).execute(&mut *transaction).await?;
        let mut statements = missing(&mut transaction, outbox, tables).await?;
        if statements.len() > 1 {
            // `IF NOT EXISTS` does not protect from a parallel installation
            let lock = "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('larder_sqlx install'))";
            sqlx::query(lock).execute(&mut *transaction).await?;
            statements = missing(&mut transaction, outbox, tables).await?;
        }
        for statement in statements {
            sqlx::raw_sql(safe(statement)).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn end(connection: &mut PgConnection, _outbox: &Outbox) -> Result<Seen<Snapshot>, sqlx::Error> {
        let sql = format!("SELECT {NOW} FROM (SELECT pg_catalog.pg_current_snapshot() AS visible) AS now");
        let (visible, server, at, is_standby) =
            within(PATIENCE, sqlx::query_as(safe(sql)).fetch_one(connection)).await?;
        refuse_standby(is_standby)?;
        Ok(Seen { position: Snapshot { visible, server }, at, restarted: false })
    }

    /// Reads the rows that are visible now and were not at `from`. Each was written by a transaction that ran then,
    /// or began later. So neither the order of commits nor the length of a transaction matters, and nothing is read
    /// twice.
    ///
    /// A row with the number of a future transaction was restored from another cluster (`pg_dump`). It is not read,
    /// and is pruned.
    async fn read(
        connection: &mut PgConnection,
        outbox: &Outbox,
        from: &Snapshot,
        each: &mut Each<'_>,
    ) -> Result<Seen<Snapshot>, sqlx::Error> {
        let table = full::<Self>(&outbox.table, SCHEMA);
        let sql = format!(
            "SELECT {NOW}, news.source, news.image FROM (SELECT pg_catalog.pg_current_snapshot() AS visible) AS now LEFT JOIN ( \
                 SELECT source, image FROM {table} WHERE xid OPERATOR(pg_catalog.>=) \
                 pg_catalog.pg_snapshot_xmax($1::pg_catalog.text::pg_catalog.pg_snapshot) \
                 AND xid OPERATOR(pg_catalog.<) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot()) \
                 UNION ALL \
                 SELECT source, image FROM {table} WHERE xid OPERATOR(pg_catalog.=) ANY \
                 (SELECT pg_catalog.pg_snapshot_xip($1::pg_catalog.text::pg_catalog.pg_snapshot)) \
             ) AS news ON true"
        );
        type Row = (String, String, f64, bool, Option<String>, Option<String>);
        let mut rows = sqlx::query_as::<_, Row>(safe(sql)).bind(&from.visible).fetch(connection);
        let mut seen = None;
        while let Some((visible, server, now, is_standby, source, image)) =
            within(PATIENCE, rows.try_next()).await?
        {
            refuse_standby(is_standby)?;
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
        let sql = format!(
            "DELETE FROM {table} WHERE xid OPERATOR(pg_catalog.<) \
             pg_catalog.pg_snapshot_xmin($1::pg_catalog.text::pg_catalog.pg_snapshot) \
             OR xid OPERATOR(pg_catalog.>=) pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())"
        );
        let delete = sqlx::query(safe(sql)).bind(&position.visible).execute(connection);
        within(PATIENCE, delete).await.map(|_| ())
    }

    async fn kept(
        connection: &mut PgConnection,
        outbox: &Outbox,
        name: &str,
    ) -> Result<Option<(String, f64)>, sqlx::Error> {
        let positions = full::<Self>(&outbox.positions(), SCHEMA);
        let sql = format!("SELECT position, at FROM {positions} WHERE name OPERATOR(pg_catalog.=) $1");
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
             ON CONFLICT (name) DO UPDATE SET position = excluded.position, at = excluded.at \
             WHERE kept.at OPERATOR(pg_catalog.<=) excluded.at"
        );
        let keep = sqlx::query(safe(sql)).bind(name).bind(position).bind(at).execute(connection);
        within(PATIENCE, keep).await.map(|_| ())
    }

    async fn wakes(
        pool: &Pool<Self>,
        outbox: &Outbox,
        wake: &(dyn Fn() + Send + Sync),
    ) -> Result<(), sqlx::Error> {
        if !outbox.notifies {
            return std::future::pending().await;
        }
        let mut listener = PgListener::connect_with(pool).await?;
        listener.listen(&channel(outbox)).await?;
        // reads changes that were notified before the listener was ready
        wake();
        loop {
            // `None`: the connection was lost, and the listener listens again
            listener.try_recv().await?;
            wake();
        }
    }
}
