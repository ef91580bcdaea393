//! This process's memory before a store that processes share: `cargo run -p larder-examples --example 05_two_tiers`

use std::time::Duration;

use larder::codec::Postcard;
use larder::{Cache, Origin, Strategy, Tiered, source_fn};
use larder_memory::MemoryServer;
use larder_quick::Quick;

fn process(server: &MemoryServer, name: &str) -> larder::Result<Cache<u64, String>> {
    let far = server.connect(name).encoded(Postcard); // Redis in production
    Cache::builder()
        .namespace("user")
        .backend(Tiered::new(Quick::new(10_000), far).near_ttl(Duration::from_secs(5)))
        .source(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(format!("user {id}"))) }))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let server = MemoryServer::new();
    let (one, two) = (process(&server, "one")?, process(&server, "two")?);

    let origins =
        [one.fetch(&7).await?, two.fetch(&7).await?, two.fetch(&7).await?].map(|found| found.origin);
    println!("loaded by one, far for two, then near: {origins:?}");
    assert_eq!(origins, [Origin::Loaded, Origin::Far, Origin::Near]);

    // at once here; in the other process when its near entry ends, five seconds later at the latest
    one.invalidate(&7).await?;
    assert_eq!(one.fetch(&7).await?.origin, Origin::Loaded);
    Ok(())
}
