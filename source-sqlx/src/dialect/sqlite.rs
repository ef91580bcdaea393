//! The dialect and change feed of SQLite.

use futures_util::TryStreamExt as _;
use sqlx::{Connection as _, Pool, SqliteConnection};

use super::{Backslash, Dialect, Lexis, Style, question_marks, quoted};
use crate::changes::feed::{Each, Feed, Outbox, Seen, Table, drop_tables, full, safe};
use crate::changes::{Column, Name};

impl Dialect for sqlx::Sqlite {
    // the limit of SQLite before 3.32, so that system libraries also work
    const MOST_BINDS: usize = 999;
    const ARRAYS: bool = false;
    const LEXIS: Lexis = Lexis {
        placeholders: Style { question: true, numbered: "?$", example: "`?`" },
        backticks: true,
        brackets: true,
        hash_comments: false,
        backslash: Backslash::Plain,
        dollar_quotes: false,
        nested_comments: false,
    };

    fn key_list(keys: usize, parts: usize) -> String {
        question_marks(keys, parts, "", "VALUES ")
    }

    fn quote(name: &str) -> String {
        quoted(name, '"')
    }
}

/// Returns `json_object('id', CAST(NEW."id" AS TEXT))`.
fn image(table: &Table, row: &str) -> String {
    let column = |column: &Column| {
        let value = format!("{row}.{}", sqlx::Sqlite::quote(&column.name));
        let text = match column.binary {
            // `hex` returns an empty text for NULL
            true => format!("CASE WHEN {value} IS NOT NULL THEN hex({value}) END"),
            false => format!("CAST({value} AS TEXT)"),
        };
        format!("{}, {text}", quoted(&column.name, '\''))
    };
    format!("json_object({})", table.columns.iter().map(column).collect::<Vec<_>>().join(", "))
}

fn numbered(outbox: &Outbox) -> String {
    // the highest number that was ever assigned, even if its row no longer exists
    format!(
        "SELECT unixepoch('subsec') * 1.0, coalesce((SELECT seq FROM sqlite_sequence WHERE name = {}), 0)",
        quoted(&outbox.table.name, '\'')
    )
}

impl Feed for sqlx::Sqlite {
    /// The number of a row. Writing transactions run one after the other, so they commit in the order of their
    /// numbers.
    type Position = i64;

    const SCHEMA: Option<&'static str> = None;
    const OWN_POOL: bool = false;

    fn own_pool(pool: &Pool<Self>) -> Pool<Self> {
        // a database in memory belongs to its connection
        pool.clone()
    }

    fn outbox_sql(outbox: &Outbox) -> Vec<String> {
        let (table, positions) = (full::<Self>(&outbox.table, None), full::<Self>(&outbox.positions(), None));
        vec![
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (id INTEGER PRIMARY KEY AUTOINCREMENT, source TEXT NOT NULL, image TEXT)"
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {positions} (name TEXT PRIMARY KEY, position TEXT NOT NULL, at REAL NOT NULL)"
            ),
        ]
    }

    fn triggers_sql(outbox: &Outbox, table: &Table) -> Vec<String> {
        let (source, into) =
            (quoted(&table.name.source(), '\''), full::<Self>(&Name::plain(&outbox.table.name), None));
        let (old, new) = (image(table, "OLD"), image(table, "NEW"));
        let both = format!("SELECT {source}, {old} UNION SELECT {source}, {new}");
        let events = [
            ("INSERT", format!("VALUES ({source}, {new})")),
            ("UPDATE", both),
            ("DELETE", format!("VALUES ({source}, {old})")),
        ];
        let on = full::<Self>(&Name::plain(&table.name.name), None);
        let trigger = |(event, what): (&str, String)| {
            let name = outbox.own(&format!("{} {event}", table.name.source()));
            let name = full::<Self>(&Name { schema: table.name.schema.clone(), name }, None);
            [
                format!("DROP TRIGGER IF EXISTS {name}"),
                format!(
                    "CREATE TRIGGER {name} AFTER {event} ON {on} BEGIN INSERT INTO {into} (source, image) {what}; END"
                ),
            ]
        };
        events.into_iter().flat_map(trigger).collect()
    }

    fn removal_sql(outbox: &Outbox, tables: &[Table]) -> Vec<String> {
        let triggers = tables.iter().flat_map(|table| Self::triggers_sql(outbox, table));
        let drops = triggers.filter(|statement| statement.starts_with("DROP"));
        drops.chain(drop_tables::<Self>(outbox)).collect()
    }

    async fn install(
        connection: &mut SqliteConnection,
        outbox: &Outbox,
        tables: &[Table],
    ) -> Result<(), sqlx::Error> {
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
        let triggers = tables.iter().flat_map(|table| Self::triggers_sql(outbox, table));
        for statement in Self::outbox_sql(outbox).into_iter().chain(triggers) {
            sqlx::raw_sql(safe(statement)).execute(&mut *transaction).await?;
        }
        transaction.commit().await
    }

    async fn end(connection: &mut SqliteConnection, outbox: &Outbox) -> Result<Seen<i64>, sqlx::Error> {
        let (at, position) = sqlx::query_as(safe(numbered(outbox))).fetch_one(connection).await?;
        Ok(Seen { position, at, restarted: false })
    }

    async fn read(
        connection: &mut SqliteConnection,
        outbox: &Outbox,
        from: &i64,
        each: &mut Each<'_>,
    ) -> Result<Seen<i64>, sqlx::Error> {
        let Seen { position: highest, at, .. } = Self::end(connection, outbox).await?;
        if highest < *from {
            return Ok(Seen { position: highest, at, restarted: true });
        }
        let table = full::<Self>(&outbox.table, None);
        let sql = format!("SELECT id, source, image FROM {table} WHERE id > ? ORDER BY id");
        let mut rows =
            sqlx::query_as::<_, (i64, String, Option<String>)>(safe(sql)).bind(from).fetch(connection);
        let mut position = *from;
        while let Some((id, source, image)) = rows.try_next().await? {
            each(&source, image.as_deref());
            position = id;
        }
        Ok(Seen { position, at, restarted: false })
    }

    async fn prune(
        connection: &mut SqliteConnection,
        outbox: &Outbox,
        position: &i64,
    ) -> Result<(), sqlx::Error> {
        let sql = format!("DELETE FROM {} WHERE id <= ?", full::<Self>(&outbox.table, None));
        sqlx::query(safe(sql)).bind(position).execute(connection).await.map(|_| ())
    }

    async fn kept(
        connection: &mut SqliteConnection,
        outbox: &Outbox,
        name: &str,
    ) -> Result<Option<(String, f64)>, sqlx::Error> {
        let sql =
            format!("SELECT position, at FROM {} WHERE name = ?", full::<Self>(&outbox.positions(), None));
        sqlx::query_as(safe(sql)).bind(name).fetch_optional(connection).await
    }

    async fn keep(
        connection: &mut SqliteConnection,
        outbox: &Outbox,
        name: &str,
        position: &str,
        at: f64,
    ) -> Result<(), sqlx::Error> {
        let sql = format!("REPLACE INTO {} VALUES (?, ?, ?)", full::<Self>(&outbox.positions(), None));
        sqlx::query(safe(sql)).bind(name).bind(position).bind(at).execute(connection).await.map(|_| ())
    }

    /// Never wakes the follower: SQLite has no notifications.
    async fn wakes(
        _pool: &Pool<Self>,
        _outbox: &Outbox,
        _wake: &(dyn Fn() + Send + Sync),
    ) -> Result<(), sqlx::Error> {
        std::future::pending().await
    }
}
