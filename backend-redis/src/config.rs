//! The configuration of a connection.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use larder::{Error, Result};

#[cfg(feature = "fred")]
use crate::client::Fred;
use crate::client::{Client, Failure, FailureKind};
use crate::handle::RedisBackend;
use crate::target::Target;
#[cfg(feature = "redis-rs")]
use crate::{
    client::{Dial, RedisRs, with_resp3},
    target::Topology,
};

/// The timeouts and pauses of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) connect: Duration,
    pub(crate) command: Duration,
    pub(crate) longest_pause: Duration,
    pub(crate) connections: usize,
}

/// The way in which near tiers (L1, [`larder::Tiered`]) are notified of changes by other processes.
///
/// # Examples
/// See [`RedisConfig::pushes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Pushes {
    /// The server itself sends notifications (`CLIENT TRACKING` with `BCAST`, RESP3), over a separate connection.
    /// They cover changes by any program, evictions and expiries. Reads cost the server nothing more. Each change
    /// costs it a message to each process with a near tier on the namespace.
    #[default]
    Tracking,
    /// The process that makes a change publishes a notification. For servers or proxies without tracking, and not
    /// for clusters. A change by another program is noticed only when the near entry expires: set
    /// [`near_ttl`](larder::Tiered::near_ttl). Each change costs its process one more small command in the same
    /// round trip. The server numbers the messages, so that a lost one is noticed.
    PubSub,
}

/// The address of Redis, its timeouts and other settings, before it is connected.
///
/// | URL | what it reaches |
/// |---|---|
/// | `redis://[user:password@]host[:port][/database]` | one server |
/// | `redis+unix:///path[?db=0&user=..&pass=..]` | one server, by its socket |
/// | `redis-cluster://[user:password@]host:port,host:port` | a cluster, by some of its nodes |
/// | `redis-sentinel://[user:password@]host:port,host:port/service[/database]` | the primary of a service, by its sentinels |
/// | `rediss://`, `rediss-cluster://`, `rediss-sentinel://` | the same with TLS (feature `tls`) |
///
/// A client that exists already can replace the URL: `RedisConfig::from(client)` takes a `redis::Client`, a
/// `redis::cluster::ClusterClient` (built with RESP3, for locks that wake at once), a `fred::clients::Client` or a
/// `fred::clients::Pool` (both connected and with a reconnection policy).
///
/// # Examples
/// ```no_run
/// use std::time::Duration;
/// use larder_redis::RedisConfig;
///
/// # async fn with() -> larder::Result<()> {
/// let redis = RedisConfig::new("redis://localhost")
///     .command_timeout(Duration::from_millis(100))
///     .connect()
///     .await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisConfig {
    origin: Origin,
    timing: Timing,
    pushes: Pushes,
}

#[derive(Clone)]
enum Origin {
    Url(String),
    #[cfg(feature = "fred")]
    FredUrl(String),
    #[cfg(feature = "redis-rs")]
    Client(Box<redis::Client>),
    #[cfg(feature = "redis-rs")]
    Cluster(Box<redis::cluster::ClusterClient>),
    #[cfg(feature = "fred")]
    Fred(Vec<fred::clients::Client>),
}

impl fmt::Debug for RedisConfig {
    /// Omits the URL, which may hold a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConfig").field("timing", &self.timing).finish_non_exhaustive()
    }
}

macro_rules! from {
    ($($feature:literal $client:ty => |$name:ident| $origin:expr;)*) => {$(
        #[cfg(feature = $feature)]
        impl From<$client> for RedisConfig {
            fn from($name: $client) -> Self {
                Self::over($origin)
            }
        }
    )*};
}

from! {
    "redis-rs" redis::Client => |client| Origin::Client(Box::new(client));
    "redis-rs" redis::cluster::ClusterClient => |client| Origin::Cluster(Box::new(client));
    "fred" fred::clients::Client => |client| Origin::Fred(vec![client]);
    "fred" fred::clients::Pool => |pool| Origin::Fred(pool.clients().to_vec());
}

