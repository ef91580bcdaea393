//! Functions whose calls are answered from a cache: `cargo run -p larder-examples --example 18_decorator`

use std::sync::Arc;
use std::time::Duration;

use larder::key::CallKey;
use larder::{Cache, CacheKey, Quick, Strategy, Tag, cached};

#[derive(Debug, Default)]
struct Product {
    name: String,
    category: u64,
}

/// A key type, field by field.
#[derive(Debug, Clone, CacheKey)]
enum Sort {
    Newest,
    Price { ascending: bool },
}

/// The error of the functions: `Clone`, since several callers may share a failed call; the cache's own failures come
/// by `From`.
#[derive(Debug, Clone)]
enum ShopError {
    NoSuchCategory(u64),
    Cache(larder::Error),
}

impl std::fmt::Display for ShopError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NoSuchCategory(category) => write!(f, "no category {category}"),
            Self::Cache(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ShopError {}

impl From<larder::Error> for ShopError {
    fn from(error: larder::Error) -> Self {
        Self::Cache(error)
    }
}

/// A clone shares everything: the load of a method owns one.
#[derive(Clone)]
struct Shop {
    products: Cache<u64, Product>,
    lists: Cache<CallKey, Vec<u64>>,
}

impl Shop {
    /// One product, in a cache by its id: what is returned in an `Arc` is not copied.
    #[cached(cache = self.products, key = id)]
    async fn product(&self, id: u64) -> Result<Option<Arc<Product>>, ShopError> {
        tokio::time::sleep(Duration::from_millis(20)).await; // a slow query
        Ok((id < 100).then(|| Arc::new(Product { name: format!("product {id}"), category: id % 10 })))
    }

    /// A list, in a cache by calls that it can share with other functions. The key is the path of this function and all
    /// arguments.
    #[cached(cache = self.lists, ttl = "30s", tags = ["category:{category}"])]
    async fn in_category(
        &self,
        category: u64,
        sort: &Sort,
        limit: Option<usize>,
    ) -> Result<Vec<u64>, ShopError> {
        if category > 9 {
            return Err(ShopError::NoSuchCategory(category));
        }
        let mut ids: Vec<u64> = (0..100).filter(|id| id % 10 == category).collect();
        if let Sort::Newest | Sort::Price { ascending: false } = sort {
            ids.reverse();
        }
        ids.truncate(limit.unwrap_or(usize::MAX));
        Ok(ids)
    }
}

#[tokio::main]
async fn main() -> Result<(), ShopError> {
    let minute = Duration::from_secs(60);
    let shop = Shop {
        products: Cache::builder().backend(Quick::new(1_000)).strategy(Strategy::aside(minute)).build()?,
        lists: Cache::builder().backend(Quick::new(1_000)).strategy(Strategy::aside(minute)).build()?,
    };

    let (one, two) = tokio::join!(shop.product(7), shop.product(7));
    assert!(Arc::ptr_eq(&one?.unwrap_or_default(), &two?.unwrap_or_default()));
    println!("asked by two at once: {} load", shop.products.stats().loads);

    let newest = shop.in_category(7, &Sort::Newest, Some(3)).await?;
    println!("{newest:?} is kept by {}", shop.in_category_key(7, &Sort::Newest, Some(3)));
    shop.in_category(7, &Sort::Price { ascending: true }, None).await?;

    // the product's row was changed: it, and what lists it, is forgotten
    shop.product_invalidate(7).await?;
    shop.lists.invalidate_tag(&Tag::new("category", 7)).await?;
    assert!(shop.lists.get_if_present(&shop.in_category_key(7, &Sort::Newest, Some(3))).await?.is_none());

    shop.product_insert(8, Some(Arc::new(Product { name: "from a message".into(), category: 8 }))).await?;
    let product = shop.product(8).await?.unwrap_or_default();
    println!("{} of category {}", product.name, product.category);

    match shop.in_category(10, &Sort::Newest, None).await {
        Err(ShopError::NoSuchCategory(category)) => {
            println!("no category {category}: the function's own error");
        }
        other => println!("{other:?}"),
    }
    Ok(())
}
