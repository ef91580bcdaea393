//! The numbers of [`larder`] caches: for the `metrics` facade, for Prometheus, and on a live page with hot keys and
//! the reasons of misses.
//!
//! | type | purpose |
//! |---|---|
//! | [`Exporter`] | exports the numbers of caches to the [`metrics`] facade |
//! | [`Scrape`] | returns the text for a Prometheus server (feature `prometheus`) |
//! | [`METRICS`] | all exported names; they are stable |
//! | [`Watched`] | a cache with statistics of hot keys and misses |
//! | [`Why`] | the reason of a miss, as far as it is known |
//! | [`Board`], [`PAGE`] | the live page and its data (with the feature `axum` as a router) |
//!
//! # Pulling
//! A near hit takes about as long as two hash lookups. The cache counts it by a plain store to a line that belongs
//! to the thread. A call to a recorder would cost several times the hit. So the numbers are read from
//! [`Cache::stats`](larder::Cache::stats) at a scrape or at intervals, which adds no cost to a hit. Details of
//! single events go to an [`Observer`](larder::observe::Observer): [`Traced`](larder::observe::Traced) writes them
//! to `tracing`.
//!
//! Statistics of hot keys need the keys of hits, so they have their own handle: [`Watched`] samples the hits.
//!
//! # Names
#![doc = include_str!("names.md")]
//!
//! A Grafana dashboard with these names is `grafana/larder.json` in this crate's folder.
//!
//! # Examples
//! For a process with a recorder, on each scrape or every ten seconds:
//! ```
//! # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
//! let exporter = larder_metrics::Exporter::new();
//! exporter.add("square", &squares);
//! exporter.export();
//! # Ok::<(), larder::Error>(())
//! ```
//! Hot keys and misses:
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
//! # let squares = include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs"))?;
//! let squares = larder_metrics::Watched::new(squares);
//! squares.get(&3).await?;
//! for miss in squares.misses() {
//!     println!("{} missed: {}", miss.key, miss.why);
//! }
//! # Ok(()) }
//! ```
//! The live page in an axum service (feature `axum`):
//! ```
//! # #[cfg(feature = "axum")] {
//! # let squares = larder_metrics::Watched::new(include!(concat!(env!("CARGO_MANIFEST_DIR"), "/../core/doc/squares.rs")).unwrap());
//! let board = larder_metrics::Board::new(); // `.token(..)` lets it invalidate
//! board.add("square", &squares);
//! let service: axum::Router = axum::Router::new().nest("/larder", board.router());
//! # }
//! ```

mod board;
mod diary;
mod export;
mod hot;
mod names;
mod reading;
#[cfg(feature = "prometheus")]
mod scrape;
mod watched;
mod watching;
mod why;

pub use board::{Board, PAGE, Refusal, Target};
pub use export::Exporter;
pub use hot::HotKey;
pub use names::{Kind, METRICS, Metric};
#[cfg(feature = "prometheus")]
pub use scrape::Scrape;
pub use watched::Watched;
pub use watching::Watching;
pub use why::{Miss, Outcome, Why};