impl RedisConfig {
    /// A configuration for the server at `url`.
    pub fn new(url: impl Into<String>) -> Self {
        Self::over(Origin::Url(url.into()))
    }

    fn over(origin: Origin) -> Self {
        let timing = Timing {
            connect: Duration::from_secs(1),
            command: Duration::from_millis(500),
            longest_pause: Duration::from_secs(1),
            connections: 2,
        };
        Self { origin, timing, pushes: Pushes::default() }
    }

    /// Connects to a URL with the client fred. Default: redis-rs, if that feature is enabled.
    #[cfg(feature = "fred")]
    #[must_use]
    pub fn fred(mut self) -> Self {
        if let Origin::Url(url) = self.origin {
            self.origin = Origin::FredUrl(url);
        }
        self
    }

    /// Sets the maximum time for a connection attempt. Default 1 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.timing.connect = timeout;
        self
    }

    /// Sets the maximum time for a command, including a new connection. Default 500 ms.
    #[must_use]
    pub fn command_timeout(mut self, timeout: Duration) -> Self {
        self.timing.command = timeout;
        self
    }

    /// Sets the longest pause between attempts to reconnect. Pauses double from 20 ms and are jittered. Default 1
    /// s.
    #[must_use]
    pub fn longest_pause(mut self, pause: Duration) -> Self {
        self.timing.longest_pause = pause;
        self
    }

    /// Sets the number of connections, in a cluster to each node. They are made when they are needed. The commands
    /// of one thread use one connection, so that under load threads do not wait for each other. Default 2.
    #[must_use]
    pub fn connections(mut self, connections: usize) -> Self {
        self.timing.connections = connections;
        self
    }

    /// Sets the way in which near tiers (L1) are notified of changes. Default [`Pushes::Tracking`]. All processes
    /// of a namespace must use the same.
    ///
    /// # Examples
    /// ```
    /// use larder_redis::{Pushes, RedisConfig};
    /// let config = RedisConfig::new("redis://proxy.internal").pushes(Pushes::PubSub);
    /// # let _ = config;
    /// ```
    #[must_use]
    pub fn pushes(mut self, pushes: Pushes) -> Self {
        self.pushes = pushes;
        self
    }

    /// Connects.
    ///
    /// A server that cannot be reached is no error: the cache works without it, and uses it once it can be reached.
    ///
    /// # Errors
    /// If no retry can help: the URL is invalid, the password is wrong, or the peer is not a Redis of version 6 or
    /// later.
    pub async fn connect(self) -> Result<RedisBackend> {
        let Self { origin, timing, pushes } = self;
        if timing.connect.is_zero() || timing.command.is_zero() || timing.longest_pause.is_zero() {
            return Err(Error::config("a timeout or pause of zero: give at least 1 ms"));
        }
        if timing.connections == 0 {
            return Err(Error::config("`connections(0)` could ask nothing: give at least 1"));
        }
        match origin {
            #[cfg(feature = "redis-rs")]
            Origin::Url(url) => dialed(dial(&target(&url)?)?, timing, pushes).await,
            #[cfg(not(feature = "redis-rs"))]
            Origin::Url(url) => by_fred(&url, timing, pushes).await,
            #[cfg(feature = "redis-rs")]
            Origin::Client(client) => {
                dialed(Dial::Node(Box::new(with_resp3(&client).map_err(refused)?)), timing, pushes).await
            }
            #[cfg(feature = "redis-rs")]
            Origin::Cluster(client) => dialed(Dial::Cluster(client), timing, pushes).await,
            #[cfg(feature = "fred")]
            Origin::FredUrl(url) => by_fred(&url, timing, pushes).await,
            #[cfg(feature = "fred")]
            Origin::Fred(connections) => begun(Fred::over(connections, timing), pushes, Ok(())),
        }
    }
}

fn target(url: &str) -> Result<Target> {
    let target = Target::parse(url)?;
    if target.tls && !cfg!(feature = "tls") {
        return Err(Error::config("rediss:// needs TLS: enable the feature `tls` of larder-redis"));
    }
    #[cfg(feature = "tls")]
    if target.tls {
        // a provider that the process has chosen is kept; without any, rustls would panic in the client
        _ = rustls::crypto::ring::default_provider().install_default();
    }
    Ok(target)
}

