//! Cached methods: `self`, generics, visibility, attributes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::sync::{Arc, LazyLock};

use common::{Log, ShopError, calls};
use larder::key::CallKey;
use larder::{Cache, CacheKey, cached};

static NAMES: LazyLock<Cache<CallKey, String>> = LazyLock::new(calls);

/// A service that holds its cache; clones share everything.
#[derive(Debug, Clone)]
struct Shop {
    products: Cache<CallKey, String>,
    tenant: u64,
    log: Arc<Log>,
}

fn shop(tenant: u64) -> Shop {
    Shop { products: calls(), tenant, log: Arc::default() }
}

impl Shop {
    #[cached(cache = self.products)]
    async fn product(&self, id: u64) -> Result<String, ShopError> {
        self.log.push(format!("product {id}"));
        if id == 0 { Err(ShopError::NoSuch(id)) } else { Ok(format!("product {id}")) }
    }

    #[cached(cache = self.products, prefix = "owned", key = "{self.tenant}:{id}")]
    async fn of_tenant(&self, id: u64) -> String {
        format!("{} {id}", self.tenant)
    }

    #[cached(cache = self.products, prefix = "by_value")]
    async fn by_value(self, id: u64) -> String {
        format!("{} {id}", self.tenant)
    }

    #[cached(cache = self.products, prefix = "by_arc")]
    async fn by_arc(self: Arc<Self>, id: u64) -> String {
        format!("{} {id}", self.tenant)
    }

    #[cached(cache = self.products, prefix = "by_arc_reference")]
    async fn by_arc_reference(self: &Arc<Self>, id: u64) -> String {
        format!("{} {id}", self.tenant)
    }

    #[cached(cache = NAMES, associated)]
    async fn without_self(id: u64) -> String {
        format!("shop {id}")
    }
}

struct Bakery;

impl Bakery {
    #[cached(cache = NAMES, associated)]
    async fn without_self(id: u64) -> String {
        format!("bakery {id}")
    }
}

#[tokio::test]
async fn a_method_is_cached_in_the_cache_of_its_self() {
    let shop = shop(1);
    assert_eq!(shop.product(7).await, Ok("product 7".to_owned()));
    assert_eq!(shop.product(7).await, Ok("product 7".to_owned()));
    assert_eq!(shop.product(0).await, Err(ShopError::NoSuch(0)));
    assert_eq!(shop.log.take(), ["product 7", "product 0"]);
    assert_eq!(shop.product_key(7).as_str(), "methods::Shop::product(7)");

    shop.product_insert(7, "by hand".to_owned()).await.unwrap();
    assert_eq!(shop.product(7).await, Ok("by hand".to_owned()));
    assert_eq!(shop.product_uncached(7).await, Ok("product 7".to_owned()));
    assert_eq!(shop.product_refresh(7).await, Ok("product 7".to_owned()));
    shop.product_invalidate(7).await.unwrap();
    assert!(shop.products.get_if_present(&shop.product_key(7)).await.unwrap().is_none());
}

#[tokio::test]
async fn self_is_in_the_key_only_when_asked() {
    let one = shop(1);
    let two = Shop { tenant: 2, ..one.clone() };
    assert_eq!(one.product_key(7), two.product_key(7));
    assert_eq!(one.of_tenant(7).await, "1 7");
    assert_eq!(two.of_tenant(7).await, "2 7");
    assert_eq!(two.of_tenant_key(7).as_str(), "owned(2,7)");
}

#[tokio::test]
async fn every_kind_of_self_works() {
    let shop = Arc::new(shop(3));
    for _ in 0..2 {
        assert_eq!(Shop::clone(&shop).by_value(7).await, "3 7");
        assert_eq!(Arc::clone(&shop).by_arc(7).await, "3 7");
        assert_eq!(shop.by_arc_reference(7).await, "3 7");
    }
    assert_eq!(shop.products.stats().loads, 3);
}

#[tokio::test]
async fn types_with_a_function_of_one_name_do_not_share_entries() {
    assert_eq!(
        (Shop::without_self(7).await, Bakery::without_self(7).await),
        ("shop 7".into(), "bakery 7".into())
    );
    assert_eq!(Shop::without_self_key(7).as_str(), "methods::Shop::without_self(7)");
}

/// A type with parameters.
#[derive(Debug)]
struct Table<T, const N: usize>(std::marker::PhantomData<fn() -> T>);

impl<T, const N: usize> Clone for Table<T, N> {
    fn clone(&self) -> Self {
        Self(std::marker::PhantomData)
    }
}

impl<T: 'static, const N: usize> Table<T, N> {
    #[cached(cache = NAMES)]
    async fn name(&self, id: u64) -> String {
        format!("{} {N} {id}", std::any::type_name::<T>())
    }
}

#[tokio::test]
async fn instances_of_a_generic_type_do_not_share_entries() {
    assert_eq!(Table::<u8, 1>(std::marker::PhantomData).name(7).await, "u8 1 7");
    assert_eq!(Table::<u8, 2>(std::marker::PhantomData).name(7).await, "u8 2 7");
    assert_eq!(Table::<u16, 1>(std::marker::PhantomData).name(7).await, "u16 1 7");
}

#[cached(cache = NAMES)]
async fn of_types<T, const N: usize>(value: T) -> String
where
    T: CacheKey + Clone + std::fmt::Debug + Send + Sync + 'static,
{
    format!("{} {N} {value:?}", std::any::type_name::<T>())
}

#[cached(cache = NAMES)]
async fn of_unnamed(
    value: impl CacheKey + Clone + std::fmt::Debug + Send + Sync + 'static,
    by: &(impl CacheKey + Clone + Send + Sync + 'static),
) -> String {
    let _ = by;
    format!("{} {value:?}", std::any::type_name_of_val(&value))
}

#[tokio::test]
async fn instances_of_a_generic_function_do_not_share_entries() {
    assert_eq!(of_types::<u8, 1>(7).await, "u8 1 7");
    assert_eq!(of_types::<u8, 2>(7).await, "u8 2 7");
    assert_eq!(of_types::<u16, 1>(7).await, "u16 1 7");
    assert_eq!(of_unnamed(7u8, &1).await, "u8 7");
    assert_eq!(of_unnamed(7u16, &1).await, "u16 7");
    of_unnamed_invalidate(7u16, &1).await.unwrap();
    assert_eq!(of_types_key::<u8, 2>(7).as_str(), "methods::of_types(=u8,2,7)");
}

mod visible {
    use super::*;

    /// Attributes and comments above a function stay there.
    #[cfg(not(any()))]
    #[must_use]
    #[deprecated = "use another"]
    #[expect(clippy::bool_comparison, reason = "met in the body")]
    #[cached(cache = NAMES)]
    #[allow(clippy::used_underscore_binding)]
    pub(super) async fn documented(mut id: u64, _unused: bool) -> String {
        if _unused == true {
            id += 1;
        }
        id.to_string()
    }

    /// Is not there, and neither are its companions.
    #[cached(cache = NAMES)]
    #[cfg(any())]
    pub(super) async fn absent() -> String {
        nothing_of_this_exists()
    }

    #[cfg(any())]
    #[cached(cache = NAMES)]
    pub(super) async fn absent_too() -> String {
        nothing_of_this_exists()
    }
}

#[tokio::test]
#[allow(deprecated)]
async fn visibility_and_attributes_are_kept() {
    assert_eq!(visible::documented(7, true).await, "8");
    assert_eq!(visible::documented_uncached(7, false).await, "7");
    visible::documented_invalidate(7, true).await.unwrap();
}
