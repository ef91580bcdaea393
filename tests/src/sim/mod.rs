//! Breaks caches: runs the real engine and strategies over a shared store, lets go wrong what can, and has every history
//! checked.
//!
//! Processes with clocks apart read and write a few keys through [`larder::Cache`]s. Between them and the store is a network
//! that delays and loses requests and replies, and holds pushes; requests that their sender has given up arrive all the same.
//! Loads are slow, fail, panic and hang; callers go away at any await; processes pause and die, also between a commit and its
//! invalidation; the store evicts, loses and forgets what it can ([`Trouble`]). Time is tokio's paused clock and every choice
//! comes from the seed: the same seed gives the same history.
//!
//! Everything that happens is a [`History`](crate::check::History), which [`check`](crate::check::check) judges. When it finds a
//! violation, [`simulate`] removes what is not needed for it, and reports what is left.
//!
//! | type | what it is |
//! |---|---|
//! | [`Store`] | the shared store under test: implement it for your backend |
//! | [`Options`], [`simulate`], [`Report`] | a run |
//! | [`Setup`], [`Plan`] | one history: the configuration that a seed draws, and what is done |
//! | [`Failed`] | a violation, with the shortest history that was found |
//!
//! # Examples
//! The whole of it for a backend of your own (here one that lives in the process, which every "process" is handed anew; give
//! yours a connection to the same store instead):
//! ```
//! use larder_testkit::sim::{simulate, Options, Setup, Store, Trouble};
//!
//! struct MyStore;
//!
//! impl Store for MyStore {
//!     type Far = larder::Quick;
//!
//!     fn open(_setup: &Setup) -> Self { MyStore }
//!     fn connect(&self, _process: &str) -> Self::Far { larder::Quick::new(10_000) }
//!     fn locks(&self, _process: &str) -> Option<std::sync::Arc<dyn larder::LockProvider>> { None }
//!     fn suffers(&self, _trouble: &Trouble) -> bool { false }
//!     fn left(&self) -> Vec<String> { vec![] }
//! }
//!
//! let report = simulate::<MyStore>(&Options::new(1).histories(3).processes(1));
//! assert!(report.failed.is_none(), "{report}");
//! ```

mod calls;
mod clock;
mod locks;
mod near;
mod network;
mod plan;
mod process;
mod pushes;
mod report;
mod run;
mod settle;
mod setup;
mod source;
mod store;
mod world;

pub use plan::{Action, Fate, Plan, Read, Step, Write};
pub use report::{Failed, Options, Report};
pub use run::{replay, simulate, trace, trace_in_real_time};
pub use setup::{Setup, Sourcing};
pub use store::{Store, Trouble, Versioned};
