//! The conformance suite for larder backends: those of this workspace, and yours.
//!
//! A property is an async function over a [`Fixture`], which opens fresh backends and advances their time. It
//! panics with the rule that was broken. [`backend_suite!`] makes one test of each property, so that a new property
//! reaches every backend by itself.
//!
//! | module | subject | macro |
//! |---|---|---|
//! | [`backend`] | a [`larder::CacheBackend`] within one process | [`backend_suite!`] |
//! | [`shared`] | one store with two processes | [`shared_suite!`] |
//! | [`lock`] | a [`larder::LockProvider`] | [`lock_suite!`] |
//! | [`ledger`] | a [`larder::tag::TagLedger`] | [`ledger_suite!`] |
//! | [`strategy`] | the strategies of a [`larder::Cache`] over a backend | [`strategy_suite!`] |
//! | [`source`] | a [`larder::source::BatchSource`] | (call the functions) |
//! | [`sim`] | all guarantees of a cache over a shared store, under faults | (call [`sim::simulate`]) |
//! | [`check`] | a recorded history of any system | (call [`check::check`]) |
//! | [`servers`] | (starts the servers that tests need) | |
//!
//! # Examples
//! The whole test file of a backend (`tokio` with `macros` and `rt` among the dev-dependencies):
//! ```
//! use larder::backend::{BackendContext, IntoBackend};
//! use larder::Quick;
//! use larder_testkit::{Fixture, Time};
//!
//! #[derive(Default)]
//! struct MyStore(Time);
//!
//! impl Fixture for MyStore {
//!     type Backend = <Quick as IntoBackend<String, String>>::Backend;
//!
//!     async fn open(&self) -> Self::Backend {
//!         Quick::new(10_000).into_backend(&BackendContext::unnamed()).expect("nothing is wrong with it")
//!     }
//!     fn time(&self) -> &Time {
//!         &self.0
//!     }
//! }
//!
//! larder_testkit::backend_suite!(MyStore::default());
//! # fn main() {}
//! ```

pub mod backend;
pub mod check;
mod fixture;
pub mod ledger;
pub mod lock;
pub mod servers;
pub mod shared;
pub mod sim;
pub mod source;
pub mod strategy;
mod suites;
mod table;

pub use fixture::{CacheFixture, Fixture, Process, SharedFixture, Through, Time};
pub use table::{Hold, Table};
