//! The loader at the call, and who decides the TTL: `cargo run -p larder-examples --example 02_get_or_load`

use std::io::Error;
use std::time::Duration;

use larder::{Cache, Loaded, Quick, Strategy};

#[tokio::main]
async fn main() -> larder::Result<()> {
    let strategy = Strategy::aside(Duration::from_secs(60))
        .negative_ttl(Duration::from_secs(5)) // keep "there is none" for 5 s; by default it is not kept
        .ttl_by(|page: &String| page.contains("breaking").then_some(Duration::from_secs(2)))
        .jitter(0.1); // up to 10 % shorter, so that entries filled together do not expire together
    let pages: Cache<String, String> =
        Cache::builder().backend(Quick::new(1_000)).strategy(strategy).build()?;
    let left = async |key: &str| {
        pages.get_if_present(&key.to_owned()).await.map(|found| found.map(|page| page.expires_in()))
    };

    // the loader owns what it uses: it goes on when the caller gives up
    pages.get_or_load(&"news".to_owned(), || async { Ok::<_, Error>("breaking: bread".to_owned()) }).await?;
    println!("the value decided:    {:?}", left("news").await?);
    assert!(left("news").await?.is_some_and(|left| left <= Duration::from_secs(2)));

    let token = || async { Ok::<_, Error>(Loaded::new("secret".to_owned()).ttl(Duration::from_secs(30))) };
    pages.get_or_load(&"token".to_owned(), token).await?;
    println!("the loader decided:   {:?}", left("token").await?);

    pages.get_or_load(&"about".to_owned(), || async { Ok::<_, Error>("about us".to_owned()) }).await?;
    println!("the strategy decided: {:?}", left("about").await?);

    let absent = pages.get_or_load(&"nowhere".to_owned(), || async { Ok::<_, Error>(None) }).await?;
    println!("absent: {absent:?}, known for {:?}", left("nowhere").await?);
    assert!(absent.is_none() && left("nowhere").await?.is_some());
    Ok(())
}
