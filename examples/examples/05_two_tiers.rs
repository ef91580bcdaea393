//! This process's memory before a store that processes share: `cargo run -p larder-examples --example 05_two_tiers`

use std::time::Duration;

use larder::cache::Origin;
use larder::codec::Postcard;
use larder::{Cache, Quick, Strategy, Tiered, source_fn};
use larder_memory::{Memory, MemoryServer};

fn process(far: &Memory) -> larder::Result<Cache<u64, String>> {
    let far = far.encoded(Postcard); // Redis in production
    Cache::builder()
        .namespace("user")
        .backend(Tiered::new(Quick::new(10_000), far).max_staleness(Duration::from_millis(300)))
        .source(source_fn(|id: u64| async move { Ok::<_, std::io::Error>(Some(format!("user {id}"))) }))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let server = MemoryServer::new();
    let [first, second] = ["one", "two"].map(|name| server.connect(name));
    let (one, two) = (process(&first)?, process(&second)?);

    let origins = [one.get_entry(&7).await?, two.get_entry(&7).await?, two.get_entry(&7).await?]
        .map(|found| found.origin);
    println!("loaded by one, far for two, then near: {origins:?}");
    assert_eq!(origins, [Origin::Loaded, Origin::Far, Origin::Near]);

    // at once here, and as soon as it is told in the other process
    one.invalidate(&7).await?;
    assert_eq!(one.get_entry(&7).await?.origin, Origin::Loaded);
    tokio::time::sleep(Duration::from_millis(20)).await;
    println!("the other process was told: {:?}", two.get_entry(&7).await?.origin);
    assert_eq!(two.get_entry(&7).await?.origin, Origin::Near);

    // one that is cut off cannot be told: it serves what is near for the bound, and not longer
    second.disconnect();
    one.invalidate(&7).await?;
    assert_eq!(two.get_entry(&7).await?.origin, Origin::Near);
    tokio::time::sleep(Duration::from_millis(400)).await;
    println!("cut off, after the bound: {:?}", two.get_entry(&7).await?.origin);
    second.reconnect();
    println!("{}", two.stats());
    Ok(())
}
