//! Prints a configuration as a line, without secrets.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::kind::{Address, Bytes, Kind, Local, Memory, Redis, Tiers};
use crate::words::Word;

/// The text that replaces a password.
const REDACTED: &str = "***";
/// The characters that have a meaning in a line.
const RESERVED: &AsciiSet =
    &CONTROLS.add(b' ').add(b'%').add(b'&').add(b'?').add(b'#').add(b'(').add(b')').add(b',').add(b'=');

/// Collects options.
#[derive(Default)]
struct Query(String);

impl Query {
    fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.raw(name, Some(&utf8_percent_encode(value, RESERVED).to_string()));
        }
    }

    fn raw(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value {
            let mark = if self.0.is_empty() { '?' } else { '&' };
            // writing to a string cannot fail
            _ = write!(self.0, "{mark}{name}={value}");
        }
    }

    fn number(&mut self, name: &str, value: Option<u64>) {
        self.raw(name, value.map(|value| value.to_string()).as_deref());
    }

    fn time(&mut self, name: &str, value: Option<Duration>) {
        self.raw(name, value.map(time).as_deref());
    }
}

/// Prints a time in the largest unit of which it is a whole number.
fn time(time: Duration) -> String {
    match (time.as_secs(), time.subsec_nanos()) {
        (seconds, 0) => format!("{seconds}s"),
        (_, nanos) if nanos % 1_000_000 == 0 => format!("{}ms", time.as_millis()),
        (_, nanos) if nanos % 1_000 == 0 => format!("{}us", time.as_micros()),
        _ => format!("{}ns", time.as_nanos()),
    }
}

impl Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut query = Query::default();
        match self {
            Self::Local(local) => local.fmt(f),
            Self::Memory(Memory { name, max, bytes }) => {
                query.number("max", *max);
                bytes.show(&mut query);
                write!(f, "memory://{}{}", name.as_deref().unwrap_or_default(), query.0)
            }
            Self::Redis(redis) => {
                let Address { scheme, body: _, socket: [database, user, password] } = &redis.address;
                query.raw("db", database.as_deref());
                query.raw("user", user.as_deref());
                query.raw("pass", password.as_ref().map(|_| REDACTED));
                redis.show(&mut query);
                write!(f, "{scheme}://{}{}", redacted(redis), query.0)
            }
            Self::Tiered(tiers) => {
                let Tiers { near, far, bound, near_ttl } = &**tiers;
                query.time("max_staleness", *bound);
                query.time("near_ttl", *near_ttl);
                write!(f, "tiered:({near},{far}){}", query.0)
            }
        }
    }
}

impl Display for Local {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let frees_expired = if self.frees_expired { "&frees_expired=true" } else { "" };
        write!(f, "{}://?max={}{frees_expired}", self.library.word(), self.max)
    }
}

impl Redis {
    fn show(&self, query: &mut Query) {
        let Self {
            address: _,
            password_env,
            client,
            connect_timeout,
            connections,
            longest_pause,
            pushes,
            strict,
            breaker_failures,
            breaker_pause,
            bytes,
        } = self;
        query.text("password_env", password_env.as_deref());
        bytes.show(query);
        query.raw("client", client.map(Word::word));
        query.time("connect_timeout", *connect_timeout);
        query.number("connections", *connections);
        query.time("longest_pause", *longest_pause);
        query.raw("pushes", pushes.map(Word::word));
        query.raw("strict", strict.then_some("true"));
        query.number("breaker_failures", *breaker_failures);
        query.time("breaker_pause", *breaker_pause);
    }
}

impl Bytes {
    fn show(&self, query: &mut Query) {
        let Self { prefix, timeout, codec, compression, max_bytes, keys_env } = self;
        query.text("prefix", prefix.as_deref());
        query.time("timeout", *timeout);
        query.raw("codec", Some(codec.word()));
        query.raw("compression", compression.map(Word::word));
        query.number("max_bytes", max_bytes.map(|size| size.0 as u64));
        query.text("keys_env", keys_env.as_deref());
    }
}

/// Returns login, hosts and path without the password. A login of one word may be a password too, unless the
/// password comes from elsewhere.
fn redacted(redis: &Redis) -> String {
    let body = &redis.address.body;
    let Some((login, rest)) = body.rsplit_once('@') else { return body.clone() };
    match login.split_once(':') {
        Some((user, "")) => format!("{user}:@{rest}"),
        Some((user, _)) => format!("{user}:{REDACTED}@{rest}"),
        None if redis.password_env.is_some() => body.clone(),
        None => format!("{REDACTED}@{rest}"),
    }
}
