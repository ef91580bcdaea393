//! The words of a line of configuration, and the errors for unknown ones.

use larder::{Error, Result};

/// Returns `true` if text may be repeated in a message: a word, and not a piece of a password in the wrong place.
pub(crate) fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-+.".contains(&byte);
    !text.is_empty() && text.len() <= 32 && text.bytes().all(allowed)
}

/// Returns text in quotes if it may be repeated.
pub(crate) fn quoted(text: &str) -> String {
    if is_word(text) { format!("`{text}`") } else { "what is written there".to_owned() }
}

/// Returns ": did you mean `x`?" if one of the `known` words is similar.
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let likeness = |other: &str| strsim::normalized_damerau_levenshtein(&word.to_lowercase(), other);
    let nearest = known.into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(nearest) if is_word(word) && likeness(nearest) > 0.55 => format!(": did you mean `{nearest}`?"),
        _ => String::new(),
    }
}

/// Returns the list of words, as in "`a`, `b` or `c`".
pub(crate) fn listed<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: Vec<String> = words.into_iter().map(|word| format!("`{word}`")).collect();
    match &words[..] {
        [] => "nothing".to_owned(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

/// Returns the error for a known word whose cargo feature is off.
pub(crate) fn is_off(word: &str, feature: &str) -> Error {
    Error::config(format!("`{word}` is not compiled in: enable the feature `{feature}` of larder-config"))
}

/// An enum whose variants are words of an option, some of them behind a cargo feature.
pub(crate) trait Word: Copy + PartialEq + 'static {
    /// The name of the option.
    const OPTION: &'static str;
    /// The variants: each with its word, its feature (empty for none) and `true` if that is enabled.
    const ALL: &'static [(Self, &'static str, &'static str, bool)];

    fn word(self) -> &'static str {
        // every variant is in the list, which the macro makes
        Self::ALL.iter().find_map(|(own, word, ..)| (*own == self).then_some(*word)).unwrap_or_default()
    }

    /// Returns the error for a variant whose feature is off.
    fn off(self) -> Error {
        let feature = Self::ALL.iter().find_map(|(own, _, feature, _)| (*own == self).then_some(*feature));
        is_off(&format!("{}={}", Self::OPTION, self.word()), feature.unwrap_or_default())
    }

    /// Fails if its feature is off.
    fn available(self) -> Result<Self> {
        match Self::ALL.iter().any(|(own, _, _, enabled)| *own == self && *enabled) {
            true => Ok(self),
            false => Err(self.off()),
        }
    }

    fn find(text: &str) -> Result<Self> {
        if let Some((found, ..)) = Self::ALL.iter().find(|(_, word, ..)| *word == text) {
            return found.available();
        }
        let words = || Self::ALL.iter().map(|(_, word, ..)| *word);
        let (option, found, suggestion) = (Self::OPTION, quoted(text), suggestion(text, words()));
        let suggestion =
            if suggestion.is_empty() { format!(": write {}", listed(words())) } else { suggestion };
        Err(Error::config(format!("the option `{option}` cannot be {found}{suggestion}")))
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident of $option:literal { $($variant:ident = $word:literal $(if $feature:literal)?;)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $name { $($variant,)* }

        impl $crate::words::Word for $name {
            const OPTION: &'static str = $option;
            const ALL: &'static [(Self, &'static str, &'static str, bool)] = &[$(
                (Self::$variant, $word, concat!($($feature)?), true $(&& cfg!(feature = $feature))?),
            )*];
        }
    };
}
pub(crate) use words;
