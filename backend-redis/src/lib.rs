//! Redis and Valkey for the `larder` cache: one node, a cluster, or a primary behind sentinels.
//!
//! | type | purpose |
//! |---|---|
//! | [`RedisBackend`] | the handle: a backend for bytes, with `.encoded(codec)`, [`locks`](RedisBackend::locks), [`ledger`](RedisBackend::ledger), [`plain`](RedisBackend::plain) values |
//! | [`RedisConfig`] | the address of the server, or a client of yours, and the timeouts |
//! | [`RedisLocks`] | locks that let one process load a key while the others wait |
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
//! A hit takes one, and so does `get_many` (in a cluster one to each node, at once). A miss takes three: the read,
//! the request for a fence, the fill. Reads that run at the same time are sent together as one `MGET`. A task that
//! is alone never waits for a batch.
//!
//! Commands to a server without TLS use a socket of this crate, which costs half of what the client library does.
//! The server may be given by URL, as a `redis::Client`, or found by sentinels. Clusters and TLS use the library.
//!
//! # Keys in Redis
//! `<ns>` is the namespace (`product`, `staging:product`, `product@2`), `<key>` is
//! [`larder::key::StoreKey::as_str`].
//!
//! | key | content | life |
//! |---|---|---|
//! | `<ns>:v:{<key>}` | the value: a header of 80 bytes, the key, the payload, laid out in [`larder::backend::Frame`] | its TTL |
//! | `<ns>:q:{<key>}` | writes in progress: a sorted set of write guards (32 hex digits), each by the millisecond of the server's clock in which it ends | the longest guard's |
//! | `<ns>:f:{<key>}` | the fence of a running load: `s` (shared) or `x` (exclusive), 16 random hex digits of the client, and the server's time at this execution (8 hex digits of seconds, 8 of microseconds) | the lease, 10 s by default, renewed |
//! | `<ns>:l:{<ns>}` | the head of the ledger: 16 hex digits (its identity), `:`, a count in decimal | no expiry |
//! | `<ns>:t:{<ns>}` | the ledger's tags: a hash from tag to the count of its last invalidation, and `id`, `floor` and the last 128 invalidations (`#0` to `#127`) | no expiry |
//! | `<ns>:n:{<ns>}` | the number of notifications sent about changes; only with [`Pushes::PubSub`] | no expiry |
//! | `larder:beat:<16 hex digits>:<number>:{<digits>}` | the heartbeat of a process with near tiers, see below | until the next, a minute at most |
//! | `larder:lock:{<name>}` | a lock: 32 hex digits. Its release is published on the channel of the same name | the lease |
//!
//! Times in the header are milliseconds of the server's own clock (`TIME`).
//!
//! ## From other languages, and by hand
//! - **Invalidate** a key: `UNLINK product:f:{7} product:v:{7}`, both in one command. If the fence is left, a load
//!   that began before still stores its value. In a cluster whose slots move, send two commands: `UNLINK
//!   product:f:{7}`, and after its answer `UNLINK product:v:{7}`. A retry begins with the fence.
//! - **Invalidate** a tag: the script `tags.lua` of this crate's sources, `EVAL <script> 2 product:l:{product}
//!   product:t:{product} <random text> invalidate category:7`. It raises the count and notes it for the tag, in one
//!   step.
//! - **Clear** a namespace: `UNLINK product:l:{product} product:t:{product}`. Its entries then belong to no ledger
//!   and are never read again; their TTL removes them.
//! - **Read**: `GET product:v:{7}` and `GET product:l:{product}`. Check the header as [`larder::backend::Frame`]
//!   describes, and that the ledger's identity at offset 56 is that of the head. Otherwise there is no entry. If
//!   the entry has tags and the head's count differs from the count at offset 64, also check the tags: `HMGET
//!   product:t:{product} floor <tag> ...`. No tag's count may be above the count at offset 64. The floor replaces
//!   the count of a missing tag (0 without a floor).
//!
//! # Near tiers
//! `Tiered::new(Quick::new(10_000), redis.encoded(Json))` also keeps values in the process (the near tier, L1). All
//! handles of one [`RedisBackend`] share one more connection, in a cluster one to each primary. On it the server
//! sends a notification of each change below `<ns>:v:{` and `<ns>:l:{` (`CLIENT TRACKING ON BCAST`). This covers
//! changes by any program, evictions and expiries, so that an `UNLINK` by any program reaches every near tier.
//!
//! Three times in each `max_staleness`, a heartbeat writes a key to each primary that only its own listener
//! receives. Once all of these keys have been pushed, all earlier changes have been pushed too. If an ACL forbids
//! `CLIENT TRACKING`, near entries live for `max_staleness`, and one warning is logged. The server is asked again
//! after a minute at most. [`Pushes::PubSub`] is for servers and proxies without tracking.
//!
//! # Consistency
//! A read that starts after an invalidation was acknowledged never returns a value that was loaded before. This
//! rests on a server that keeps an acknowledged `UNLINK`. A server that forgets it may restore invalidated values:
//! a replica promoted before it received the `UNLINK`, or a restart from an old snapshot.
//! [`strict`](RedisBackend::strict) treats all entries from before such an event as lost. A server that loses keys
//! (eviction, flush, restart empty) costs loads, never freshness.
//!
//! # Features
//! `redis-rs` (default) and `fred` select the client. Both can be enabled; [`RedisConfig::fred`] then selects fred.
//! `tls` is for `rediss://`.

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