#[cfg(feature = "redis-rs")]
async fn dialed(dial: Dial, timing: Timing, pushes: Pushes) -> Result<RedisBackend> {
    let client = RedisRs::new(dial, timing);
    let connected = client.connect().await;
    begun(client, pushes, connected)
}

#[cfg(feature = "fred")]
async fn by_fred(url: &str, timing: Timing, pushes: Pushes) -> Result<RedisBackend> {
    let client = Fred::new(&target(url)?, timing)?;
    let connected = client.connect().await;
    begun(client, pushes, connected)
}

/// Accepts a server that is unreachable, but fails if the server will never accept this client.
fn begun(
    client: impl Client,
    pushes: Pushes,
    connected: std::result::Result<(), Failure>,
) -> Result<RedisBackend> {
    if pushes == Pushes::PubSub && client.is_cluster() {
        // in a cluster, messages travel from node to node separately from changes, and may overtake them
        return Err(Error::config(
            "a cluster tells of changes by tracking: leave out `.pushes(Pushes::PubSub)`",
        ));
    }
    match connected {
        Err(failure) if failure.kind == FailureKind::Refused => {
            let mend = "is the password right, and is it a Redis of version 6 or later?";
            return Err(Error::config(format!("the server refuses this client: {mend}")).with_source(failure));
        }
        Err(failure) => tracing::warn!(%failure, "Redis cannot be reached yet; going on without it"),
        Ok(()) => {}
    }
    Ok(RedisBackend::over(Arc::new(client), pushes))
}

#[cfg(feature = "redis-rs")]
#[allow(clippy::needless_pass_by_value, reason = "as `map_err` gives it")]
fn refused(cause: redis::RedisError) -> Error {
    // the detail can repeat a part of the URL
    Error::config(format!("{} ({})", crate::target::WRONG_URL, cause.category()))
}

#[cfg(feature = "redis-rs")]
fn dial(target: &Target) -> Result<Dial> {
    let urls: Vec<String> = target.hosts.iter().map(|host| target.node_url(host)).collect();
    let first = redis::Client::open(urls[0].as_str()).map_err(refused)?;
    Ok(match &target.topology {
        Topology::Node | Topology::Unix => Dial::Node(Box::new(with_resp3(&first).map_err(refused)?)),
        Topology::Cluster => Dial::Cluster(Box::new(
            redis::cluster::ClusterClientBuilder::new(urls.iter().map(String::as_str))
                .use_protocol(redis::ProtocolVersion::RESP3)
                .retries(4)
                .min_retry_wait(5)
                .max_retry_wait(100)
                .build()
                .map_err(refused)?,
        )),
        Topology::Sentinel { service } => {
            let mut addresses = Vec::with_capacity(urls.len());
            for url in &urls {
                let client = redis::Client::open(url.as_str()).map_err(refused)?;
                addresses.push(client.get_connection_info().addr().clone());
            }
            let (service, login) = (service.clone(), first.get_connection_info().redis_settings().clone());
            let tls = target.tls.then_some(redis::TlsMode::Secure);
            Dial::Sentinel(Box::new(move || {
                let kind = redis::sentinel::SentinelServerType::Master;
                let mut builder =
                    redis::sentinel::SentinelClientBuilder::new(addresses.clone(), service.clone(), kind)?
                        .set_client_to_redis_protocol(redis::ProtocolVersion::RESP3)
                        .set_client_to_redis_db(login.db());
                if let Some(user) = login.username() {
                    builder = builder.set_client_to_redis_username(user);
                }
                if let Some(password) = login.password() {
                    builder = builder.set_client_to_redis_password(password);
                }
                if let Some(mode) = tls {
                    builder =
                        builder.set_client_to_redis_tls_mode(mode).set_client_to_sentinel_tls_mode(mode);
                }
                builder.build()
            }))
        }
    })
}
