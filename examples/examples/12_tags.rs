//! Many entries ended in one step: `cargo run -p larder-examples --example 12_tags`

use std::time::{Duration, Instant};

use larder::tag::TagIndex;
use larder::{Cache, Quick, Strategy, Tag, source_fn};

struct Product {
    category: u64,
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let index = TagIndex::new(1_000_000);
    let products: Cache<u64, Product> = Cache::builder()
        .backend(Quick::new(200_000))
        .source(source_fn(
            |id: u64| async move { Ok::<_, std::io::Error>(Some(Product { category: id % 10 })) },
        ))
        .strategy(
            Strategy::aside(Duration::from_secs(600))
                .tagged(|product: &Product| [Tag::new("category", product.category)]),
        )
        .tag_keys(|id| [Tag::new("shop", id / 50_000)])
        .tag_index(index.clone())
        .build()?;
    products.warm(0..100_000).run().await;
    for (tag, entries) in index.tags().into_iter().take(3) {
        println!("{tag}: about {entries} entries");
    }

    let began = Instant::now();
    products.invalidate_tag(&Tag::new("category", 7)).await?;
    println!("10,000 entries ended in {:?}", began.elapsed());
    assert!(products.get_if_present(&17).await?.is_none() && products.get_if_present(&18).await?.is_some());

    // product 18 moves from category 8 to category 3: what was listed under either is no longer right
    products.invalidate_tags(&[Tag::new("category", 8), Tag::new("category", 3)]).await?;
    assert!(products.get_if_present(&18).await?.is_none() && products.get_if_present(&13).await?.is_none());

    println!("{} entries of a shop removed to make room", products.reclaim_tag(&Tag::new("shop", 1)).await?);
    Ok(())
}
