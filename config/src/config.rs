//! The parsed configuration.

use std::fmt;
use std::str::FromStr;

use larder::{Error, Result};

use crate::kind::Kind;
use crate::line::parse;
use crate::store::Store;

/// The store of a cache and its options, from one line, an environment variable, or a table of a configuration
/// file.
///
/// Printing it, also by `Debug`, returns the line with `***` for passwords. Two are equal if they have the same
/// content.
///
/// # Examples
/// ```
/// use larder_config::StoreConfig;
/// let config: StoreConfig = "quick://?max=10_000".parse()?;
/// assert_eq!(config.to_string(), "quick://?max=10000");
///
/// let wrong = "quik://".parse::<StoreConfig>().unwrap_err();
/// assert_eq!(wrong.to_string(), "configuration: there is no store `quik`: did you mean `quick`?");
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Clone, PartialEq)]
pub struct StoreConfig(pub(crate) Kind);

impl StoreConfig {
    /// Parses the environment variable `name`.
    ///
    /// # Errors
    /// If it is not set, or not a store. The message contains a hint.
    ///
    /// # Examples
    /// ```
    /// use larder_config::StoreConfig;
    /// let unset = StoreConfig::from_env("NO_SUCH_CACHE_URL").unwrap_err();
    /// assert!(unset.to_string().contains("NO_SUCH_CACHE_URL is not set"));
    /// ```
    pub fn from_env(name: &str) -> Result<Self> {
        match Self::of_env(name)? {
            Some(config) => Ok(config),
            None => Err(Error::config(format!(
                "the environment variable {name} is not set: {name}='quick://?max=10000', for example"
            ))),
        }
    }

    /// Parses the environment variable `name`, or `default` if it is not set.
    ///
    /// # Errors
    /// If the variable is set and is not a store, or if `default` is not one.
    ///
    /// # Examples
    /// ```
    /// use larder_config::StoreConfig;
    /// let config = StoreConfig::from_env_or("NO_SUCH_CACHE_URL", "quick://?max=500")?;
    /// assert_eq!(config.to_string(), "quick://?max=500");
    /// # Ok::<(), larder::Error>(())
    /// ```
    pub fn from_env_or(name: &str, default: &str) -> Result<Self> {
        Self::of_env(name)?.map_or_else(|| default.parse(), Ok)
    }

    fn of_env(name: &str) -> Result<Option<Self>> {
        let named =
            |error: Error| Error::config(format!("the environment variable {name}")).with_source(error);
        match std::env::var(name) {
            Ok(line) => line.parse().map(Some).map_err(named),
            Err(std::env::VarError::NotPresent) => Ok(None),
            Err(std::env::VarError::NotUnicode(_)) => Err(named(Error::config("what it holds is not UTF-8"))),
        }
    }

    /// Opens the store. A Redis that cannot be reached is no error: the cache works without it, and uses it once it
    /// can be reached.
    ///
    /// # Errors
    /// If no retry can help: the server refuses the password, a port is not a number, or `keys_env` names a
    /// variable without keys.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use larder::{Cache, Strategy};
    /// use larder_config::StoreConfig;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
    /// let store = StoreConfig::from_env_or("CACHE_URL", "quick://")?.connect().await?;
    /// let users: Cache<u64, String> = Cache::builder()
    ///     .namespace("user")
    ///     .backend(store.clone())
    ///     .strategy(Strategy::aside(Duration::from_secs(60)).locked(store.locks()))
    ///     .build()?;
    /// # let _ = users;
    /// # Ok(()) }
    /// ```
    pub async fn connect(&self) -> Result<Store> {
        Store::open(self).await
    }
}

impl FromStr for StoreConfig {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        parse(line, &[]).map(Self)
    }
}

impl fmt::Display for StoreConfig {
    /// Prints the line, with `***` for passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for StoreConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreConfig({self})")
    }
}
