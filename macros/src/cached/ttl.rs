//! Parses durations as people write them: `10m`, `1h 30m`, `250ms`.

use std::time::Duration;

use syn::{Error, LitStr, Result};

/// The units, with their milliseconds.
const UNITS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

const FORM: &str = "write a TTL like \"10m\", \"1h 30m\" or \"250ms\": units are ms, s, m, h, d and w";

/// Parses a TTL. The error names the invalid word.
pub(super) fn parse(literal: &LitStr) -> Result<Duration> {
    millis(&literal.value()).map(Duration::from_millis).map_err(|wrong| Error::new(literal.span(), wrong))
}

fn millis(text: &str) -> std::result::Result<u64, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(format!("no TTL: {FORM}"));
    }
    let mut sum = 0_u64;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let word = after.trim_start();
        let letters = word.len() - word.trim_start_matches(char::is_alphabetic).len();
        let (unit, after) = word.split_at(letters);
        if number.is_empty() {
            return Err(format!("no number at `{rest}`: {FORM}"));
        }
        if unit.is_empty() {
            return Err(format!("`{number}` of what? {FORM}"));
        }
        let Some((_, factor)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is no unit of time: {FORM}"));
        };
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*factor));
        let total = part.and_then(|part| sum.checked_add(part));
        sum = total
            .ok_or_else(|| format!("`{number}{unit}` is too long; a TTL of `Duration::MAX` never ends"))?;
        rest = after.trim_start();
    }
    if sum == 0 {
        return Err("a TTL of zero keeps nothing: write at least `1ms`".to_owned());
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn what_people_write() {
        for (text, expected) in [
            ("10m", 600_000),
            ("1h 30m", 5_400_000),
            ("1h30m", 5_400_000),
            (" 250 ms ", 250),
            ("2d", 172_800_000),
            ("1w", 604_800_000),
            ("1s1ms", 1_001),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, word) in [
            ("", "no TTL"),
            ("10", "`10` of what?"),
            ("10x", "`x` is no unit"),
            ("1h 30", "`30` of what?"),
            ("m", "no number at `m`"),
            ("1.5s", "`1` of what?"),
            ("-1s", "no number at `-1s`"),
            ("0s", "zero"),
            ("99999999999999999999s", "too long"),
            ("9999999999999999w", "too long"),
        ] {
            let wrong = millis(text).expect_err(text);
            assert!(wrong.contains(word), "{text}: {wrong}");
        }
    }
}
