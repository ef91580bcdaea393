//! What a query wants: how many values, and where its keys go.

use crate::SourceError;

/// What is no code: how it opens, and how it closes. A doubled quote closes and opens again, which comes to the same.
const QUOTED: [(&str, &str); 6] =
    [("--", "\n"), ("/*", "*/"), ("'", "'"), ("\"", "\""), ("`", "`"), ("[", "]")];

/// The parts of a query outside of quotes and comments, each with where it begins.
fn code(sql: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = sql.get(at..).filter(|rest| !rest.is_empty())?;
        let begins = at;
        let quoted = QUOTED.iter().filter_map(|&(open, close)| Some((rest.find(open)?, open, close))).min();
        let Some((end, open, close)) = quoted else {
            at = sql.len();
            return Some((begins, rest));
        };
        let inside = &rest[end + open.len()..];
        let closes = inside.find(close).map_or(inside.len(), |found| found + close.len());
        at += end + open.len() + closes;
        Some((begins, &rest[..end]))
    })
}

/// Where `mark` stands in a query, not counting quotes and comments.
pub(crate) fn places(sql: &str, mark: &str) -> Vec<usize> {
    code(sql).flat_map(|(begins, part)| part.match_indices(mark).map(move |(at, _)| begins + at)).collect()
}

/// The placeholders of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Placeholders {
    /// How many `?`.
    bare: usize,
    /// The highest of `?1`, `?2` (or `$1`, `$2`, which sqlx takes for the same).
    highest: usize,
}

impl Placeholders {
    pub(crate) fn of(sql: &str) -> Self {
        let mut found = Self::default();
        for (_, part) in code(sql) {
            for (at, mark) in part.match_indices(['?', '$']) {
                found.add(&part[..at], mark, &part[at + mark.len()..]);
            }
        }
        found
    }

    fn add(&mut self, before: &str, mark: &str, after: &str) {
        let digits = after.len() - after.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let in_a_name = mark == "$" && before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        match after[..digits].parse::<usize>() {
            _ if in_a_name => {}
            Ok(number) => self.highest = self.highest.max(number),
            Err(_) if mark == "?" => self.bare += 1,
            // `$name`: sqlx refuses it
            Err(_) => {}
        }
    }

    /// How many values they take.
    pub(crate) fn count(self) -> usize {
        self.bare + self.highest
    }

    /// Whether a key of `binds` parts fits. A value too few would be bound as NULL and find nothing, without an error.
    pub(crate) fn check(self, binds: usize) -> Result<(), SourceError> {
        if self.bare > 0 && self.highest > 0 {
            return Err(SourceError::MixedPlaceholders);
        }
        if self.count() != binds {
            return Err(SourceError::Placeholders { placeholders: self.count(), binds });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(Placeholders::of(sql), Placeholders { bare, highest }, "{sql}");
        }
    }

    #[test]
    fn marks_are_found_where_they_stand_and_not_in_text() {
        let sql = "SELECT '{keys}' /* {keys} */ FROM t WHERE ä IN ({keys}) -- {keys}";
        let places = places(sql, "{keys}");
        assert_eq!(places.len(), 1);
        assert!(sql[places[0]..].starts_with("{keys}) -- "), "{places:?}");
    }
}
