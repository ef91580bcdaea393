//! SQLite.

use super::{Backslash, Dialect, Lexis, Style, question_marks, quoted};

impl Dialect for sqlx::Sqlite {
    // the limit of SQLite before 3.32, so that system libraries do as well
    const MOST_BINDS: usize = 999;
    const ARRAYS: bool = false;
    const LEXIS: Lexis = Lexis {
        placeholders: Style::Both,
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
