//! The dialect and change feed of MySQL and MariaDB.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::str::FromStr;
use std::time::Duration;

use futures_util::TryStreamExt as _;
use sqlx::{MySqlConnection, Pool, Row as _};

use super::{Backslash, Dialect, Lexis, Style, question_marks, quoted};
use crate::changes::feed::{Each, Feed, Outbox, Seen, Table, drop_tables, full, safe, within};
use crate::changes::{Column, Name};

impl Dialect for sqlx::MySql {
    const MOST_BINDS: usize = 65_535;
    const ARRAYS: bool = false;
    const LEXIS: Lexis = Lexis {
        placeholders: Style { question: true, numbered: "", example: "`?`" },
        backticks: true,
        brackets: false,
        hash_comments: true,
        backslash: Backslash::Escapes,
        dollar_quotes: false,
        nested_comments: false,
    };

    fn key_list(keys: usize, parts: usize) -> String {
        // a list of rows, since MySQL and MariaDB write `VALUES` differently
        question_marks(keys, parts, "", "")
    }

    fn quote(name: &str) -> String {
        quoted(name, '`')
    }
}

/// The maximum time for a row, or for an answer without one.
const PATIENCE: Duration = Duration::from_secs(10);
/// The maximum time to connect. A pool that waits longer also pauses longer between its attempts.
const CONNECTING: Duration = Duration::from_secs(3);
/// The maximum difference, in seconds, between two start times of a server, which are computed from whole seconds.
const ROUNDING: f64 = 2.5;
/// The maximum number of ranges in one query. If there are more gaps, close ones are read together with the numbers
/// between them, which are then left out.
const MOST_RANGES: usize = 500;

/// Returns any text as a literal. It is valid with any character set and any meaning of the backslash.
fn literal(text: &str) -> String {
    if text.is_ascii() && !text.contains('\\') {
        return quoted(text, '\'');
    }
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("_utf8mb4 x'{hex}'")
}

/// Returns ``JSON_OBJECT('id', CONVERT(NEW.`id` USING utf8mb4))``. A cast to `CHAR` would have the character set of
/// the session that made the trigger (prevents: writes that fail since that has no emoji).
fn image(table: &Table, row: &str) -> String {
    let column = |column: &Column| {
        let value = format!("{row}.{}", sqlx::MySql::quote(&column.name));
        let text =
            if column.binary { format!("HEX({value})") } else { format!("CONVERT({value} USING utf8mb4)") };
        format!("{}, {text}", literal(&column.name))
    };
    format!("JSON_OBJECT({})", table.columns.iter().map(column).collect::<Vec<_>>().join(", "))
}

/// Returns the body of the trigger for an event, which writes to the outbox.
fn event_body(outbox: &Outbox, table: &Table, event: &str) -> String {
    let (source, into) = (literal(&table.name.source()), full::<sqlx::MySql>(&outbox.table, None));
    let insert =
        |row: &str| format!("INSERT INTO {into} (source, image) VALUES ({source}, {})", image(table, row));
    match event {
        "INSERT" => insert("NEW"),
        "DELETE" => insert("OLD"),
        _ => {
            let (old, new) = (image(table, "OLD"), image(table, "NEW"));
            // compared byte by byte, since keys that differ in case only are two keys
            format!(
                "BEGIN {}; IF CAST({old} AS BINARY) <> CAST({new} AS BINARY) THEN {}; END IF; END",
                insert("OLD"),
                insert("NEW")
            )
        }
    }
}

/// Returns the three triggers of a table: their names, and the statements that create them. A trigger's name
/// contains a hash of its event and body.
fn triggers(outbox: &Outbox, table: &Table) -> [(String, String); 3] {
    let on = full::<sqlx::MySql>(&table.name, None);
    ["INSERT", "UPDATE", "DELETE"].map(|event| {
        let body = event_body(outbox, table, event);
        let name = outbox.own(&format!("{} {event} {body}", table.name.source()));
        let full = full::<sqlx::MySql>(&Name { schema: table.name.schema.clone(), name: name.clone() }, None);
        let sql = format!("CREATE TRIGGER IF NOT EXISTS {full} AFTER {event} ON {on} FOR EACH ROW {body}");
        (name, sql)
    })
}

/// The highest number that was read, and the lower numbers that were missing. Missing numbers belong to
/// transactions that had not committed or were rolled back, or the server leaves them out
/// (`auto_increment_increment`).
#[doc(hidden)]
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Numbers {
    highest: u64,
    /// The gaps by their first number. They do not overlap.
    gaps: BTreeMap<u64, Gap>,
    /// The step of the server's numbers.
    step: u64,
    /// The time at which the server was started, by its clock.
    started: f64,
    server: String,
}

