//! **larder** is a cache-aside framework: a cache stands beside a source of truth, reads go through it and writes
//! invalidate it. Ordinary cache-aside code serves old data after an invalidation, stampedes the database, hangs when a
//! caller is cancelled and dies with Redis; larder gets these right behind one small type, [`Cache`].
//!
//! The promise: *a read that starts after [`invalidate`](Cache::invalidate) returned `Ok` never returns a value loaded
//! before it.*
//!
//! | type | what it is |
//! |---|---|
//! | [`Cache`] | what you hold and clone: `get`, `get_or_load`, `get_many`, `invalidate`, `stats`, ... |
//! | [`CacheBuilder`] | puts the parts together and checks them |
//! | [`CacheBackend`], [`IntoBackend`] | where entries are kept: `larder-quick`, `larder-moka`, `larder-memory`, your own |
//! | [`Tiered`], [`Encoded`], [`Timeout`], [`Breaker`], [`Prefix`] | decorators of backends |
//! | [`Source`], [`BatchSource`], [`ConditionalSource`], [`source_fn`] | where values come from: `larder-sqlx`, your own |
//! | [`Fallback`], [`Retry`], [`SourceTimeout`], [`SourceLimit`] | sources made of others |
//! | [`Strategy`] | how long entries live, who loads, what is served stale, what is tagged: the [`guide`] has a page on each |
//! | [`Codec`] | values to bytes and back, for stores of bytes |
//! | [`CacheKey`](trait@CacheKey), [`StoreKey`], [`CallKey`] | keys in a shared store, of anything and of functions' calls |
//! | [`Error`], [`Stats`], [`Observer`], [`Traced`] | what went wrong, what happened |
//!
//! # What happens on a get
//! 1. *Peek*: this process's memory is asked, synchronously. A live entry is the answer: no allocation, no await.
//! 2. *Read far*: a shared store, if there is one, is asked in one round trip.
//! 3. *Join*: if somebody in this process loads the key already, the caller waits for that load.
//! 4. *Announce*: otherwise a task of its own announces the load to the backend, which grants a *fence*, or has the value
//!    after all.
//! 5. *Load*: the source is asked, within a budget; a panic is caught. Callers may leave: the load goes on.
//! 6. *Fill*: the value is stored only while the fence still stands. An invalidation takes the fence away, so a value
//!    loaded before it is never stored after it.
//! 7. *Land*: everybody who waits gets the result, unless they started after it was proved current; those look again.
//!
//! A backend that fails, hangs or holds garbage is got over: the source answers, and the failure is counted and traced.
//! Only `insert`, `invalidate` and `clear` report it, because there silence would mean stale data.
//!
//! # Examples
//! Read through a source that the cache knows:
//! ```
//! # use larder::doc::Store as Quick;
//! use std::time::Duration;
//! use larder::{Cache, Strategy, source_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let users: Cache<u64, String> = Cache::builder()
//!     .backend(Quick::default())
//!     .source(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(format!("user {id}"))) }))
//!     .strategy(Strategy::aside(Duration::from_secs(60)))
//!     .build()?;
//! assert_eq!(users.get(&7).await?.unwrap().as_str(), "user 7");
//! # Ok(()) }
//! ```
//! Or give the loader at the call:
//! ```
//! # use larder::doc::squares;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! # let cache = squares()?;
//! let value = cache.get_or_load(&9, || async { Ok::<_, std::io::Error>(Some(81)) }).await?;
//! assert_eq!(value.as_deref(), Some(&81));
//! # Ok(()) }
//! ```
//! The source's own error comes back as itself:
//! ```
//! # use larder::doc::squares;
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! # let cache = squares()?;
//! let error = cache.get_or_load(&9, || async { Err::<u64, _>(std::io::Error::other("down")) }).await.unwrap_err();
//! assert_eq!(error.source_as::<std::io::Error>().unwrap().to_string(), "down");
//! # Ok(()) }
//! ```
//!
//! # Features
//! `json` (default), `postcard`, `messagepack`, `bincode`: codecs, see [`codec`]. `uuid`: [`CacheKey`](trait@CacheKey) for
//! `uuid::Uuid`. `macros`: the decorator `#[cached]` and `#[derive(CacheKey)]`, see [`guide::decorator`].

#[cfg(feature = "macros")]
#[doc(hidden)]
#[path = "function/mod.rs"]
pub mod __macros;
mod backend;
mod builder;
mod cache;
mod call_key;
pub mod codec;
#[doc(hidden)]
pub mod doc;
mod engine;
mod entry;
mod error;
mod fetched;
mod get;
pub mod guide;
mod header;
mod key;
mod ledger;
mod lock;
#[cfg(larder_mutations)]
#[doc(hidden)]
pub mod mutation;
#[cfg(not(larder_mutations))]
mod mutation;
mod observe;
mod revision;
mod shards;
mod source;
mod strategy;
mod sync;
mod tag;
mod tag_index;
mod time;
mod warm;
mod write_guard;

pub use backend::{
    Announce, Begun, BothTiers, Breaker, BreakerBackend, CacheBackend, Count, Direct, Displaced, Encoded,
    EncodedBackend, Erased, Fence, Filled, Guard, IntoBackend, Local, LocalStore, Payload, Place, PlaceRule,
    Prefix, Recency, Scope, Tiered, TieredBackend, Timeout, TimeoutBackend, Watcher, Weigher,
};
pub use builder::CacheBuilder;
pub use cache::Cache;
pub use call_key::CallKey;
pub use codec::{Codec, CodecId};
pub use engine::{Key, Value};
pub use entry::Entry;
pub use error::{BoxError, Error, ErrorKind, Result};
pub use fetched::{Fetched, Origin};
pub use header::{Frame, FrameError};
pub use key::{CacheKey, Integer, KeyWriter, StoreKey};
#[cfg(feature = "macros")]
pub use larder_macros::{CacheKey, cached};
pub use lock::{Acquired, LockProvider, LockToken, Locking};
pub use observe::{BreakerState, Event, Latency, MissCause, Observer, Stats, Tier, Traced};
pub use source::{
    Always, BatchSource, BothFailed, ConditionalSource, Each, Fallback, Known, Loaded, Retry, Source,
    SourceFn, SourceLimit, SourceTimeout, SourceTimeoutError, Worth, source_fn,
};
pub use strategy::Strategy;
pub use tag::{LedgerView, Stamp, Tag, TagLedger};
pub use tag_index::TagIndex;
pub use time::{CLOCK_LAG, Clock, ManualClock, SystemClock, Timestamp, TokioClock};
pub use warm::{Warm, WarmProgress, WarmReport};
pub use write_guard::WriteGuard;
