//! Where databases differ: everything that is written for one of them is here.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use sqlx::Database;
use sqlx::database::HasStatementCache;

/// A database that queries of this crate can be written for: `sqlx::Sqlite`, `sqlx::Postgres`, `sqlx::MySql`, each behind
/// the feature of its name.
///
/// # Examples
/// ```
/// use larder_sqlx::Dialect;
/// assert_eq!(sqlx::Sqlite::key_list(3, 1), "?, ?, ?");
/// assert_eq!(sqlx::Sqlite::key_list(2, 2), "VALUES (?, ?), (?, ?)");
/// assert_eq!(sqlx::Sqlite::quote("a \"b\""), "\"a \"\"b\"\"\"");
/// ```
#[diagnostic::on_unimplemented(
    message = "larder-sqlx cannot write queries for `{Self}`",
    note = "turn on the feature of the database: `sqlite`, `postgres` or `mysql`"
)]
pub trait Dialect: Database + HasStatementCache {
    /// How many values one query may bind.
    const MOST_BINDS: usize;
    /// Whether a list of keys is bound as one array for each part of the key, and not as a value for each part of each key.
    const ARRAYS: bool;
    /// How text is told from code in a query.
    #[doc(hidden)]
    const LEXIS: Lexis;

    /// What stands between the brackets of `IN ({keys})` for `keys` keys of `parts` parts each.
    fn key_list(keys: usize, parts: usize) -> String;

    /// A name as an identifier, whatever it consists of.
    fn quote(name: &str) -> String;
}

/// What a query's text is made of, beside code: `'..'`, `".."`, `-- ..` and `/* .. */` are everywhere.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Lexis {
    /// How placeholders are written.
    pub(crate) placeholders: Style,
    /// Names in backticks.
    pub(crate) backticks: bool,
    /// Names in brackets.
    pub(crate) brackets: bool,
    /// Comments that begin with `#`.
    pub(crate) hash_comments: bool,
    /// `\` takes the meaning of the next character: in all strings, in `E'..'`, in none.
    pub(crate) backslash: Backslash,
    /// `$tag$ .. $tag$`.
    pub(crate) dollar_quotes: bool,
    /// Comments within comments.
    pub(crate) nested_comments: bool,
}

/// How placeholders are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// `?` is one.
    pub(crate) question: bool,
    /// What a number may follow: `?1`, `$1`.
    pub(crate) numbered: &'static str,
    /// What to write for the parts of a key, for messages.
    pub(crate) example: &'static str,
}

/// In which strings `\` escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backslash {
    /// In none.
    #[cfg(feature = "sqlite")]
    Plain,
    /// In `E'..'`.
    #[cfg(feature = "postgres")]
    AfterE,
    /// In all.
    #[cfg(feature = "mysql")]
    Escapes,
}

/// `?, ?` or `VALUES (?, ?), (?, ?)`.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
fn question_marks(keys: usize, parts: usize, row: &str, rows: &str) -> String {
    if parts == 1 {
        return vec!["?"; keys].join(", ");
    }
    let row = format!("{row}({})", vec!["?"; parts].join(", "));
    format!("{rows}{}", vec![row.as_str(); keys].join(", "))
}

/// A name between marks, in which the mark is doubled.
fn quoted(name: &str, mark: char) -> String {
    let doubled: String = [mark, mark].iter().collect();
    format!("{mark}{}{mark}", name.replace(mark, &doubled))
}
