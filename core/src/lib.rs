//! **larder** is a cache-aside framework. Reads go through a cache that stands beside a source of truth; writes
//! invalidate it. larder prevents stale reads after an invalidation, cache stampedes, hanging callers and outages
//! caused by the cache.
//!
//! The promise: *a read that starts after [`invalidate`](Cache::invalidate) returned `Ok` never returns a value
//! loaded before it.*
//!
//! # Examples
//! Caches the result of a function:
//! ```
//! use std::{io, time::Duration};
//! use larder::{Cache, Quick, Strategy};
//!
//! async fn price(id: u64) -> io::Result<Option<u64>> { Ok(Some(id * 100)) }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> larder::Result<()> {
//!     let strategy = Strategy::aside(Duration::from_secs(60));
//!     let prices = Cache::<u64, u64>::builder().backend(Quick::new(10_000)).strategy(strategy).build()?;
//!     assert_eq!(prices.get_or_load(&7, || price(7)).await?.as_deref(), Some(&700));
//!     Ok(())
//! }
//! ```
//! Reads through a source that is registered once. The source's own error comes back as itself:
//! ```
//! use std::io;
//! use std::time::Duration;
//! use larder::{Cache, Quick, Strategy, source_fn};
//!
//! async fn user(id: u64) -> io::Result<Option<String>> {
//!     if id == 0 { Err(io::Error::other("down")) } else { Ok(Some(format!("user {id}"))) }
//! }
//!
//! #[tokio::main(flavor = "current_thread")]
//! async fn main() -> larder::Result<()> {
//!     let users: Cache<u64, String> = Cache::builder()
//!         .backend(Quick::new(10_000))
//!         .source(source_fn(user))
//!         .strategy(Strategy::aside(Duration::from_secs(60)))
//!         .build()?;
//!     assert_eq!(users.get(&7).await?.unwrap().as_str(), "user 7");
//!     users.invalidate(&7).await?; // after a write
//!     let error = users.get(&0).await.unwrap_err();
//!     assert_eq!(error.source_as::<io::Error>().unwrap().to_string(), "down");
//!     Ok(())
//! }
//! ```
//!
//! # The root and the modules
//! | name | use |
//! |---|---|
//! | [`Cache`], [`CacheBuilder`] | the handle that you clone, and the builder that checks its parts |
//! | [`Strategy`] | how long entries live, who loads, what is served stale: the [`guide`] has a page on each |
//! | [`Quick`], [`Tiered`], [`CacheBackend`], [`backend`] | where entries are stored, decorators, your own stores |
//! | [`Source`], [`source_fn`], [`Loaded`], [`mod@source`] | where values come from, sources made of others |
//! | [`CacheKey`](trait@CacheKey), [`Tag`], [`key`], [`tag`] | names of entries in shared stores, groups of entries |
//! | [`CachedEntry`], [`cache`] | a value with its age and origin, warming, write guards |
//! | [`Error`], [`ErrorKind`], [`Result`], [`error`] | failures |
//! | [`Stats`], [`observe`] | counters, events, tracing |
//! | [`Codec`], [`codec`] | values as bytes |
//! | [`LockProvider`], [`lock`] | locks that several processes share |
//! | [`clock`] | time, and clocks for tests |
//!
//! # What a get does
//! 1. *Local lookup*: the entry in this process's memory, if it is valid. No allocation, no await.
//! 2. *Far lookup*: one round trip to the shared store, if there is one.
//! 3. *Single flight*: if this process is loading the key, the caller waits for that load as a follower.
//! 4. *Fence*: otherwise a leader task asks the store for a fence, unless the store has a valid value by now.
//! 5. *Load*: the source is called within a time budget. A panic becomes an error. If the caller leaves, the load
//!    goes on.
//! 6. *Fill*: the value is stored only while the fence is valid. An invalidation revokes the fence, so that a value
//!    loaded before it is never stored after it.
//! 7. *Publish*: leader and followers receive the result. A caller that started after the result was proved current
//!    looks again.
//!
//! If the backend fails, times out or returns corrupt data, reads fall back to the source. Failures are counted and
//! traced. Only `insert`, `invalidate` and `clear` return them, because silence there would mean stale data.
//!
//! # Features
//! Default: `json`, `macros`, `quick`. Library crates depend on `larder` without default features.
//!
//! - `quick`: [`Quick`], entries in this process, in [quick_cache](https://docs.rs/quick_cache).
//! - `macros`: [`cached`](macro@cached) and `#[derive(CacheKey)]`, see [`guide::decorator`].
//! - `json`, `postcard`, `messagepack`, `bincode`: codecs, see [`codec`].
//! - `uuid`: [`CacheKey`](trait@CacheKey) for `uuid::Uuid`.

#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "function/mod.rs"]
pub mod __macros;
pub mod backend;
pub mod cache;
pub mod clock;
pub mod codec;
mod engine;
pub mod error;
pub mod guide;
pub mod key;
pub mod lock;
#[cfg(larder_mutations)]
#[doc(hidden)]
pub mod mutation;
#[cfg(not(larder_mutations))]
mod mutation;
pub mod observe;
mod shards;
pub mod source;
pub mod strategy;
mod sync;
pub mod tag;

#[cfg(feature = "macros")]
pub use larder_macros::{CacheKey, cached};

#[cfg(feature = "quick")]
pub use self::backend::Quick;
pub use self::backend::{CacheBackend, Tiered};
pub use self::cache::{Cache, CacheBuilder, CachedEntry};
pub use self::codec::Codec;
pub use self::error::{Error, ErrorKind, Result};
pub use self::key::CacheKey;
pub use self::lock::LockProvider;
pub use self::observe::Stats;
pub use self::source::{Loaded, Source, source_fn};
pub use self::strategy::Strategy;
pub use self::tag::Tag;
