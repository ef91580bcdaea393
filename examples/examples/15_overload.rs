//! A limit on loads, and a cache warmed before its readers come: `cargo run -p larder-examples --example 15_overload`

use std::time::Duration;

use larder::{Cache, ErrorKind, Quick, Strategy, source_fn};

#[tokio::main]
async fn main() -> larder::Result<()> {
    let reports: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(10_000))
        .source(source_fn(|id: u64| async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ok::<_, std::io::Error>(Some(id))
        }))
        .strategy(Strategy::aside(Duration::from_secs(600)).max_concurrent_loads(4).max_queued_loads(8))
        .build()?;
    let mut readers = tokio::task::JoinSet::new();
    for id in 0..100 {
        let reports = reports.clone();
        readers.spawn(async move { reports.get(&id).await });
    }
    let answers = readers.join_all().await;
    let refused = answers.iter().filter(|answer| {
        answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::Overloaded && error.is_transient())
    });
    println!(
        "100 reports asked for at once: {} loaded, {} told to come later",
        reports.stats().loads,
        refused.count()
    );

    // before readers come: gently, and again for what failed
    let report = reports.warm(0..100).batch(10).concurrency(1).retries(5).on_progress(|progress| {
        println!("  {} ready, {} to be tried again", progress.ready, progress.failed);
    });
    let report = report.run().await;
    println!("{} ready, {} failed", report.ready, report.failed.len());
    assert!(reports.get_if_present(&99).await?.is_some());
    Ok(())
}
