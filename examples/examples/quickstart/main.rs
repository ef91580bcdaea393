//! A shop under load, without and with a cache: `cargo run -p larder-examples --example quickstart`
//!
//! Generates a SQLite database of products, reads it with a Zipf-distributed load from several tasks while others write
//! to it, first without a cache and then through one that is invalidated on each write, and checks that no read which
//! began after an acknowledged write saw an older row. `--help` lists the options; with `--redis redis://localhost` two
//! processes share the cache.

mod args;
mod load;
mod report;
mod shop;

use std::process::{Child, Command, ExitCode, ExitStatus, Output, Stdio};
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

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Runs all phases. Returns `true` if every read was fresh.
async fn run(args: &Args) -> Outcome<bool> {
    let (without_for, with_for) = args.phases();
    if let Some(database) = &args.join {
        let shop = Arc::new(Shop::open(database, args.keys).await?);
        let cache = args.cache(&shop).await?;
        let with =
            load::run("the second process", &shop, load::Reads::Cache(cache.clone()), with_for).await?;
        report::joined(&with, &cache.stats());
        cache.shutdown().await?;
        return Ok(with.stale == 0);
    }
    println!("larder quickstart: {} products, kept in {}, {} s", args.keys, args.place(), args.seconds);
    let shop = Arc::new(Shop::generate(args.keys).await?);

    let without = load::run("without a cache", &shop, load::Reads::Database, without_for).await?;
    let cache = args.cache(&shop).await?;
    let second = match &args.redis {
        Some(url) => {
            // what an earlier run left there is of another database
            cache.clear().await?;
            Some(second_process(args, url, &shop)?)
        }
        None => None,
    };
    let with = load::run("with larder", &shop, load::Reads::Cache(cache.clone()), with_for).await?;

    let joined = match second {
        Some(second) => tokio::task::spawn_blocking(|| second.wait_with_output()).await??,
        None => Output { status: ExitStatus::default(), stdout: vec![], stderr: vec![] },
    };
    report::print(&without, &with, &cache.stats());
    print!("{}", String::from_utf8_lossy(&joined.stdout));
    eprint!("{}", String::from_utf8_lossy(&joined.stderr));
    cache.shutdown().await?;
    Ok(without.stale + with.stale == 0 && joined.status.success())
}

/// The same program again, on the same database and the same Redis.
fn second_process(args: &Args, url: &str, shop: &Shop) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--redis", url, "--keys", &args.keys.to_string(), "--seconds", &args.seconds.to_string()]);
    command.arg("--join").arg(shop.database());
    Ok(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}