/// A range of missing numbers, and the time since which they are missing.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Gap {
    last: u64,
    since: f64,
}

impl Numbers {
    /// Returns the number up to which all changes were read, or will never appear.
    fn settled(&self) -> u64 {
        self.gaps.first_key_value().map_or(self.highest, |(first, _)| first - 1)
    }

    /// Notes that a number was read. Returns `true` if it is the first time.
    fn note(&mut self, id: u64, at: f64) -> bool {
        if id > self.highest {
            if id > self.highest + 1 {
                self.gaps.insert(self.highest + 1, Gap { last: id - 1, since: at });
            }
            self.highest = id;
            return true;
        }
        let found = self.gaps.range(..=id).next_back().map(|(first, gap)| (*first, *gap));
        let Some((first, Gap { last, since })) = found.filter(|(_, gap)| id <= gap.last) else {
            return false;
        };
        self.gaps.remove(&first);
        if first < id {
            self.gaps.insert(first, Gap { last: id - 1, since });
        }
        if id < last {
            self.gaps.insert(id + 1, Gap { last, since });
        }
        true
    }

    /// Removes gaps that are older than any transaction.
    fn tidy(&mut self, at: f64, longest: Duration) {
        self.gaps.retain(|_, gap| at - gap.since <= longest.as_secs_f64());
    }

    /// Returns the condition of the rows to read: new ones, and those that were missing. It may also match rows
    /// that were read already.
    fn condition(&self) -> String {
        let mut condition = format!("id > {}", self.highest);
        let is_short = |first: u64, last: u64| self.step > 1 && last - first + 1 < self.step;
        // numbers that the step leaves out: between numbers of one remainder, all others are missing
        let short = || self.gaps.iter().filter(|(first, gap)| is_short(**first, gap.last));
        if let (Some((first, _)), Some((_, Gap { last, .. }))) = (short().next(), short().next_back()) {
            let mut remainders: Vec<u64> = vec![];
            for (first, gap) in short() {
                for id in *first..=gap.last {
                    if !remainders.contains(&(id % self.step)) {
                        remainders.push(id % self.step);
                    }
                }
            }
            remainders.sort_unstable();
            let remainders = remainders.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            let step = self.step;
            // writing to a string cannot fail
            _ = write!(condition, " OR (id BETWEEN {first} AND {last} AND id MOD {step} IN ({remainders}))");
        }
        let long = self.gaps.iter().filter(|(first, gap)| !is_short(**first, gap.last));
        for (first, last) in joined(long.map(|(first, gap)| (*first, gap.last)).collect()) {
            _ = write!(condition, " OR id BETWEEN {first} AND {last}");
        }
        condition
    }
}

/// Joins the nearest ranges until at most [`MOST_RANGES`] are left.
fn joined(ranges: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut distances: Vec<u64> = ranges.windows(2).map(|pair| pair[1].0 - pair[0].1).collect();
    distances.sort_unstable_by(|a, b| b.cmp(a));
    // the largest distances separate as many ranges as are allowed
    let apart = distances.get(MOST_RANGES - 1).copied().unwrap_or(0);
    let mut joined: Vec<(u64, u64)> = vec![];
    for (first, last) in ranges {
        match joined.last_mut() {
            Some(before) if first - before.1 <= apart => before.1 = last,
            _ => joined.push((first, last)),
        }
    }
    joined
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // a follower that continues from here reads the missing numbers again, and the numbers after them too
        write!(f, "{}|{}|{}", self.settled(), self.started, self.server)
    }
}

impl FromStr for Numbers {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '|');
        let mut next = || parts.next().ok_or(());
        let (highest, started, server) = (next()?, next()?, next()?);
        Ok(Self {
            highest: highest.parse().map_err(|_| ())?,
            gaps: BTreeMap::new(),
            step: 1,
            started: started.parse().map_err(|_| ())?,
            server: server.to_owned(),
        })
    }
}

/// The maximum time, in seconds, that an installation waits for transactions that have used a watched table.
/// Meanwhile no other session can use the table.
const LOCK_TIMEOUT: u64 = 3;

