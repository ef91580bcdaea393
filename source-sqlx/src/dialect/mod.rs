//! The differences between databases: all code for a single database is here.

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;

use sqlx::Database;
use sqlx::database::HasStatementCache;

/// A database for which this crate can write queries: `sqlx::Sqlite`, `sqlx::Postgres`, `sqlx::MySql`, each behind
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
    /// The maximum number of values that one query may bind.
    const MOST_BINDS: usize;
    /// `true` if a list of keys is bound as one array for each part of the key. Otherwise each part of each key is
    /// a value.
    const ARRAYS: bool;
    /// The lexical rules by which text differs from code in a query.
    #[doc(hidden)]
    const LEXIS: Lexis;

    /// Returns the text between the brackets of `IN ({keys})` for `keys` keys of `parts` parts each.
    fn key_list(keys: usize, parts: usize) -> String;

    /// Quotes any name as an identifier.
    fn quote(name: &str) -> String;
}

/// The lexical rules of a query. All databases have `'..'`, `".."`, `-- ..` and `/* .. */`.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Lexis {
    /// The syntax of placeholders.
    pub(crate) placeholders: Style,
    /// `true` if names may be in backticks.
    pub(crate) backticks: bool,
    /// `true` if names may be in brackets.
    pub(crate) brackets: bool,
    /// `true` if comments may begin with `#`.
    pub(crate) hash_comments: bool,
    /// The strings in which `\` escapes the next character: all, `E'..'`, or none.
    pub(crate) backslash: Backslash,
    /// `true` if strings may be `$tag$ .. $tag$`.
    pub(crate) dollar_quotes: bool,
    /// `true` if comments may be nested.
    pub(crate) nested_comments: bool,
}

/// The syntax of placeholders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// `true` if `?` is a placeholder.
    pub(crate) question: bool,
    /// The characters that begin a numbered placeholder: `?1`, `$1`.
    pub(crate) numbered: &'static str,
    /// The placeholders for the parts of a key, for messages.
    pub(crate) example: &'static str,
}

/// The strings in which `\` escapes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backslash {
    /// No strings.
    #[cfg(feature = "sqlite")]
    Plain,
    /// Strings of the form `E'..'`.
    #[cfg(feature = "postgres")]
    AfterE,
    /// All strings.
    #[cfg(feature = "mysql")]
    Escapes,
}

/// Returns `?, ?` or `VALUES (?, ?), (?, ?)`.
#[cfg(any(feature = "sqlite", feature = "mysql"))]
fn question_marks(keys: usize, parts: usize, row: &str, rows: &str) -> String {
    if parts == 1 {
        return vec!["?"; keys].join(", ");
    }
    let row = format!("{row}({})", vec!["?"; parts].join(", "));
    format!("{rows}{}", vec![row.as_str(); keys].join(", "))
}

/// Returns a name between marks, in which the mark is doubled.
fn quoted(name: &str, mark: char) -> String {
    let doubled: String = [mark, mark].iter().collect();
    format!("{mark}{}{mark}", name.replace(mark, &doubled))
}
