//! The backend of a `larder` cache by one line of configuration. The same program keeps its entries in the process
//! in a test, in Redis on one node, or in a cluster behind a near tier (L1).
//!
//! | type | purpose |
//! |---|---|
//! | [`StoreConfig`] | a parsed line: from text, an environment variable, or a table of a configuration file |
//! | [`Store`] | the open store, for `.backend(..)` of any cache whose keys have `CacheKey` and whose values have serde's traits |
//! | [`StoreLocks`] | its locks, for `Strategy::locked` |
//!
//! # Examples
//! ```
//! use std::time::Duration;
//! use larder::{Cache, Strategy};
//! use larder_config::StoreConfig;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let store = StoreConfig::from_env_or("CACHE_URL", "quick://?max=10000")?.connect().await?;
//! let users: Cache<u64, String> = Cache::builder()
//!     .namespace("user")
//!     .backend(store.clone())
//!     .strategy(Strategy::aside(Duration::from_secs(600)).locked(store.locks()))
//!     .build()?;
//! # let _ = users;
//! # Ok(()) }
//! ```
//!
//! # Lines
//! | line | feature | store |
//! |---|---|---|
//! | `memory://`, `memory://shop` | `memory` | a cache server in the process, which does all that Redis does, bytes included: for tests. With a name, all users of that name share it |
//! | `quick://?max=10000` | `quick` (default) | this process; the fastest hits |
//! | `moka://?max=10000` | `moka` | this process; TinyLFU admission |
//! | `redis://user:password@host:6379/0` | `redis` | one server |
//! | `redis+unix:///run/redis.sock?db=0&user=..&pass=..` | `redis` | one server, by its socket |
//! | `redis-cluster://host:6379,host:6379` | `redis` | a cluster, by some of its nodes |
//! | `redis-sentinel://host:26379,host:26379/service/0` | `redis` | the primary of a service, by its sentinels |
//! | `rediss://`, `rediss-cluster://`, `rediss-sentinel://` | `redis-tls` | the same with TLS |
//! | `tiered:(quick://?max=10000,redis://host)?max_staleness=1s` | | this process as near tier (L1), and a store that processes share as far tier (L2) |
//!
//! Tiers are in brackets. Each tier has its own options, a cluster's hosts have commas between them, and a far tier
//! can itself consist of tiers. The near tier comes first, as in `Tiered::new`. A comma separates tiers only before
//! text that looks like a store (`name://`).
//!
//! # Options
//! | of | option | value | default |
//! |---|---|---|---|
//! | `quick`, `moka` | `max` | maximum number of entries | 10000 |
//! | `moka` | `frees_expired` | `true` frees expired entries before their place is needed; hits take longer | `false` |
//! | `memory` | `max` | maximum number of values and fences | no bound |
//! | `memory`, `redis..` | `prefix` | name before the cache's namespace: an environment, a tenant | none |
//! | | `codec` | `json`, `postcard`, `messagepack`, `bincode`: features of these names | `json` |
//! | | `compression` | `zstd`, `lz4`: features of these names | none |
//! | | `max_bytes` | maximum size of an encoded value, as `64KiB` | `16MiB` |
//! | | `keys_env` | environment variable with the keys that encrypt (`KeyRing::parse` of larder-codecs describes the format); feature `encryption` | no encryption |
//! | | `timeout` | maximum time of a call, as `250ms` | Redis `500ms`, memory the cache's own |
//! | `redis..` | `password_env` | environment variable with the password, so that the line holds no secret | none |
//! | | `connect_timeout`, `connections`, `longest_pause` | as in `RedisConfig` | `1s`, 2, `1s` |
//! | | `pushes` | `tracking`, `pubsub`: the way in which near tiers are notified of changes | `tracking` |
//! | | `strict` | `true` treats entries that a failover or restart may have restored as lost | `false` |
//! | | `breaker_failures`, `breaker_pause` | as in `RedisBackend::breaker` | 5, `1s` |
//! | | `client` | `redis-rs`, `fred` (feature `fred`) | `redis-rs` |
//! | `tiered` | `max_staleness` | maximum time for which another process's change goes unnoticed | `1s` |
//! | | `near_ttl` | maximum life of a near entry | as long as the far one's |
//!
//! Times have units. In values and passwords `%`, `&`, `?`, `#`, `@`, `(`, `)` and `,` are percent-encoded. An
//! option that is misspelt, repeated, misplaced or behind a disabled feature is an error with a hint. No message
//! and no `Debug` output repeats a password.
//!
//! # Files
//! [`StoreConfig`] has serde's `Deserialize`: a line, or a table of the same options.
//! ```
//! # #[cfg(all(feature = "redis", feature = "postcard"))] {
//! let settings = r#"
//!     [cache]
//!     max_staleness = "500ms"
//!     near = { url = "quick://", max = 50_000 }
//!
//!     [cache.far]
//!     url = "redis://cache.internal:6379"
//!     password_env = "REDIS_PASSWORD"
//!     codec = "postcard"
//!     timeout = "250ms"
//! "#;
//! #[derive(serde::Deserialize)]
//! struct Settings {
//!     cache: larder_config::StoreConfig,
//! }
//! let Settings { cache } = toml::from_str(settings).unwrap();
//! assert_eq!(
//!     cache.to_string(),
//!     "tiered:(quick://?max=50000,\
//!      redis://cache.internal:6379?password_env=REDIS_PASSWORD&timeout=250ms&codec=postcard)?max_staleness=500ms"
//! );
//! # }
//! ```

// used by the stores whose features are off
#![cfg_attr(
    not(all(feature = "memory", feature = "moka", feature = "quick", feature = "redis")),
    allow(dead_code, unused_imports, unused_variables)
)]

#[cfg(any(feature = "memory", feature = "redis"))]
mod codec;
mod config;
mod kind;
mod line;
mod locks;
#[cfg(feature = "memory")]
mod memory;
mod options;
#[cfg(feature = "redis")]
mod redis;
mod scheme;
mod show;
mod store;
mod table;
mod words;

pub use self::config::StoreConfig;
pub use self::locks::StoreLocks;
#[cfg(feature = "memory")]
pub use self::memory::memory_server;
pub use self::store::Store;
