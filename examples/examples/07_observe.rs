//! The events and numbers of a cache: `cargo run -p larder-examples --example 07_observe`

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::observe::{Event, Observer};
use larder::{Cache, Quick, Strategy, source_fn};

static FAILURES: AtomicU64 = AtomicU64::new(0);

#[derive(Debug)]
struct Console;

impl Observer for Console {
    fn on_event(&self, event: &Event<'_>) {
        match event {
            Event::Loaded { error: Some(error), .. } => {
                FAILURES.fetch_add(1, Ordering::Relaxed);
                println!("! a load failed: {error}");
            }
            other => println!("  {other:?}"),
        }
    }
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let load = |id: u64| async move {
        if id == 13 { Err(std::io::Error::other("no luck")) } else { Ok(Some(format!("user {id}"))) }
    };
    let users: Cache<u64, String> = Cache::builder()
        .backend(Quick::new(2))
        .source(source_fn(load))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .observer(Console)
        .build()?;
    for id in [1, 1, 2, 3, 4, 5, 13] {
        // the failure is what this example wants to show
        _ = users.get(&id).await;
    }
    users.invalidate(&1).await?;
    println!("\n{}", users.stats());
    assert_eq!(FAILURES.load(Ordering::Relaxed), 1);
    Ok(())
}
