//! Simulates caches under faults: runs the real engine and strategies over a shared store, and checks every
//! history.
//!
//! Processes with different clocks read and write a few keys through [`larder::Cache`]s. Between them and the store
//! is a network that delays and loses requests and replies, and holds pushes. A request that its sender has given
//! up may still arrive. Loads are slow, fail, panic and hang. Callers are dropped at any await. Processes pause and
//! crash, also between a commit and its invalidation. The store evicts, loses and forgets data ([`Trouble`]). Time
//! is tokio's paused clock and every choice comes from the seed: the same seed gives the same history.
//!
//! The events are recorded as a [`History`](crate::check::History), and [`check`](crate::check::check) checks it.
//! If it finds a violation, [`simulate`] shortens the history as far as the violation remains, and reports the
//! rest.
//!
//! | type | purpose |
//! |---|---|
//! | [`Store`] | the shared store under test: implement it for your backend |
//! | [`Options`], [`simulate`], [`Report`] | a run |
//! | [`Setup`], [`Plan`] | one history: the configuration of a seed, and the actions |
//! | [`Failed`] | a violation, with the shortest history that was found |
//!
//! # Examples
//! A complete simulation of a backend of your own. Here the backend lives in the process, and each "process" gets a
//! new one; give yours a connection to the same store instead:
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
