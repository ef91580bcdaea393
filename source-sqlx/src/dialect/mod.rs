//! Where databases differ.

use sqlx::Database;

/// A database that queries of this crate can be written for.
///
/// # Examples
/// ```
/// use larder_sqlx::Dialect;
/// assert_eq!(sqlx::Sqlite::key_list(3, 1), "?, ?, ?");
/// assert_eq!(sqlx::Sqlite::key_list(2, 2), "VALUES (?, ?), (?, ?)");
/// ```
pub trait Dialect: Database {
    /// How many values one query may bind.
    const MOST_BINDS: usize;

    /// What stands between the brackets of `IN ({keys})` for `keys` keys of `parts` parts each.
    fn key_list(keys: usize, parts: usize) -> String;
}

#[cfg(feature = "sqlite")]
impl Dialect for sqlx::Sqlite {
    // the limit of SQLite before 3.32, so that system libraries do as well
    const MOST_BINDS: usize = 999;

    fn key_list(keys: usize, parts: usize) -> String {
        if parts == 1 {
            return vec!["?"; keys].join(", ");
        }
        let row = format!("({})", vec!["?"; parts].join(", "));
        format!("VALUES {}", vec![row.as_str(); keys].join(", "))
    }
}
