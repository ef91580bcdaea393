//! The least that works: `cargo run -p larder-examples --example 01_five_lines`
//!
//! Four ideas: a cache, a backend that keeps entries, a source that loads them, a TTL.

use std::time::Duration;

use larder::{Cache, Quick, Strategy, source_fn};

#[tokio::main]
async fn main() -> larder::Result<()> {
    let users: Cache<u64, String> = Cache::builder()
        .backend(Quick::new(10_000))
        .source(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(format!("user {id}"))) }))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()?;

    for _ in 0..3 {
        println!("{:?}", users.get(&7).await?); // loaded once, then hits
    }
    users.invalidate(&7).await?; // after a write
    println!("{}", users.stats());
    assert_eq!(users.stats().loads, 1);
    Ok(())
}
