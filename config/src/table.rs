//! Parses a table of a configuration file.

use std::fmt;

use larder::Error;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};

use crate::config::StoreConfig;
use crate::line::{parse, tiered};
use crate::options::Options;
use crate::words::suggestion;

/// Deserializes a line, or a table of `url` and options, or of `near`, `far` and options.
///
/// # Examples
/// ```
/// #[derive(serde::Deserialize)]
/// struct Settings {
///     cache: larder_config::StoreConfig,
/// }
///
/// let short: Settings = toml::from_str(r#"cache = "quick://?max=500""#)?;
/// let long: Settings = toml::from_str(
///     r#"
///     [cache]
///     url = "quick://"
///     max = 500
///     "#,
/// )?;
/// assert_eq!(short.cache, long.cache);
/// # Ok::<(), toml::de::Error>(())
/// ```
impl<'de> Deserialize<'de> for StoreConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Whole)
    }
}

fn said<E: serde::de::Error>(error: &Error) -> E {
    E::custom(error)
}

struct Whole;

impl<'de> Visitor<'de> for Whole {
    type Value = StoreConfig;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the URL of a store, or a table with `url`, or with `near` and `far`")
    }

    fn visit_str<E: serde::de::Error>(self, line: &str) -> Result<StoreConfig, E> {
        line.parse().map_err(|error| said(&error))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StoreConfig, A::Error> {
        let (mut url, mut near, mut far) = (None::<String>, None::<StoreConfig>, None::<StoreConfig>);
        let mut more = vec![];
        while let Some(name) = map.next_key::<String>()? {
            match name.as_str() {
                "url" => url = Some(map.next_value()?),
                "near" => near = Some(map.next_value()?),
                "far" => far = Some(map.next_value()?),
                _ => more.push((name, map.next_value::<Scalar>()?.0)),
            }
        }
        whole(url, near, far, &more).map_err(|error| said(&error))
    }
}

fn whole(
    url: Option<String>,
    near: Option<StoreConfig>,
    far: Option<StoreConfig>,
    more: &[(String, String)],
) -> larder::Result<StoreConfig> {
    match (url, near, far) {
        (Some(url), None, None) => parse(&url, more).map(StoreConfig),
        (None, Some(near), Some(far)) => {
            let mut options = Options::parse("tiered", "")?;
            more.iter().try_for_each(|(name, value)| options.add(name, value))?;
            tiered(near.0, far.0, options).map(StoreConfig)
        }
        (Some(_), ..) => Err(Error::config("a table has `url`, or `near` and `far`, not both")),
        (None, None, None) => {
            let near = |(name, _): &(String, String)| suggestion(name, ["url", "near", "far"]);
            let suggestion = more.iter().map(near).find(|suggestion| !suggestion.is_empty());
            Err(Error::config(format!(
                "a table needs `url`, or `near` and `far`{}",
                suggestion.unwrap_or_default()
            )))
        }
        (None, near, _) => {
            let missing = if near.is_some() { "far" } else { "near" };
            Err(Error::config(format!(
                "two tiers need `{missing}` too: write it, or give one store as `url`"
            )))
        }
    }
}

/// A scalar value of an option, as text.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Scalars)
    }
}

struct Scalars;

impl Visitor<'_> for Scalars {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a whole number or a truth value")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Scalar, E> {
        // percent-encoded, as in a line
        Ok(Scalar(utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Scalar, E> {
        Ok(Scalar(number.to_string()))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Scalar, E> {
        Ok(Scalar(number.to_string()))
    }

    fn visit_bool<E: serde::de::Error>(self, truth: bool) -> Result<Scalar, E> {
        Ok(Scalar(truth.to_string()))
    }
}
