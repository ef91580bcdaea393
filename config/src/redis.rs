//! The stores `redis://` and its variants.

use std::time::Duration;

use larder::{Error, Result};
use larder_redis::{Pushes, RedisBackend, RedisConfig};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::kind::{Address, ClientName, Redis, Telling};

pub(crate) async fn connect(redis: &Redis) -> Result<RedisBackend> {
    let Redis {
        address,
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
    } = redis;
    let password = password_env.as_deref().map(password).transpose()?;
    let mut config = RedisConfig::new(url(address, password.as_deref()));
    #[cfg(feature = "fred")]
    if *client == Some(ClientName::Fred) {
        config = config.fred();
    }
    #[cfg(not(feature = "fred"))]
    let (Some(ClientName::RedisRs | ClientName::Fred) | None) = client;
    if let Some(timeout) = bytes.timeout {
        config = config.command_timeout(timeout);
    }
    if let Some(timeout) = connect_timeout {
        config = config.connect_timeout(*timeout);
    }
    if let Some(connections) = connections {
        config = config.connections(usize::try_from(*connections).unwrap_or(usize::MAX));
    }
    if let Some(pause) = longest_pause {
        config = config.longest_pause(*pause);
    }
    if let Some(pushes) = pushes {
        config = config.pushes(match pushes {
            Telling::Tracking => Pushes::Tracking,
            Telling::PubSub => Pushes::PubSub,
        });
    }
    let mut backend = config.connect().await?;
    if *strict {
        backend = backend.strict();
    }
    if breaker_failures.is_some() || breaker_pause.is_some() {
        // larder-redis' own default for the option that is not given
        let failures = breaker_failures.map_or(5, |failures| u32::try_from(failures).unwrap_or(u32::MAX));
        backend = backend.breaker(failures, breaker_pause.unwrap_or(Duration::from_secs(1)));
    }
    Ok(backend)
}

fn password(name: &str) -> Result<String> {
    std::env::var(name).map_err(|cause| {
        let reason =
            format!("the environment variable {name}, which `password_env` names, holds no password");
        // the cause of a value that is not UTF-8 would repeat it
        match cause {
            std::env::VarError::NotPresent => Error::config(format!("{reason}: it is not set")),
            std::env::VarError::NotUnicode(_) => Error::config(format!("{reason}: it is not UTF-8")),
        }
    })
}

/// Returns the URL in the form that larder-redis parses.
fn url(address: &Address, password: Option<&str>) -> String {
    let (user, written, rest) = address.parts();
    let encoded = password.map(|password| utf8_percent_encode(password, NON_ALPHANUMERIC).to_string());
    let password = encoded.as_deref().or(written);
    let scheme = address.scheme;
    if scheme == "redis+unix" {
        let database = address.socket[0].as_deref();
        let options = [("db", database), ("user", user), ("pass", password)];
        let options: Vec<String> =
            options.iter().filter_map(|(name, value)| Some(format!("{name}={}", (*value)?))).collect();
        return format!("{scheme}://{rest}?{}", options.join("&"));
    }
    match (user, password) {
        (None, None) => format!("{scheme}://{rest}"),
        (Some(user), None) => format!("{scheme}://{user}@{rest}"),
        (user, Some(password)) => format!("{scheme}://{}:{password}@{rest}", user.unwrap_or_default()),
    }
}
