//! The store by one line of configuration: `CACHE_URL=redis://localhost cargo run -p larder-examples --example 23_environments`
//!
//! Without a line it runs with one for each environment: in a test, on one machine, with a Redis, with a cluster and a near
//! tier before it. For the last two it starts servers of its own, if there is a `redis-server` on the machine.

use std::time::{Duration, Instant};

use larder::{Cache, Strategy, Tag, source_fn};
use larder_config::StoreConfig;
use larder_testkit::servers::{RedisCluster, RedisServer};
use serde::{Deserialize, Serialize};

/// A configuration file: a line, or a table.
#[derive(Deserialize)]
struct Settings {
    cache: StoreConfig,
}

const FILE: &str = r#"
    [cache]
    max_staleness = "500ms"
    near = { url = "quick://", max = 1_000 }
    far = { url = "memory://", codec = "postcard", prefix = "staging" }
"#;

#[derive(Debug, Serialize, Deserialize)]
struct Product {
    name: String,
    category: u32,
}

/// The program. Nothing in it says where entries are kept.
async fn program(config: &StoreConfig) -> larder::Result<()> {
    let store = config.connect().await?;
    let products: Cache<u64, Product> = Cache::builder()
        .namespace("example-product")
        .backend(store.clone())
        .source(source_fn(|id: u64| async move {
            tokio::time::sleep(Duration::from_millis(5)).await; // a slow query
            Ok::<_, std::io::Error>(Some(Product {
                name: format!("product {id}"),
                category: (id % 10) as u32,
            }))
        }))
        .strategy(
            Strategy::aside(Duration::from_secs(600))
                .locked(store.locks())
                .tagged(|product: &Product| [Tag::new("category", product.category)]),
        )
        .build()?;
    products.clear().await?; // whatever an earlier run left
    let began = Instant::now();
    for _ in 0..20 {
        for id in 0..20 {
            assert_eq!(
                products.get(&id).await?.expect("the source has every id").name,
                format!("product {id}")
            );
        }
    }
    let took = began.elapsed();
    products.invalidate(&7).await?; // after a write
    products.invalidate_tag(&Tag::new("category", 3)).await?;
    for gone in [3, 7, 13] {
        assert!(products.get_if_present(&gone).await?.is_none());
    }
    let stats = products.stats();
    assert_eq!(stats.loads, 20, "each is loaded once, in every environment");
    println!(
        "{config}\n    400 reads in {took:.1?}: {} near, {} far, {} loads",
        stats.near_hits, stats.far_hits, stats.loads
    );
    Ok(())
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    if std::env::var_os("CACHE_URL").is_some() {
        return program(&StoreConfig::from_env("CACHE_URL")?).await;
    }
    // a mistake says how to mend it
    println!("{}\n", "redis-clutser://localhost".parse::<StoreConfig>().expect_err("a word that is wrong"));

    for line in ["memory://", "quick://?max=1000", "moka://?max=1000"] {
        program(&line.parse()?).await?;
    }
    let Settings { cache } = toml::from_str(FILE).expect("the file is right");
    program(&cache).await?;

    let (Some(node), Some(cluster)) = (RedisServer::start(&[]), RedisCluster::start()) else {
        println!("no redis-server on this machine: one node and a cluster are left out");
        return Ok(());
    };
    program(&format!("{}?timeout=2s", node.url()).parse()?).await?;
    program(&format!("tiered:(quick://?max=1000,{}?codec=postcard&timeout=2s)", cluster.url()).parse()?).await
}
