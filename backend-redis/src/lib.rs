//! Redis and Valkey for the `larder` cache: one node, a cluster, or a primary behind sentinels.
//!
//! | type | what it is |
//! |---|---|
//! | [`RedisBackend`] | the handle: a store of bytes for `.encoded(codec)`, [`locks`](RedisBackend::locks), [`ledger`](RedisBackend::ledger), [`plain`](RedisBackend::plain) values |
//! | [`RedisConfig`] | where the server is, or a client of yours, and how long things may take |
//! | [`RedisLocks`] | locks that elect one loader among processes |
//! | [`RedisLedger`] | the tags of a namespace |
//!
//! # Examples
//! ```no_run
//! use std::time::Duration;
//! use larder::codec::Json;
//! use larder::{Cache, Strategy};
//! use larder_redis::RedisBackend;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let redis = RedisBackend::connect("redis://localhost").await?;
//! let products: Cache<u64, String> = Cache::builder()
//!     .namespace("product")
//!     .backend(redis.encoded(Json))
//!     .strategy(Strategy::aside(Duration::from_secs(600)).locked(redis.locks()))
//!     .build()?;
//! let product = products.get_or_load(&7, || async { Ok::<_, std::io::Error>("bread".to_owned()) }).await?;
//! products.invalidate(&7).await?;
//! # Ok(()) }
//! ```
//!
//! # Round trips
//! A hit takes one, `get_many` one (in a cluster one to each node, at once), a miss three: the read, the announcement, the
//! fill. Reads that tasks ask for at the same time travel together as one `MGET`; a task that is alone waits for nobody.
//!
//! To a server without TLS (given by URL, as a `redis::Client`, or found by sentinels) commands go over a socket of this crate's
//! own, which costs half of what the client library does; clusters and TLS are the library's.
//!
//! # What is in Redis
//! `<ns>` is the namespace (`product`, `staging:product`, `product@2`), `<key>` is [`larder::key::StoreKey::as_str`].
//!
//! | key | what | life |
//! |---|---|---|
//! | `<ns>:v:{<key>}` | the value: a header of 80 bytes, the key, the payload, laid out in [`larder::backend::Frame`] | its TTL |
//! | `<ns>:q:{<key>}` | writes under way: a sorted set of guards (32 hex digits), each by the millisecond of the server's clock in which it ends | the longest guard's |
//! | `<ns>:f:{<key>}` | the fence of a load under way: `s` (shared) or `x` (exclusive), 16 random hex digits of the client, and the server's time at this execution (8 hex digits of seconds, 8 of microseconds) | the lease, 10 s by default, renewed |
//! | `<ns>:l:{<ns>}` | the head of the ledger: 16 hex digits (its identity), `:`, a count in decimal | for ever |
//! | `<ns>:t:{<ns>}` | the ledger's tags: a hash from tag to the count of its last invalidation, and `id`, `floor` and the last 128 invalidations (`#0` to `#127`) | for ever |
//! | `<ns>:n:{<ns>}` | how many messages about changes there were; only with [`Pushes::PubSub`] | for ever |
//! | `larder:beat:<16 hex digits>:<number>:{<digits>}` | the heartbeat of a process with near tiers, see below | until the next, a minute at most |
//! | `larder:lock:{<name>}` | a lock: 32 hex digits. Its release is told on the channel of the same name | the lease |
//!
//! Times in the header are milliseconds of the server's own clock (`TIME`).
//!
//! ## From other languages, and by hand
//! - **Invalidate** a key: `UNLINK product:f:{7} product:v:{7}`, both in one command. If the fence is left, a load that began
//!   before still stores what it found. In a cluster whose slots move, send two commands: `UNLINK product:f:{7}`, and after its
//!   answer `UNLINK product:v:{7}`. A retry begins with the fence.
//! - **Invalidate** a tag: the script `tags.lua` of this crate's sources, `EVAL <script> 2 product:l:{product} product:t:{product}
//!   <random text> invalidate category:7`. It raises the count and notes it for the tag, in one step.
//! - **Clear** a namespace: `UNLINK product:l:{product} product:t:{product}`. Its entries belong to no ledger then and are never
//!   read again; their TTL removes them.
//! - **Read**: `GET product:v:{7}` and `GET product:l:{product}`; check the header as [`larder::backend::Frame`] says, and that the
//!   ledger's identity at offset 56 is that of the head. Otherwise there is no entry. If it has tags and the head's count is not
//!   that at offset 64, `HMGET product:t:{product} floor <tag> ...`: each tag, or the floor where one is missing (0 without),
//!   must not be above the count at offset 64.
//!
//! # Near tiers
//! `Tiered::new(Quick::new(10_000), redis.encoded(Json))` keeps values in the process too. All handles of one
//! [`RedisBackend`] share one more connection (in a cluster one to each primary), on which the server tells of each change below
//! `<ns>:v:{` and `<ns>:l:{` (`CLIENT TRACKING ON BCAST`): whoever makes it, evictions and expiries included. So `UNLINK` by any
//! program reaches every near tier. Three times in each bound a beat writes a key that only its own listener hears of, in each
//! primary; once all of these have been pushed, so has whatever was changed before. Where an ACL forbids `CLIENT TRACKING`,
//! near entries live for the bound, and a warning says so once; the server is asked again after a minute at most.
//! [`Pushes::PubSub`] is for servers and proxies that lack it.
//!
//! # Consistency
//! A read that starts after an invalidation was acknowledged never returns what was loaded before. It rests on a server that
//! keeps an acknowledged `UNLINK`. A server that forgets it (a replica promoted before it heard; a restart from an old
//! snapshot) may bring back what was invalidated: [`strict`](RedisBackend::strict) treats everything from before such an event
//! as lost. A server that loses keys (eviction, flush, restart empty) costs loads, never freshness.
//!
//! # Features
//! `redis-rs` (default) and `fred` choose the client; both can be enabled, and [`RedisConfig::fred`] picks. `tls` is for
//! `rediss://`.

#[cfg(not(any(feature = "redis-rs", feature = "fred")))]
compile_error!("larder-redis needs a client: enable the feature `redis-rs` or `fred`");

mod batcher;
mod client;
mod clocks;
mod config;
mod fences;
mod handle;
mod hub;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod hub_tests;
mod lanes;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod late_tests;
mod ledger;
mod locks;
mod names;
mod nonce;
mod plain;
mod read;
#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod round_trips;
mod script;
mod server;
mod store;
mod target;
mod tell;
mod topology;

#[cfg(feature = "fred")]
pub use fred;
#[cfg(feature = "redis-rs")]
pub use redis;

pub use config::{Pushes, RedisConfig};
pub use handle::RedisBackend;
pub use ledger::RedisLedger;
pub use locks::RedisLocks;
pub use plain::{Plain, PlainStore};
pub use store::RedisStore;