/// Returns `true` if a table of the outbox exists. Fails if it is a view: the functions that a view calls, such as in its
/// `WITH CHECK OPTION`, can run with the rights of the triggers' definer.
async fn exists(connection: &mut MySqlConnection, Name { schema, name }: &Name) -> Result<bool, sqlx::Error> {
    let sql = "SELECT CAST(table_type AS CHAR) FROM information_schema.tables \
               WHERE table_name = ? AND table_schema = coalesce(?, database())";
    let found: Option<(String,)> =
        sqlx::query_as(sql).bind(name).bind(schema).fetch_optional(connection).await?;
    match found {
        Some((kind,)) if kind != "BASE TABLE" => {
            let message =
                format!("using {name} for larder: it is no base table; drop it, or name another outbox");
            Err(sqlx::Error::Configuration(message.into()))
        }
        found => Ok(found.is_some()),
    }
}

/// Reads the names of a table's triggers.
async fn found_triggers(connection: &mut MySqlConnection, table: &Table) -> Result<Vec<String>, sqlx::Error> {
    let sql = "SELECT CAST(trigger_name AS CHAR) FROM information_schema.triggers \
               WHERE event_object_table = ? AND event_object_schema = coalesce(?, database())";
    let found = sqlx::query_as(sql).bind(&table.name.name).bind(&table.name.schema);
    let found: Vec<(String,)> = found.fetch_all(connection).await?;
    Ok(found.into_iter().map(|(name,)| name).collect())
}

/// Creates missing objects, and drops older triggers. Existing objects are not touched, since that would wait for
/// open transactions, and readers and writers for it (prevents: a deploy that stops all reads).
///
/// New triggers are created before old ones are dropped, so that no write passes between them: MySQL has no
/// transactions for this.
async fn make_missing(
    connection: &mut MySqlConnection,
    outbox: &Outbox,
    tables: &[Table],
) -> Result<(), sqlx::Error> {
    let own = [outbox.table.clone(), outbox.positions()];
    for (name, statement) in own.iter().zip(<sqlx::MySql as Feed>::outbox_sql(outbox)) {
        if !exists(connection, name).await? {
            sqlx::raw_sql(safe(statement)).execute(&mut *connection).await?;
        }
    }
    for table in tables {
        // the name contains a hash of the trigger's event and body
        let (current, found) = (triggers(outbox, table), found_triggers(connection, table).await?);
        for (_, statement) in current.iter().filter(|(name, _)| !found.contains(name)) {
            sqlx::raw_sql(safe(statement.clone())).execute(&mut *connection).await?;
        }
        let prefix = format!("{}_", outbox.table.name);
        let is_old = |name: &String| {
            name.strip_prefix(&prefix).is_some_and(|rest| rest.len() == 16)
                && current.iter().all(|(current, _)| current != name)
        };
        for name in found.into_iter().filter(is_old) {
            let name = full::<sqlx::MySql>(&Name { schema: table.name.schema.clone(), name }, None);
            sqlx::raw_sql(safe(format!("DROP TRIGGER IF EXISTS {name}"))).execute(&mut *connection).await?;
        }
    }
    Ok(())
}

/// The state of the server at a read.
struct Server {
    name: String,
    /// The time at which the server was started.
    started: f64,
    /// The server's time.
    at: f64,
    /// The step of the numbers that the server assigns.
    step: u64,
}

async fn server(connection: &mut MySqlConnection) -> Result<Server, sqlx::Error> {
    let sql = "SELECT CONCAT(@@hostname, ':', @@port), UNIX_TIMESTAMP(NOW(6)) + 0.0e0, \
               CAST(@@GLOBAL.auto_increment_increment AS UNSIGNED)";
    let (name, at, step): (String, f64, u64) =
        within(PATIENCE, sqlx::query_as(sql).fetch_one(&mut *connection)).await?;
    // by the text protocol: in the binary one its types differ between servers
    let uptime =
        within(PATIENCE, sqlx::raw_sql("SHOW GLOBAL STATUS LIKE 'Uptime'").fetch_one(connection)).await?;
    let uptime: String = uptime.try_get(1)?;
    let uptime: f64 = uptime.parse().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Server { name, started: at - uptime, at, step })
}

impl Feed for sqlx::MySql {
    type Position = Numbers;

    const SCHEMA: Option<&'static str> = None;
    const OWN_POOL: bool = true;

    fn own_pool(pool: &Pool<Self>) -> Pool<Self> {
        // loads that wait may use up the user's pool
        let options = pool.options().clone();
        let options = options.min_connections(0).max_connections(1);
        let options = options.acquire_timeout(CONNECTING).test_before_acquire(false);
        options.connect_lazy_with((*pool.connect_options()).clone())
    }

