//! A shop under load, without and with a cache: `cargo run -p larder-examples --example quickstart`
//!
//! Generates a SQLite database of products, reads it with a Zipf-distributed load from several tasks while others write
//! to it, first without a cache and then through one that is invalidated on each write, and checks that no read which
//! began after an acknowledged write saw an older row. `--help` lists the options.

mod args;
mod load;
mod report;
mod shop;

use std::process::ExitCode;
use std::sync::Arc;

use args::Args;
use clap::Parser;
use shop::Shop;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::parse();
    match run(&args).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("the quickstart failed: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every read was fresh.
async fn run(args: &Args) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    println!("larder quickstart: {} products, backend {}, {} s", args.keys, args.backend, args.seconds);
    let shop = Arc::new(Shop::generate(args.keys).await?);
    let (without_for, with_for) = args.phases();

    let without = load::run("without a cache", &shop, load::Reads::Database, without_for).await?;
    let cache = args.cache(&shop)?;
    let with = load::run("with larder", &shop, load::Reads::Cache(cache.clone()), with_for).await?;

    report::print(&without, &with, &cache.stats());
    cache.shutdown().await?;
    Ok(without.stale + with.stale == 0)
}
