//! MySQL and MariaDB.

use super::{Backslash, Dialect, Lexis, Style, question_marks, quoted};

impl Dialect for sqlx::MySql {
    const MOST_BINDS: usize = 65_535;
    const ARRAYS: bool = false;
    const LEXIS: Lexis = Lexis {
        placeholders: Style::Question,
        backticks: true,
        brackets: false,
        hash_comments: true,
        backslash: Backslash::Escapes,
        dollar_quotes: false,
        nested_comments: false,
    };

    fn key_list(keys: usize, parts: usize) -> String {
        // a list of rows; `VALUES` is written differently by MySQL and MariaDB
        question_marks(keys, parts, "", "")
    }

    fn quote(name: &str) -> String {
        quoted(name, '`')
    }
}
