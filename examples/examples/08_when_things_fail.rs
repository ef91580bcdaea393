//! An outage as callers see it: `cargo run -p larder-examples --example 08_when_things_fail`

use std::time::Duration;

use larder::backend::Breaker;
use larder::codec::Json;
use larder::{Cache, Strategy, source_fn};
use larder_memory::MemoryServer;

#[tokio::main]
async fn main() -> larder::Result<()> {
    let server = MemoryServer::new();
    let far =
        Breaker::new(server.connect("shop").encoded(Json)).failures(3).pause(Duration::from_millis(200));
    let users: Cache<u64, String> = Cache::builder()
        .namespace("user")
        .backend(far)
        .source(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(format!("user {id}"))) }))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()?;
    users.get(&7).await?;

    println!("the store goes down: reads are answered by the source");
    server.down();
    for _ in 0..10 {
        assert_eq!(users.get(&7).await?.as_deref().map(String::as_str), Some("user 7"));
    }
    println!("{}\n", users.stats());

    println!("an invalidation is the one thing that reports it, since silence would mean stale data");
    let error = users.invalidate(&7).await.expect_err("nobody acknowledged");
    println!(
        "{error}: {} to be tried again, and not served from the cache until then\n",
        users.unacknowledged()
    );

    println!("the store comes back: the invalidation is delivered by itself");
    server.up();
    while users.unacknowledged() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(users.get_if_present(&7).await?.is_none());
    users.shutdown().await
}
