//! Parses the placeholders of a query, and the places of its keys.

use crate::SourceError;
use crate::dialect::{Backslash, Lexis, Style};

/// Returns the length of the non-code text at the beginning of `sql`: a string, a quoted name, a comment. Zero for
/// code. `before` is the text that precedes it. A doubled quote closes and opens again, which has the same effect.
fn text_length(lexis: Lexis, before: &str, sql: &str) -> usize {
    let in_a_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    let escapes = match lexis.backslash {
        #[cfg(feature = "sqlite")]
        Backslash::Plain => false,
        #[cfg(feature = "postgres")]
        Backslash::AfterE => {
            let word = before.trim_end_matches(['e', 'E']);
            word.len() + 1 == before.len() && !word.ends_with(|c: char| c.is_alphanumeric() || c == '_')
        }
        #[cfg(feature = "mysql")]
        Backslash::Escapes => true,
    };
    let until =
        |open: usize, close: &str| sql[open..].find(close).map_or(sql.len(), |at| open + at + close.len());
    match sql.as_bytes() {
        [b'-', b'-', ..] => until(2, "\n"),
        [b'#', ..] if lexis.hash_comments => until(1, "\n"),
        [b'/', b'*', ..] if lexis.nested_comments => nested_comment(sql),
        [b'/', b'*', ..] => until(2, "*/"),
        [b'\'', ..] if escapes => escaped_string(sql, '\''),
        [b'"', ..] if escapes && lexis.backticks => escaped_string(sql, '"'),
        [b'\'', ..] => until(1, "'"),
        [b'"', ..] => until(1, "\""),
        [b'`', ..] if lexis.backticks => until(1, "`"),
        [b'[', ..] if lexis.brackets => until(1, "]"),
        [b'$', ..] if lexis.dollar_quotes && !in_a_word => {
            dollar_quote(sql).map_or(0, |tag| until(tag.len(), tag))
        }
        _ => 0,
    }
}

fn escaped_string(sql: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in sql.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    sql.len()
}

