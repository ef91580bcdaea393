//! A cache server in the process, for tests: larder's own tests, and yours, use it in place of Redis.
//!
//! Several "processes" (handles) share one [`MemoryServer`]. It has values with an expiry, fences, locks with a lease,
//! tag ledgers, pushes, eviction, flush and restart. They behave as behind the Redis backend, and pass the same
//! conformance suite.
//!
//! Time comes from a clock that the test passes in. Every operation is recorded, and faults occur on request. Runs are
//! repeatable: the same calls with the same seed have the same results.
//!
//! | type | purpose |
//! |---|---|
//! | [`MemoryServer`] | the server, and its administration |
//! | [`Memory`] | the connection of one process: a byte store for `.encoded(codec)` |
//! | [`MemoryLocks`], [`MemoryLedger`] | the locks and tag ledgers of the server |
//! | [`Faults`], [`Fault`], [`Gate`] | rules that make operations fail, hang, or wait for the test |
//! | [`Operation`], [`OperationKind`], [`Outcome`] | the record of the operations, and their outcomes on the server |
//! | [`Pushes`], [`Push`] | the notifications that the server sends |
//!
//! # Examples
//! Sharing a server between two processes:
//! ```
//! use std::time::Duration;
//! use larder::clock::ManualClock;
//! use larder::codec::Json;
//! use larder::{Cache, Strategy};
//! use larder_memory::MemoryServer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let clock = ManualClock::new();
//! let server = MemoryServer::with_clock(clock.clone());
//! let process = |name| -> larder::Result<Cache<u64, String>> {
//!     Cache::builder()
//!         .namespace("product")
//!         .backend(server.connect(name).encoded(Json))
//!         .strategy(Strategy::aside(Duration::from_secs(60)))
//!         .clock(clock.clone())
//!         .build()
//! };
//! let (shop, office) = (process("shop")?, process("office")?);
//! shop.insert(&1, "bread".to_owned()).await?;
//! assert_eq!(office.get_if_present(&1).await?.unwrap().value.unwrap().as_str(), "bread");
//! clock.advance(Duration::from_secs(60));
//! assert!(office.get_if_present(&1).await?.is_none());
//! # Ok(()) }
//! ```
//! Losing a reply, and reading the record:
//! ```
//! use larder::backend::{BackendContext, IntoBackend};
//! use larder::clock::Timestamp;
//! use larder::key::StoreKey;
//! use larder::CacheBackend;
//! use larder_memory::{Fault, MemoryServer, OperationKind, Outcome};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let server = MemoryServer::new();
//! let shop = server.connect("shop").into_backend(&BackendContext::new("product")?)?;
//! server.faults().times(1, |operation| operation.kind == OperationKind::Remove, Fault::LoseReply);
//! let key = StoreKey::new(&7);
//! assert!(shop.remove(&key).await.is_err()); // it happened, but who knows?
//! shop.remove(&key).await?;
//! let outcomes: Vec<_> = server.record().iter().map(|operation| operation.outcome).collect();
//! assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
//! # Ok(()) }
//! ```
//! Testing a service through an outage, without a real server:
//! ```
//! use std::time::Duration;
//! use larder::clock::ManualClock;
//! use larder::codec::Json;
//! use larder::{Cache, Strategy};
//! use larder_memory::MemoryServer;
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let clock = ManualClock::new();
//! let server = MemoryServer::with_clock(clock.clone());
//! let cache: Cache<u64, String> = Cache::builder()
//!     .namespace("product")
//!     .backend(server.connect("shop").encoded(Json))
//!     .strategy(Strategy::aside(Duration::from_secs(60)))
//!     .clock(clock.clone())
//!     .build()?;
//! let load = || async { Ok::<_, std::io::Error>("bread".to_owned()) };
//! cache.get_or_load(&1, load).await?;
//! clock.advance(Duration::from_secs(59));
//! assert!(cache.get_if_present(&1).await?.is_some());
//!
//! server.down(); // reads go on
//! assert!(cache.get_or_load(&1, load).await?.is_some());
//! assert_eq!(cache.stats().loads, 2);
//! # Ok(()) }
//! ```

mod backend;
mod clocks;
mod fault;
mod ledger;
mod lock;
mod memory;
#[cfg(not(larder_mutations))]
mod mutation;
mod push;
mod record;
mod server;
mod state;
mod watch;

#[cfg(larder_mutations)]
use larder::mutation;

pub use backend::MemoryBackend;
pub use fault::{Fault, FaultId, Faults, Gate};
pub use ledger::MemoryLedger;
pub use lock::MemoryLocks;
pub use memory::Memory;
pub use push::{Push, Pushes};
pub use record::{Operation, OperationKind, Outcome};
pub use server::{MemoryServer, Snapshot};
