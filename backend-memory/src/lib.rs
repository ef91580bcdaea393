//! A whole cache server in the process: what larder's tests, and yours, use in place of Redis.
//!
//! Several "processes" (handles) share one [`MemoryServer`]: values with an expiry, fences, locks with a lease, tag
//! ledgers, pushes, eviction, flush and restart behave as they do behind the Redis backend, under the same conformance
//! suite. Time is a clock that is handed in, every operation is recorded, faults come on request, and the same calls
//! with the same seed do the same.
//!
//! | type | what it is |
//! |---|---|
//! | [`MemoryServer`] | the server, and what its administrator can do |
//! | [`Memory`] | one process's connection: a byte store for `.encoded(codec)` |
//! | [`MemoryLocks`], [`MemoryLedger`] | its locks and tag ledgers |
//! | [`Faults`], [`Fault`], [`Gate`] | what goes wrong, when, and what waits for the test |
//! | [`Operation`], [`OperationKind`], [`Outcome`] | what the server was asked, and what became of it |
//! | [`Pushes`], [`Push`] | what the server tells by itself |
//!
//! # Examples
//! Two processes share a server:
//! ```
//! use std::time::Duration;
//! use larder::{Cache, ManualClock, Strategy, codec::Json};
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
//! assert_eq!(office.lookup(&1).await?.unwrap().value.unwrap().as_str(), "bread");
//! clock.advance(Duration::from_secs(60));
//! assert!(office.lookup(&1).await?.is_none());
//! # Ok(()) }
//! ```
//! A fault, and the record of what was asked:
//! ```
//! use larder::{CacheBackend, IntoBackend, Scope, StoreKey, Timestamp};
//! use larder_memory::{Fault, MemoryServer, OperationKind, Outcome};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! let server = MemoryServer::new();
//! let shop = server.connect("shop").into_backend(&Scope::new("product")?)?;
//! server.faults().times(1, |operation| operation.kind == OperationKind::Remove, Fault::LoseReply);
//! let key = StoreKey::new(&7);
//! assert!(shop.remove(&key).await.is_err()); // it happened, but who knows?
//! shop.remove(&key).await?;
//! let outcomes: Vec<_> = server.record().iter().map(|operation| operation.outcome).collect();
//! assert_eq!(outcomes, [Outcome::Done, Outcome::Done]);
//! # Ok(()) }
//! ```
//! A service is tested without a server, through an outage:
//! ```
//! use std::time::Duration;
//! use larder::{Cache, ManualClock, Strategy, codec::Json};
//! use larder_memory::{Fault, MemoryServer};
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
//! assert!(cache.lookup(&1).await?.is_some());
//!
//! server.faults().when(|_| true, Fault::Error); // the server is down: reads go on
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
