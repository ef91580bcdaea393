//! The numbers of [`larder`] caches, to look at: for the `metrics` facade, for Prometheus, and on a live page that also tells which
//! keys are hot and why reads missed.
//!
//! | type | what it is |
//! |---|---|
//! | [`Exporter`] | tells the numbers of caches to the [`metrics`] facade |
//! | [`Scrape`] | the text that a Prometheus server reads (feature `prometheus`) |
//! | [`METRICS`] | all names that are exported; they are stable |
//! | [`Watched`] | a cache whose hot keys and misses are watched |
//! | [`Why`] | why a read missed, as far as it can be told |
//! | [`Board`], [`PAGE`] | the live page and what it shows (with the feature `axum` as a router) |
//!
//! # Why it pulls
//! A near hit takes about as long as two hash lookups, and a cache counts it by a plain store to a line that belongs to the
//! thread. Telling a recorder of each hit would cost several times the hit. So the numbers are read from
//! [`Cache::stats`](larder::Cache::stats) when they are asked for (a scrape) or now and then, and cost the hit nothing. What only
//! events can tell goes to an [`Observer`](larder::observe::Observer): [`Traced`](larder::observe::Traced) writes them to `tracing`.
//!
//! Watching hot keys needs the keys of hits, so it is a handle beside the cache: [`Watched`] notes a sample.
//!
//! # Names
#![doc = include_str!("names.md")]
//!
//! A Grafana dashboard over these names is `grafana/larder.json` in this crate's folder.
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
