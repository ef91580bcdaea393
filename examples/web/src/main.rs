//! The service: `cargo run -p larder-web-example`, or `-- --self-test`. See the crate's documentation.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::Method;
use clap::Parser;
use larder_web_example::load::{BoxError, Client, Load, run};
use larder_web_example::{App, Shop, serve};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

/// A web service over SQLite with larder.
#[derive(Debug, Parser)]
struct Arguments {
    /// The port on 127.0.0.1; 0 for any that is free.
    #[arg(long, default_value_t = 3000)]
    port: u16,
    /// The number of products.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    products: u32,
    /// The milliseconds that are added to each load from the database, so that there is something to see.
    #[arg(long, default_value_t = 2)]
    load_delay: u64,
    /// The token that lets one invalidate from the live page, of at least 16 bytes. Without one the page only shows.
    #[arg(long, env = "LARDER_TOKEN")]
    token: Option<String>,
    /// Makes a load of readers and writers beside, so that the live page has something to show.
    #[arg(long)]
    busy: bool,
    /// Ends after so many seconds; by default on Ctrl-C.
    #[arg(long)]
    seconds: Option<u64>,
    /// Puts itself under load for two seconds on a free port, checks every read and all that it serves, and ends.
    #[arg(long)]
    self_test: bool,
    /// Tells each miss, load and failure.
    #[arg(long)]
    verbose: bool,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let arguments = Arguments::parse();
    let level = if arguments.verbose { LevelFilter::DEBUG } else { LevelFilter::WARN };
    let told =
        Targets::new().with_target("larder", level).with_target("larder_web_example", LevelFilter::INFO);
    tracing::subscriber::set_global_default(
        tracing_subscriber::registry().with(tracing_subscriber::fmt::layer()).with(told),
    )?;

    let shop = Shop::generate(arguments.products, Duration::from_millis(arguments.load_delay)).await?;
    let app = App::new(shop, arguments.token.clone())?;
    let port = if arguments.self_test { 0 } else { arguments.port };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = listener.local_addr()?;
    println!("http://{address}/products/7, numbers at /metrics, the live page at /larder");

    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(app.clone(), listener, async { _ = stopped.await }));
    let seconds = Duration::from_secs(arguments.seconds.unwrap_or(u32::MAX.into()));
    let checked = if arguments.self_test {
        self_test(address, arguments.products.into()).await
    } else {
        let end = async {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                () = tokio::time::sleep(seconds) => {}
            }
            Ok(())
        };
        let busy = Load {
            readers: 4,
            writers: 1,
            products: arguments.products.into(),
            time: seconds,
            least_reads: 0,
            most_reads: u64::MAX,
        };
        tokio::select! {
            ended = end => ended,
            ended = run(address, busy), if arguments.busy => ended.map(drop),
        }
    };
    drop(stop);
    serving.await??;
    println!("\n{}", app.products.stats());
    println!("all requests ended, the caches are closed");
    checked
}

/// A load, and a look at all that is served.
async fn self_test(address: SocketAddr, products: i64) -> Result<(), BoxError> {
    let load = Load {
        products,
        readers: 16,
        writers: 4,
        time: Duration::from_secs(2),
        least_reads: 200,
        most_reads: 200_000,
    };
    let report = run(address, load).await?;
    let [reads, hits, writes, stale] =
        [&report.reads, &report.hits, &report.writes, &report.stale].map(|of| of.load(Ordering::Relaxed));
    println!("{reads} reads ({hits} hits), {writes} acknowledged writes, {stale} stale reads");
    if stale > 0 || reads == 0 || writes == 0 {
        return Err("a read was older than an acknowledged write, or there were none".into());
    }
    let client = Client::new(address);
    for (path, part) in [
        ("/metrics", "larder_hits_total"),
        ("/larder", "<!doctype html>"),
        ("/larder/api/board/0", "product"),
    ] {
        let (status, _, body) = client.ask(Method::GET, path, "").await?;
        if !status.is_success() || !body.contains(part) {
            return Err(format!("{path} answered {status} without {part}").into());
        }
    }
    Ok(())
}
