//! The schemes with which a line can begin.

use larder::{Error, Result};

use crate::words::{is_off, quoted, suggestion};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    Memory,
    Quick,
    Moka,
    Redis,
    Unix,
    Tiered,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scheme {
    pub(crate) word: &'static str,
    pub(crate) family: Family,
    feature: &'static str,
    enabled: bool,
}

macro_rules! schemes {
    ($($word:literal $family:ident $(if $feature:literal)?;)*) => {
        &[$(Scheme {
            word: $word,
            family: Family::$family,
            feature: concat!($($feature)?),
            enabled: true $(&& cfg!(feature = $feature))?,
        },)*]
    };
}

const ALL: &[Scheme] = schemes! {
    "memory" Memory if "memory";
    "quick" Quick if "quick";
    "moka" Moka if "moka";
    "redis" Redis if "redis";
    "redis+unix" Unix if "redis";
    "redis-cluster" Redis if "redis";
    "redis-sentinel" Redis if "redis";
    "rediss" Redis if "redis-tls";
    "rediss-cluster" Redis if "redis-tls";
    "rediss-sentinel" Redis if "redis-tls";
    "tiered" Tiered;
};

impl Scheme {
    pub(crate) fn find(word: &str) -> Result<&'static Self> {
        let Some(scheme) = ALL.iter().find(|scheme| scheme.word == word) else {
            let suggestion = suggestion(word, ALL.iter().map(|scheme| scheme.word));
            let suggestion = if suggestion.is_empty() { format!(": {USE}") } else { suggestion };
            return Err(Error::config(format!("there is no store {}{suggestion}", quoted(word))));
        };
        match scheme.enabled {
            true => Ok(scheme),
            false => Err(is_off(&format!("{word}://"), scheme.feature)),
        }
    }
}

/// The hint with all forms of a line.
pub(crate) const USE: &str = "use memory://, quick://?max=10000, moka://?max=10000, redis://host:6379, \
     redis-cluster://host:6379,host:6379, redis-sentinel://host:26379,host:26379/service or \
     tiered:(quick://?max=10000,redis://host:6379)";