fn nested_comment(sql: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while let Some(found) = sql[at..].find(['/', '*']) {
        at += found;
        let rest = &sql[at..];
        if rest.starts_with("/*") {
            (depth, at) = (depth + 1, at + 2);
        } else if rest.starts_with("*/") {
            (depth, at) = (depth - 1, at + 2);
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    sql.len()
}

/// Returns the tag of `$tag$ .. $tag$`, with its marks.
fn dollar_quote(sql: &str) -> Option<&str> {
    let name = sql[1..].find(|c: char| !(c.is_alphanumeric() || c == '_')).map(|at| &sql[1..=at])?;
    let is_tag = !name.starts_with(|c: char| c.is_ascii_digit()) && sql[1 + name.len()..].starts_with('$');
    is_tag.then(|| &sql[..name.len() + 2])
}

/// Returns the parts of a query outside of quotes and comments, each with its position.
fn code(lexis: Lexis, sql: &str) -> Vec<(usize, &str)> {
    let (mut parts, mut begins, mut at) = (vec![], 0, 0);
    while let Some(c) = sql[at..].chars().next() {
        match text_length(lexis, &sql[begins..at], &sql[at..]) {
            0 => at += c.len_utf8(),
            length => {
                parts.push((begins, &sql[begins..at]));
                at += length;
                begins = at;
            }
        }
    }
    parts.push((begins, &sql[begins..]));
    parts
}

/// Returns the positions of `mark` in a query, outside of quotes and comments.
pub(crate) fn places(lexis: Lexis, sql: &str, mark: &str) -> Vec<usize> {
    let parts = code(lexis, sql).into_iter();
    parts.flat_map(|(begins, part)| part.match_indices(mark).map(move |(at, _)| begins + at)).collect()
}

/// The placeholders of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placeholders {
    style: Style,
    /// The number of `?`.
    bare: usize,
    /// The highest number of `?1`, `?2` or `$1`, `$2`.
    highest: usize,
}

impl Placeholders {
    pub(crate) fn of(lexis: Lexis, sql: &str) -> Self {
        let mut found = Self { style: lexis.placeholders, bare: 0, highest: 0 };
        for (_, part) in code(lexis, sql) {
            for (at, mark) in part.match_indices(['?', '$']) {
                found.add(&part[..at], mark, &part[at + mark.len()..]);
            }
        }
        found
    }

    fn add(&mut self, before: &str, mark: &str, after: &str) {
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let in_a_name = mark == "$" && before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if in_a_name {
            return;
        }
        match after[..digits].parse::<usize>() {
            Ok(number) if self.style.numbered.contains(mark) => self.highest = self.highest.max(number),
            _ if self.style.question && mark == "?" => self.bare += 1,
            // an operator, or `$name`, which sqlx refuses
            _ => {}
        }
    }

    /// Returns the number of values that they take.
    pub(crate) fn count(self) -> usize {
        self.bare + self.highest
    }

    /// Checks that a key of `binds` parts fits. If a value were missing, it would be bound as NULL and match
    /// nothing, without an error.
    pub(crate) fn check(self, binds: usize) -> Result<(), SourceError> {
        if self.bare > 0 && self.highest > 0 {
            return Err(SourceError::MixedPlaceholders);
        }
        if self.count() != binds {
            let write = self.style.example;
            return Err(SourceError::Placeholders { placeholders: self.count(), binds, write });
        }
        Ok(())
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use super::*;
    use crate::Dialect;

    const SQLITE: Lexis = <sqlx::Sqlite as Dialect>::LEXIS;

    fn counted(lexis: Lexis, sql: &str) -> (usize, usize) {
        let Placeholders { bare, highest, .. } = Placeholders::of(lexis, sql);
        (bare, highest)
    }

    #[test]
    fn placeholders_are_counted_and_text_is_not() {
        for (sql, bare, highest) in [
            ("", 0, 0),
            ("SELECT 1", 0, 0),
            ("SELECT * FROM t WHERE a = ?", 1, 0),
            ("SELECT * FROM t WHERE a = ? AND b = ?", 2, 0),
            ("SELECT * FROM t WHERE a = ?2 AND b = ?1 AND c = ?1", 0, 2),
            ("SELECT * FROM t WHERE a = $1 AND b = $2", 0, 2),
            ("SELECT * FROM t WHERE a = ? AND b = ?2", 1, 2),
            ("SELECT a$1, ä$2, _$3 FROM t WHERE a = ?", 1, 0),
            ("SELECT '?', \"?\", `?`, [?] FROM t WHERE a = ?", 1, 0),
            ("SELECT 'it''s ?' FROM t WHERE a = ?", 1, 0),
            ("SELECT '\"' FROM t WHERE a = ? AND b = '\"'", 1, 0),
            ("SELECT '-- ?' FROM t WHERE a = ? -- '\n AND b = ?", 2, 0),
            ("SELECT a - b / c FROM t -- why?\nWHERE a = ? /* ? */", 1, 0),
            ("SELECT 'größe ?', ? -- ende ?", 1, 0),
            ("SELECT 'unclosed ?", 0, 0),
            ("SELECT ? /* unclosed ?", 1, 0),
        ] {
            assert_eq!(counted(SQLITE, sql), (bare, highest), "{sql}");
        }
    }

    #[test]
    fn marks_are_found_where_they_stand_and_not_in_text() {
        let sql = "SELECT '{keys}' /* {keys} */ FROM t WHERE ä IN ({keys}) -- {keys}";
        let places = places(SQLITE, sql, "{keys}");
        assert_eq!(places.len(), 1);
        assert!(sql[places[0]..].starts_with("{keys}) -- "), "{places:?}");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn postgres_has_its_own_text() {
        for (sql, highest) in [
            ("SELECT a[$1] FROM t WHERE b ? 'x' AND c = $2", 2),
            ("SELECT $$ $5 $$, $x$ $6 $$ $7 $x$, $1", 1),
            ("SELECT E'\\' $5', 'a\\', $1", 1),
            ("SELECT e'it\\'s $5', type'\\', $2", 2),
            ("SELECT /* a /* $5 */ $6 */ $1", 1),
            ("SELECT a$1 FROM t WHERE \"$7\" = $1::int AND `$2", 2),
            ("SELECT $1||$2", 2),
            ("SELECT $$ unclosed $4", 0),
        ] {
            assert_eq!(counted(<sqlx::Postgres as Dialect>::LEXIS, sql), (0, highest), "{sql}");
        }
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn mysql_has_its_own_text() {
        for (sql, bare) in [
            ("SELECT 'it\\'s ?', \"a\\\"?\" FROM t WHERE a = ? # why?\n AND b = ?", 2),
            ("SELECT `a?`, '\\\\', ? FROM t", 1),
            ("SELECT JSON_EXTRACT(a, '$[0]') FROM t WHERE a[?]", 1),
            ("SELECT $1, ?1", 1),
            ("SELECT 'ä\\ö?", 0),
        ] {
            assert_eq!(counted(<sqlx::MySql as Dialect>::LEXIS, sql), (bare, 0), "{sql}");
        }
    }
}
