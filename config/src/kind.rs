//! The content of a parsed line.

use std::time::Duration;

use larder::backend::BackendContext;
use larder::{Error, Result};

use crate::options::{Options, Size};
use crate::words::{Word as _, is_off, words};

/// The default maximum number of entries in the process.
pub(crate) const MAX: u64 = 10_000;

#[derive(Clone, PartialEq)]
pub(crate) enum Kind {
    Local(Local),
    Memory(Memory),
    Redis(Redis),
    Tiered(Box<Tiers>),
}

/// A typed store in this process.
#[derive(Clone, PartialEq)]
pub(crate) struct Local {
    pub(crate) library: Library,
    pub(crate) max: u64,
    /// `true` to free expired entries. Only moka supports it.
    pub(crate) frees_expired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    Quick,
    Moka,
}

#[derive(Clone, PartialEq)]
pub(crate) struct Memory {
    /// The name by which caches of the process share it.
    pub(crate) name: Option<String>,
    pub(crate) max: Option<u64>,
    pub(crate) bytes: Bytes,
}

#[derive(Clone, PartialEq)]
pub(crate) struct Redis {
    pub(crate) address: Address,
    /// The environment variable that holds the password.
    pub(crate) password_env: Option<String>,
    pub(crate) client: Option<ClientName>,
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) connections: Option<u64>,
    pub(crate) longest_pause: Option<Duration>,
    pub(crate) pushes: Option<Telling>,
    pub(crate) strict: bool,
    pub(crate) breaker_failures: Option<u64>,
    pub(crate) breaker_pause: Option<Duration>,
    pub(crate) bytes: Bytes,
}

/// The part of the URL that larder-redis parses.
#[derive(Clone, PartialEq)]
pub(crate) struct Address {
    pub(crate) scheme: &'static str,
    /// The login, hosts and path; for a socket its path.
    pub(crate) body: String,
    /// For a socket, percent-encoded: database, user, password.
    pub(crate) socket: [Option<String>; 3],
}

#[derive(Clone, PartialEq)]
pub(crate) struct Tiers {
    pub(crate) near: Local,
    pub(crate) far: Kind,
    pub(crate) bound: Option<Duration>,
    pub(crate) near_ttl: Option<Duration>,
}

/// The options of all byte stores.
#[derive(Clone, PartialEq)]
pub(crate) struct Bytes {
    pub(crate) prefix: Option<String>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) codec: CodecName,
    pub(crate) compression: Option<Compression>,
    pub(crate) max_bytes: Option<Size>,
    pub(crate) keys_env: Option<String>,
}

words! {
    CodecName of "codec" {
        Json = "json" if "json";
        Postcard = "postcard" if "postcard";
        MessagePack = "messagepack" if "messagepack";
        Bincode = "bincode" if "bincode";
    }
}

words! {
    Compression of "compression" {
        Zstd = "zstd" if "zstd";
        Lz4 = "lz4" if "lz4";
    }
}

words! {
    /// The client library for Redis.
    ClientName of "client" {
        RedisRs = "redis-rs" if "redis";
        Fred = "fred" if "fred";
    }
}

words! {
    /// The way in which near tiers are notified of changes.
    Telling of "pushes" {
        Tracking = "tracking";
        PubSub = "pubsub";
    }
}

impl Local {
    pub(crate) fn read(library: Library, body: &str, options: &mut Options) -> Result<Self> {
        if !body.is_empty() {
            let word = library.word();
            return Err(Error::config(format!(
                "{word}:// is in this process and has no host: write {word}://?max=10000"
            )));
        }
        let max = options.take("max")?.unwrap_or(MAX);
        let frees_expired = library == Library::Moka && options.take("frees_expired")?.unwrap_or(false);
        Ok(Self { library, max, frees_expired })
    }
}

impl Library {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Quick => "quick",
            Self::Moka => "moka",
        }
    }
}

impl Memory {
    pub(crate) fn read(body: &str, options: &mut Options) -> Result<Self> {
        let name = (!body.is_empty()).then(|| body.to_owned());
        if !body.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)) {
            let mend = "ASCII letters, digits and -_, as in memory://shop";
            return Err(Error::config(format!("the name of a memory:// server has {mend}")));
        }
        Ok(Self { name, max: options.take("max")?, bytes: Bytes::read(options)? })
    }
}

impl Redis {
    pub(crate) fn read(address: Address, options: &mut Options) -> Result<Self> {
        let password_env: Option<String> = options.take("password_env")?;
        if password_env.is_some() && address.has_password() {
            let mend = "leave one of them out";
            return Err(Error::config(format!("a password in the URL and `password_env` too: {mend}")));
        }
        Ok(Self {
            address,
            password_env,
            client: options.take_word()?,
            connect_timeout: options.take("connect_timeout")?,
            connections: options.take("connections")?,
            longest_pause: options.take("longest_pause")?,
            pushes: options.take_word()?,
            strict: options.take("strict")?.unwrap_or(false),
            breaker_failures: options.take("breaker_failures")?,
            breaker_pause: options.take("breaker_pause")?,
            bytes: Bytes::read(options)?,
        })
    }
}

impl Address {
    /// Returns user, password (both percent-encoded) and the rest of the body.
    pub(crate) fn parts(&self) -> (Option<&str>, Option<&str>, &str) {
        let [_, user, password] = &self.socket;
        match self.body.rsplit_once('@') {
            None => (user.as_deref(), password.as_deref(), &self.body),
            Some((login, rest)) => match login.split_once(':') {
                Some((user, password)) => (Some(user), Some(password), rest),
                None => (Some(login), None, rest),
            },
        }
    }

    fn has_password(&self) -> bool {
        self.parts().1.is_some_and(|password| !password.is_empty())
    }
}

impl Bytes {
    fn read(options: &mut Options) -> Result<Self> {
        let bytes = Self {
            prefix: options.take("prefix")?,
            timeout: options.take("timeout")?,
            codec: options.take_word()?.unwrap_or(CodecName::Json).available()?,
            compression: options.take_word()?,
            max_bytes: options.take("max_bytes")?,
            keys_env: options.take("keys_env")?,
        };
        if let Some(prefix) = &bytes.prefix {
            // its error describes a valid prefix
            BackendContext::unnamed().prefixed(prefix)?;
        }
        if bytes.keys_env.is_some() && !cfg!(feature = "encryption") {
            return Err(is_off("keys_env", "encryption"));
        }
        Ok(bytes)
    }
}