    fn outbox_sql(outbox: &Outbox) -> Vec<String> {
        let (table, positions) = (full::<Self>(&outbox.table, None), full::<Self>(&outbox.positions(), None));
        vec![
            format!(
                "CREATE TABLE IF NOT EXISTS {table} (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, \
                 source VARCHAR(200) NOT NULL, image LONGTEXT) \
                 ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            ),
            format!(
                "CREATE TABLE IF NOT EXISTS {positions} \
                 (name VARCHAR(100) NOT NULL PRIMARY KEY, position TEXT NOT NULL, at DOUBLE NOT NULL) \
                 ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
            ),
        ]
    }

    fn triggers_sql(outbox: &Outbox, table: &Table) -> Vec<String> {
        triggers(outbox, table).into_iter().map(|(_, sql)| sql).collect()
    }

    fn removal_sql(outbox: &Outbox, tables: &[Table]) -> Vec<String> {
        let named = |table: &Table| {
            let schema = table.name.schema.clone();
            triggers(outbox, table).map(move |(name, _)| Name { schema: schema.clone(), name })
        };
        let drops = tables.iter().flat_map(named);
        let drops = drops.map(|name| format!("DROP TRIGGER IF EXISTS {}", full::<Self>(&name, None)));
        drops.chain(drop_tables::<Self>(outbox)).collect()
    }

    async fn install(
        connection: &mut MySqlConnection,
        outbox: &Outbox,
        tables: &[Table],
    ) -> Result<(), sqlx::Error> {
        // the connection is the user's, with its own setting
        let (before,): (u64,) = sqlx::query_as("SELECT CAST(@@lock_wait_timeout AS UNSIGNED)")
            .fetch_one(&mut *connection)
            .await?;
        let set = |seconds: u64| safe(format!("SET SESSION lock_wait_timeout = {seconds}"));
        sqlx::raw_sql(set(LOCK_TIMEOUT)).execute(&mut *connection).await?;
        let made = make_missing(connection, outbox, tables).await;
        sqlx::raw_sql(set(before)).execute(connection).await?;
        made
    }

    async fn end(connection: &mut MySqlConnection, outbox: &Outbox) -> Result<Seen<Numbers>, sqlx::Error> {
        let Server { name, started, at, step } = server(connection).await?;
        let mut position = Numbers { started, server: name, step, ..Numbers::default() };
        // missing numbers below the highest may belong to running transactions
        let sql = format!("SELECT id FROM {} ORDER BY id", full::<Self>(&outbox.table, None));
        let mut ids = sqlx::query_as::<_, (u64,)>(safe(sql)).fetch(connection);
        while let Some((id,)) = within(PATIENCE, ids.try_next()).await? {
            position.note(id, at);
        }
        position.tidy(at, outbox.longest_transaction);
        Ok(Seen { position, at, restarted: false })
    }

    async fn read(
        connection: &mut MySqlConnection,
        outbox: &Outbox,
        from: &Numbers,
        each: &mut Each<'_>,
    ) -> Result<Seen<Numbers>, sqlx::Error> {
        let Server { name, started, at, step } = server(connection).await?;
        let restarted = name != from.server || (started - from.started).abs() > ROUNDING;
        let mut position = from.clone();
        (position.server, position.started, position.step) = (name, started, step);
        let table = full::<Self>(&outbox.table, None);
        let sql = format!("SELECT id, source, image FROM {table} WHERE {} ORDER BY id", position.condition());
        // by the text protocol, since the condition differs each time
        let mut rows = sqlx::raw_sql(safe(sql)).fetch(connection);
        while let Some(row) = within(PATIENCE, rows.try_next()).await? {
            let (id, source): (u64, String) = (row.try_get(0)?, row.try_get(1)?);
            let image: Option<String> = row.try_get(2)?;
            if position.note(id, at) {
                each(&source, image.as_deref());
            }
        }
        position.tidy(at, outbox.longest_transaction);
        Ok(Seen { position, at, restarted })
    }

    async fn prune(
        connection: &mut MySqlConnection,
        outbox: &Outbox,
        position: &Numbers,
    ) -> Result<(), sqlx::Error> {
        let sql = format!("DELETE FROM {} WHERE id <= ?", full::<Self>(&outbox.table, None));
        within(PATIENCE, sqlx::query(safe(sql)).bind(position.settled()).execute(connection))
            .await
            .map(|_| ())
    }

    async fn kept(
        connection: &mut MySqlConnection,
        outbox: &Outbox,
        name: &str,
    ) -> Result<Option<(String, f64)>, sqlx::Error> {
        let sql =
            format!("SELECT position, at FROM {} WHERE name = ?", full::<Self>(&outbox.positions(), None));
        within(PATIENCE, sqlx::query_as(safe(sql)).bind(name).fetch_optional(connection)).await
    }

    async fn keep(
        connection: &mut MySqlConnection,
        outbox: &Outbox,
        name: &str,
        position: &str,
        at: f64,
    ) -> Result<(), sqlx::Error> {
        let sql = format!("REPLACE INTO {} VALUES (?, ?, ?)", full::<Self>(&outbox.positions(), None));
        let keep = sqlx::query(safe(sql)).bind(name).bind(position).bind(at).execute(connection);
        within(PATIENCE, keep).await.map(|_| ())
    }

    /// Never wakes the follower: MySQL has no notifications.
    async fn wakes(
        _pool: &Pool<Self>,
        _outbox: &Outbox,
        _wake: &(dyn Fn() + Send + Sync),
    ) -> Result<(), sqlx::Error> {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(ids: &[u64]) -> Numbers {
        let mut numbers = Numbers { step: 1, ..Numbers::default() };
        ids.iter().for_each(|&id| assert!(numbers.note(id, 10.0), "{id} is new"));
        numbers
    }

    #[test]
    fn what_is_missing_is_read_again_until_it_comes() {
        let mut numbers = after(&[1, 2, 5, 9]);
        assert_eq!(numbers.condition(), "id > 9 OR id BETWEEN 3 AND 4 OR id BETWEEN 6 AND 8");
        assert_eq!(numbers.settled(), 2);
        assert!(numbers.note(7, 11.0) && numbers.note(3, 11.0));
        assert!(!numbers.note(9, 11.0) && !numbers.note(7, 11.0), "they were read");
        numbers.tidy(11.0, Duration::from_secs(600));
        assert_eq!(
            numbers.condition(),
            "id > 9 OR id BETWEEN 4 AND 4 OR id BETWEEN 6 AND 6 OR id BETWEEN 8 AND 8"
        );
        for id in [4, 6, 8] {
            numbers.note(id, 12.0);
        }
        assert_eq!((numbers.condition().as_str(), numbers.settled()), ("id > 9", 9));
    }

    #[test]
    fn what_never_comes_is_given_up_and_many_gaps_are_few() {
        let mut numbers = after(&[1, 5]);
        numbers.note(9, 500.0);
        numbers.tidy(609.0, Duration::from_secs(600));
        assert_eq!(numbers.condition(), "id > 9 OR id BETWEEN 2 AND 4 OR id BETWEEN 6 AND 8");
        numbers.tidy(611.0, Duration::from_secs(600));
        assert_eq!(numbers.condition(), "id > 9 OR id BETWEEN 6 AND 8");

        // more gaps than ranges: no missing number is left out, and no row is handed over twice
        let ids: Vec<u64> = (1..2_000).map(|at| at * at).collect();
        let mut numbers = after(&ids);
        let condition = numbers.condition();
        assert!(condition.matches("BETWEEN").count() <= MOST_RANGES, "{condition}");
        let ranges: Vec<(u64, u64)> =
            joined(numbers.gaps.iter().map(|(first, gap)| (*first, gap.last)).collect());
        for (first, gap) in &numbers.gaps {
            assert!(
                ranges.iter().any(|(from, to)| from <= first && gap.last <= *to),
                "{first} to {}",
                gap.last
            );
        }
        assert!(ids.iter().all(|&id| !numbers.note(id, 11.0)));
    }

    #[test]
    fn numbers_that_the_step_leaves_out_are_asked_for_by_their_remainders() {
        let mut numbers = after(&[1]);
        numbers.step = 3;
        for id in [4, 7, 10, 19, 22] {
            numbers.note(id, 10.0);
        }
        assert_eq!(
            numbers.condition(),
            "id > 22 OR (id BETWEEN 2 AND 21 AND id MOD 3 IN (0, 2)) OR id BETWEEN 11 AND 18"
        );
        // a number of another node comes late
        assert!(numbers.note(5, 11.0) && !numbers.note(5, 12.0) && !numbers.note(4, 12.0));
        assert_eq!(numbers.settled(), 1);
    }

    #[test]
    fn a_kept_position_is_before_what_was_missing() {
        let mut numbers = after(&[1, 2, 5]);
        numbers.server = "a|b:3306".into();
        let kept: Numbers = numbers.to_string().parse().unwrap();
        assert_eq!((kept.condition().as_str(), kept.server.as_str()), ("id > 2", "a|b:3306"));
        assert!("".parse::<Numbers>().is_err() && "x|1|y".parse::<Numbers>().is_err());
    }
}
