//! The options after the `?` of a line, or in a table.

use std::borrow::Cow;
use std::time::Duration;

use larder::{Error, Result};
use percent_encoding::percent_decode_str;

use crate::words::{Word, listed, quoted, suggestion};

/// The options of a scheme, of which each is taken by its user. An option that is left at the end is an error.
#[derive(Debug)]
pub(crate) struct Options {
    of: &'static str,
    given: Vec<(String, String)>,
    asked: Vec<&'static str>,
}

/// A type that the value of an option can have.
pub(crate) trait Value: Sized {
    /// The hint for the error message.
    const MEND: &'static str;
    fn read(text: &str) -> Option<Self>;
}

impl Value for u64 {
    const MEND: &'static str = "a whole number above zero, such as 10000";
    fn read(text: &str) -> Option<Self> {
        text.replace('_', "").parse().ok().filter(|number| *number > 0)
    }
}

impl Value for bool {
    const MEND: &'static str = "`true` or `false`";
    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Value for Duration {
    const MEND: &'static str = "a time above zero with its unit, such as 250ms, 2s or 10m";
    fn read(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok().filter(|time| !time.is_zero())
    }
}

impl Value for String {
    const MEND: &'static str = "some text";
    fn read(text: &str) -> Option<Self> {
        (!text.is_empty()).then(|| text.to_owned())
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) usize);

impl Value for Size {
    const MEND: &'static str = "a number of bytes above zero, such as 65536, 64KiB or 16MiB";
    fn read(text: &str) -> Option<Self> {
        let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("", 1)];
        let number = |(unit, bytes): (&str, usize)| {
            let number = text.strip_suffix(unit)?.trim_end().replace('_', "").parse::<usize>().ok()?;
            number.checked_mul(bytes)
        };
        units.into_iter().find_map(number).filter(|bytes| *bytes > 0).map(Self)
    }
}

impl Options {
    /// Parses the options in `query`, of the scheme `of`.
    pub(crate) fn parse(of: &'static str, query: &str) -> Result<Self> {
        let mut options = Self { of, given: vec![], asked: vec![] };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let Some((name, value)) = pair.split_once('=') else {
                let mend = "options are written name=value, and `&` in a password %26";
                return Err(Error::config(format!("{of}: an option without a value: {mend}")));
            };
            options.add(name, value)?;
        }
        Ok(options)
    }

    pub(crate) fn add(&mut self, name: &str, value: &str) -> Result<()> {
        if self.given.iter().any(|(given, _)| given == name) {
            // the text may be no option at all, but a piece of a password, so it is not repeated
            let (of, name) =
                (self.of, if OPTIONS.contains(&name) { quoted(name) } else { "an option".to_owned() });
            return Err(Error::config(format!("{of}: {name} is given twice: leave one out")));
        }
        self.given.push((name.to_owned(), value.to_owned()));
        Ok(())
    }

    /// Takes an option as it is written, with its percent-encoding.
    pub(crate) fn take_raw(&mut self, name: &'static str) -> Option<String> {
        self.asked.push(name);
        let index = self.given.iter().position(|(given, _)| given == name)?;
        Some(self.given.swap_remove(index).1)
    }

    pub(crate) fn take<T: Value>(&mut self, name: &'static str) -> Result<Option<T>> {
        let Some(raw) = self.take_raw(name) else { return Ok(None) };
        let text = decoded(&raw);
        match T::read(&text) {
            Some(value) => Ok(Some(value)),
            None => {
                let (of, text, mend) = (self.of, quoted(&text), T::MEND);
                Err(Error::config(format!("{of}: `{name}` cannot be {text}: write {mend}")))
            }
        }
    }

    pub(crate) fn take_word<T: Word>(&mut self) -> Result<Option<T>> {
        self.take_raw(T::OPTION).map(|raw| T::find(&decoded(&raw))).transpose()
    }

    /// Refuses an option that was not taken.
    pub(crate) fn finish(self) -> Result<()> {
        let Self { of, given, asked } = self;
        let Some((name, _)) = given.first() else { return Ok(()) };
        let kept = "values are kept in this process as they are";
        let reason = match (of, name.as_str()) {
            ("quick" | "moka", "prefix") => Some("nobody else sees what is kept in this process"),
            ("quick" | "moka", "codec" | "compression" | "max_bytes" | "keys_env") => Some(kept),
            ("quick" | "moka", "timeout") => Some("what is in this process is not waited for"),
            ("tiered", name) if OPTIONS.contains(&name) => {
                Some("write it inside the brackets, in the tier that it concerns")
            }
            _ => None,
        };
        let suggestion = match reason {
            Some(reason) => format!(": {reason}"),
            None => suggestion(name, asked.iter().copied()),
        };
        // text that resembles no option may be a piece of a password, so it is not repeated
        let name = if suggestion.is_empty() && !OPTIONS.contains(&name.as_str()) {
            "of this name"
        } else {
            &quoted(name)
        };
        let mend = if suggestion.is_empty() { format!(": there are {}", listed(asked)) } else { suggestion };
        Err(Error::config(format!("{of}: there is no option {name} here{mend}")))
    }
}

/// The options of all stores.
const OPTIONS: &[&str] = &[
    "max",
    "frees_expired",
    "prefix",
    "timeout",
    "codec",
    "compression",
    "max_bytes",
    "keys_env",
    "password_env",
    "connect_timeout",
    "connections",
    "longest_pause",
    "pushes",
    "strict",
    "breaker_failures",
    "breaker_pause",
    "client",
    "max_staleness",
    "near_ttl",
    "db",
    "user",
    "pass",
];

fn decoded(raw: &str) -> Cow<'_, str> {
    percent_decode_str(raw).decode_utf8_lossy()
}
