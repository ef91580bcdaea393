//! Old values at once, while new ones are loaded or none can be had: `cargo run -p larder-examples --example 11_stale`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use larder::cache::Origin;
use larder::clock::ManualClock;
use larder::{Cache, Quick, Strategy, source_fn};

#[tokio::main]
async fn main() -> larder::Result<()> {
    let (price, is_down) = (Arc::new(AtomicU64::new(100)), Arc::new(AtomicBool::new(false)));
    let source = {
        let (price, is_down) = (Arc::clone(&price), Arc::clone(&is_down));
        source_fn(move |_product: u64| {
            let (price, is_down) = (price.load(Ordering::SeqCst), is_down.load(Ordering::SeqCst));
            async move { if is_down { Err(std::io::Error::other("down")) } else { Ok(Some(price)) } }
        })
    };
    // a clock that is moved by hand, so that the example need not wait for minutes
    let clock = ManualClock::new();
    let prices: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(1_000))
        .source(source)
        .clock(clock.clone())
        .strategy(
            Strategy::aside(Duration::from_secs(60))
                .stale_while_revalidate(Duration::from_secs(60))
                .stale_if_error(Duration::from_secs(3_600)),
        )
        .build()?;
    let read = async |what: &str| -> larder::Result<(Option<u64>, Origin)> {
        let found = prices.get_entry(&7).await?;
        println!("{what:<44} {:?} ({:?}, {:?} old)", found.value, found.origin, found.age);
        Ok((found.value.as_deref().copied(), found.origin))
    };

    read("the first read loads").await?;
    price.store(110, Ordering::SeqCst);
    clock.advance(Duration::from_secs(61));
    assert_eq!(read("after the TTL the old value, at once").await?, (Some(100), Origin::Stale));
    while prices.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(read("which was loaded anew behind").await?.0, Some(110));

    is_down.store(true, Ordering::SeqCst);
    clock.advance(Duration::from_secs(600));
    assert_eq!(read("too old, but the source is down").await?, (Some(110), Origin::Stale));
    prices.invalidate(&7).await?;
    let error = prices.get(&7).await.expect_err("invalidated is not stale");
    println!("what was invalidated is never served         {error}");
    Ok(())
}
