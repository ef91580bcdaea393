//! A source of one's own, one key and many: `cargo run -p larder-examples --example 03_own_source`

use std::collections::HashMap;
use std::time::Duration;

use larder::source::BatchSource;
use larder::{Cache, Quick, Source, Strategy};

/// A service that knows prices. Anything that can be asked for a key is a source.
struct Prices(HashMap<u64, i64>);

/// The service's own error; callers get it back.
#[derive(Debug, PartialEq)]
struct OutOfHours;

impl std::fmt::Display for OutOfHours {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the price service is closed")
    }
}

impl std::error::Error for OutOfHours {}

impl Source<u64> for Prices {
    type Value = i64;
    type Error = OutOfHours;

    async fn load(&self, key: &u64) -> Result<Option<i64>, OutOfHours> {
        if *key == 13 { Err(OutOfHours) } else { Ok(self.0.get(key).copied()) }
    }
}

/// Optional: what is missing of a `get_many` is then loaded with one call.
impl BatchSource<u64> for Prices {
    async fn load_many(&self, keys: &[u64]) -> Result<Vec<Option<i64>>, OutOfHours> {
        println!("one call for {} keys", keys.len());
        Ok(keys.iter().map(|key| self.0.get(key).copied()).collect())
    }
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let prices: Cache<u64, i64> = Cache::builder()
        .backend(Quick::new(1_000))
        .batch_source(Prices((0..10).map(|id| (id, id as i64 * 100)).collect()))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()?;

    println!("{:?}", prices.get(&3).await?);
    println!("{:?}", prices.get_many(&[1, 2, 3, 99]).await?);
    assert_eq!(prices.get_many(&[1, 2, 3]).await?.len(), 3); // all hits

    let error = prices.get(&13).await.expect_err("out of hours");
    println!("{error}: {:?}", error.source_as::<OutOfHours>());
    assert_eq!(error.source_as::<OutOfHours>(), Some(&OutOfHours));
    Ok(())
}
