//! The servers and handles that the tests share.
#![allow(dead_code, reason = "each test binary uses its part")]

pub(crate) mod group;
pub(crate) mod proxy;
pub(crate) mod storm;
pub(crate) mod tiers;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::backend::{BackendContext, BreakerBackend, EncodedBackend, IntoBackend};
use larder::codec::Json;
use larder::lock::{Acquired, LockToken};
use larder::tag::{LedgerView, Pruned, Stamp, TagLedger};
use larder::{LockProvider, Result, Tag};
use larder_redis::{RedisBackend, RedisConfig, RedisLedger, RedisLocks, RedisStore};
use larder_testkit::servers::{RedisCluster, RedisServer, Shared};
use larder_testkit::{Fixture, SharedFixture, Time};

pub(crate) static NODE: Shared<RedisServer> = Shared::new(|| RedisServer::start(&[]));
pub(crate) static CLUSTER: Shared<RedisCluster> = Shared::new(RedisCluster::start);

/// The client library that connects to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Library {
    #[cfg(feature = "redis-rs")]
    RedisRs,
    #[cfg(feature = "fred")]
    Fred,
}

impl Library {
    pub(crate) fn config(self, url: &str) -> RedisConfig {
        let config = RedisConfig::new(url);
        match self {
            #[cfg(feature = "redis-rs")]
            Self::RedisRs => config,
            #[cfg(feature = "fred")]
            Self::Fred => config.fred(),
        }
    }
}

/// All that are compiled in.
pub(crate) const LIBRARIES: &[Library] = &[
    #[cfg(feature = "redis-rs")]
    Library::RedisRs,
    #[cfg(feature = "fred")]
    Library::Fred,
];

/// A namespace that no other test has.
pub(crate) fn namespace() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("suite-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// The value of an option, or the end of the test: the binary is missing, and that was said.
macro_rules! or_skip {
    ($found:expr) => {
        match $found {
            Some(found) => found,
            None => return,
        }
    };
}

pub(crate) use or_skip;

/// A server of any kind, kept running, with its URL.
pub(crate) struct Reached<S> {
    pub(crate) server: Arc<S>,
    url: String,
    library: Library,
    time: Time,
}

pub(crate) fn node(library: Library) -> Option<Reached<RedisServer>> {
    let server = NODE.get()?;
    let url = server.url();
    Some(Reached { server, url, library, time: Time::real() })
}

pub(crate) fn cluster(library: Library) -> Option<Reached<RedisCluster>> {
    let server = CLUSTER.get()?;
    let url = server.url();
    Some(Reached { server, url, library, time: Time::real() })
}

impl<S> Reached<S> {
    pub(crate) async fn connect(&self) -> RedisBackend {
        // a busy machine is no dead server
        let patient = self.library.config(&self.url).command_timeout(Duration::from_secs(10));
        patient.connect().await.expect("the server is there")
    }
}

pub(crate) type Typed = EncodedBackend<BreakerBackend<RedisStore>, Json, String>;

pub(crate) fn typed(redis: &RedisBackend, namespace: &str) -> Typed {
    let scope = BackendContext::new(namespace).expect("a plain name");
    IntoBackend::<String, String>::into_backend(redis.encoded(Json), &scope).expect("it opens")
}

impl<S> Fixture for Reached<S> {
    type Backend = Typed;

    async fn open(&self) -> Typed {
        typed(&self.connect().await, &namespace())
    }

    fn time(&self) -> &Time {
        &self.time
    }
}

impl<S> SharedFixture for Reached<S> {
    type Backend = Typed;

    async fn open_two(&self) -> [Typed; 2] {
        let namespace = namespace();
        [typed(&self.connect().await, &namespace), typed(&self.connect().await, &namespace)]
    }

    fn time(&self) -> &Time {
        &self.time
    }
}

/// Locks or a ledger of one test among those of others on one server, which is kept running.
#[derive(Debug)]
pub(crate) struct Kept<T, S> {
    pub(crate) inner: T,
    pub(crate) namespace: String,
    server: Arc<S>,
}

impl<S> Reached<S> {
    pub(crate) async fn kept_locks(&self) -> Kept<RedisLocks, S> {
        let (inner, server) = (self.connect().await.locks(), Arc::clone(&self.server));
        Kept { inner, namespace: namespace(), server }
    }

    pub(crate) async fn kept_ledger(&self) -> Kept<RedisLedger, S> {
        let (namespace, server) = (namespace(), Arc::clone(&self.server));
        Kept { inner: self.connect().await.ledger(&namespace), namespace, server }
    }
}

impl<T, S> Kept<T, S> {
    fn name(&self, name: &str) -> String {
        format!("{} {name}", self.namespace)
    }
}

#[async_trait::async_trait]
impl<S: Debug + Send + Sync + 'static> LockProvider for Kept<RedisLocks, S> {
    async fn try_acquire(&self, name: &str, lease: Duration) -> Result<Acquired> {
        self.inner.try_acquire(&self.name(name), lease).await
    }
    async fn renew(&self, name: &str, token: LockToken, lease: Duration) -> Result<bool> {
        self.inner.renew(&self.name(name), token, lease).await
    }
    async fn release(&self, name: &str, token: LockToken) -> Result<bool> {
        self.inner.release(&self.name(name), token).await
    }
    async fn released(&self, name: &str, at_most: Duration) -> Result<()> {
        self.inner.released(&self.name(name), at_most).await
    }
}

impl<S: Debug + Send + Sync + 'static> TagLedger for Kept<RedisLedger, S> {
    async fn stamp(&self) -> Result<Stamp> {
        self.inner.stamp().await
    }
    async fn invalidate(&self, tags: &[Tag]) -> Result<Stamp> {
        self.inner.invalidate(tags).await
    }
    async fn view(&self, tags: &[Tag]) -> Result<LedgerView> {
        self.inner.view(tags).await
    }
    async fn prune(&self, count: u64, longest: Duration) -> Result<Pruned> {
        self.inner.prune(count, longest).await
    }
}
