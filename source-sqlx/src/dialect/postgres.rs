//! PostgreSQL.

use super::{Backslash, Dialect, Lexis, Style, quoted};

impl Dialect for sqlx::Postgres {
    const MOST_BINDS: usize = 65_535;
    const ARRAYS: bool = true;
    const LEXIS: Lexis = Lexis {
        placeholders: Style::Dollar,
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
