//! A source that says "not modified": `cargo run -p larder-examples --example 13_conditional`

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::clock::ManualClock;
use larder::source::{ConditionalSource, KnownValue};
use larder::{Cache, Loaded, Quick, Source, Strategy};

/// A service whose pages have ETags, and are dear to send.
struct Pages;

static SENT: AtomicUsize = AtomicUsize::new(0);

impl Source<String> for Pages {
    type Value = String;
    type Error = std::io::Error;

    async fn load(&self, path: &String) -> Result<Option<String>, Self::Error> {
        SENT.fetch_add(1, Ordering::SeqCst);
        Ok(Some(format!("a large page at {path}")))
    }
}

impl ConditionalSource<String> for Pages {
    async fn load_if_modified(
        &self,
        path: &String,
        known: Option<KnownValue<'_, String>>,
    ) -> Result<Loaded<String>, Self::Error> {
        let current = "\"v7\""; // of the page at the service
        match known.and_then(|known| known.validator) {
            Some(validator) if validator == current => Ok(Loaded::not_modified()), // 304
            _ => Ok(Loaded::from(self.load(path).await?).validator(current)),      // 200
        }
    }
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let clock = ManualClock::new();
    let pages: Cache<String, String> = Cache::builder()
        .backend(Quick::new(1_000))
        .conditional_source(Pages)
        .clock(clock.clone())
        // expired pages are kept for an hour, to be asked about
        .strategy(Strategy::aside(Duration::from_secs(60)).stale_if_error(Duration::from_secs(3_600)))
        .build()?;
    let path = "/start".to_owned();
    for minute in 0..10 {
        let page = pages.get_entry(&path).await?;
        println!("minute {minute}: {:?}, {:?} old", page.origin, page.age);
        clock.advance(Duration::from_secs(60));
    }
    println!("asked {} times, sent {} time", pages.stats().loads, SENT.load(Ordering::SeqCst));
    assert_eq!(SENT.load(Ordering::SeqCst), 1);
    Ok(())
}
