//! Every strategy over every backend that lives in this process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use larder::backend::{Breaker, IntoBackend, Prefix, Timeout};
use larder::codec::{Json, Postcard};
use larder::key::StoreKey;
use larder::{Cache, Quick, Tiered};
use larder_memory::{Memory, MemoryServer};
use larder_moka::Moka;
use larder_testkit::{CacheFixture, Process, Time};

/// One process with a store of its own.
struct Alone<M>(M, Time);

impl<M, S> CacheFixture for Alone<M>
where
    M: Fn() -> S,
    S: IntoBackend<u64, u64> + Send + 'static,
{
    async fn open(&self) -> Vec<Process> {
        vec![Process::new(Cache::builder().namespace("suite").backend((self.0)()))]
    }

    fn time(&self) -> &Time {
        &self.1
    }
}

/// Two processes on one server, whose clocks are this many seconds ahead of the server's.
struct Two<M>(M, Time, [i64; 2]);

impl<M, S> CacheFixture for Two<M>
where
    M: Fn(&Memory) -> S,
    S: IntoBackend<u64, u64> + Send + 'static,
{
    async fn open(&self) -> Vec<Process> {
        let server = MemoryServer::with_clock(self.1.clone());
        let process = |(name, ahead)| {
            let memory = server.connect(name);
            let builder = Cache::builder().namespace("suite").backend((self.0)(&memory));
            let server = server.clone();
            let damage = move |key| {
                flip(&server, &key);
                std::future::ready(())
            };
            Process::new(builder).locking(memory.locks()).ahead(ahead).damaging(damage)
        };
        ["one", "two"].into_iter().zip(self.2).map(process).collect()
    }

    fn time(&self) -> &Time {
        &self.1
    }
}

/// Flips a bit of the value of a key, in each namespace of the server.
fn flip(server: &MemoryServer, key: &StoreKey) {
    for (namespace, _) in server.keys().into_iter().filter(|(_, name)| name == key.as_str()) {
        let mut bytes = server.bytes(&namespace, key).unwrap().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        server.poke(&namespace, key, bytes, std::time::Duration::from_secs(3_600));
    }
}

macro_rules! suites {
    ($($name:ident: $fixture:expr;)*) => {$(
        mod $name {
            use super::*;
            larder_testkit::strategy_suite!($fixture);
        }
    )*};
}

const TOGETHER: [i64; 2] = [0, 0];
const APART: [i64; 2] = [600, -600];

suites! {
    quick: Alone(|| Quick::new(10_000), Time::default());
    moka: Alone(|| Moka::new(10_000), Time::default());
    memory_json: Two(|memory: &Memory| memory.encoded(Json), Time::default(), TOGETHER);
    memory_postcard: Two(|memory: &Memory| memory.encoded(Postcard), Time::default(), TOGETHER);
    quick_over_memory: Two(quick_over_memory, Time::default(), TOGETHER);
    moka_over_memory: Two(
        |memory: &Memory| Tiered::new(Moka::new(10_000), memory.encoded(Json)),
        Time::default(),
        TOGETHER
    );
    quick_over_moka: Alone(|| Tiered::new(Quick::new(10_000), Moka::new(10_000)), Time::default());
    decorated: Two(
        |memory: &Memory| Timeout::new(
            Breaker::new(Prefix::new("staging", memory.encoded(Json))),
            std::time::Duration::from_secs(60),
        ),
        Time::default(),
        TOGETHER
    );
    clocks_apart: Two(|memory: &Memory| memory.encoded(Json), Time::default(), APART);
    clocks_apart_in_tiers: Two(quick_over_memory, Time::default(), APART);
}

fn quick_over_memory(memory: &Memory) -> impl IntoBackend<u64, u64> + Send + use<> {
    Tiered::new(Quick::new(10_000), memory.encoded(Json))
}
