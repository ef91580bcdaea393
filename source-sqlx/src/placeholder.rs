//! How many values a query wants.

/// Counts the values that a query with `?` placeholders binds: each bare `?` is one more, `?3` makes at least three.
/// Quoted text and comments do not count.
pub(crate) fn count(sql: &str) -> usize {
    let mut count = 0;
    let mut rest = sql;
    while let Some(at) = rest.find(['?', '\'', '"', '`', '[', '-', '/']) {
        let (mark, tail) = (rest.as_bytes()[at], &rest[at + 1..]);
        rest = match mark {
            b'?' => {
                let digits = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_digit()).len();
                count = tail[..digits].parse().map_or(count + 1, |number: usize| count.max(number));
                &tail[digits..]
            }
            b'-' if tail.starts_with('-') => after(tail, "\n"),
            b'/' if tail.starts_with('*') => after(tail, "*/"),
            b'\'' => after(tail, "'"),
            b'"' => after(tail, "\""),
            b'`' => after(tail, "`"),
            b'[' => after(tail, "]"),
            _ => tail,
        };
    }
    count
}

/// What comes after `end`. A doubled quote closes and opens again at once, which comes to the same.
fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.find(end).map_or("", |at| &text[at + end.len()..])
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn placeholders_are_counted_and_text_is_not() {
        for (sql, expected) in [
            ("SELECT 1", 0),
            ("SELECT * FROM t WHERE a = ?", 1),
            ("SELECT * FROM t WHERE a = ? AND b = ?", 2),
            ("SELECT * FROM t WHERE a = ?2 AND b = ?1 AND c = ?1", 2),
            ("SELECT '?', \"?\", `?`, [?] FROM t WHERE a = ?", 1),
            ("SELECT 'it''s ?' FROM t WHERE a = ?", 1),
            ("SELECT a - b / c FROM t -- why?\nWHERE a = ? /* ? */", 1),
            ("SELECT 'unclosed ?", 0),
        ] {
            assert_eq!(count(sql), expected, "{sql}");
        }
    }
}
