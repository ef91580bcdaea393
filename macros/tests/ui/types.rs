//! Errors in types: reported by the compiler, at the wrong type.
#![allow(unused)]

use std::sync::LazyLock;

use larder::key::CallKey;
use larder::{Cache, cached};

struct Product;
#[derive(Debug)]
struct NotClone;
impl std::fmt::Display for NotClone {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { Ok(()) }
}
impl std::error::Error for NotClone {}
impl From<larder::Error> for NotClone {
    fn from(_: larder::Error) -> Self { Self }
}

static PRODUCTS: LazyLock<Cache<CallKey, Product>> = LazyLock::new(|| todo!());
static BY_ID: LazyLock<Cache<u64, Product>> = LazyLock::new(|| todo!());
static NAMES: LazyLock<Cache<CallKey, String>> = LazyLock::new(|| todo!());

#[cached(cache = BY_ID)]
async fn a_cache_by_other_keys(id: u64) -> std::sync::Arc<Product> { todo!() }

#[cached(cache = PRODUCTS)]
async fn not_what_is_cached(id: u64) -> String { todo!() }

#[cached(cache = PRODUCTS)]
async fn not_to_be_copied(id: u64) -> Product { todo!() }

#[cached(cache = NAMES)]
async fn an_error_for_one(id: u64) -> Result<String, NotClone> { todo!() }

#[cached(cache = NAMES)]
async fn no_key(product: &Product) -> String { todo!() }

#[cached(cache = NAMES, skip(product))]
async fn not_to_be_owned(product: &Product) -> String { todo!() }

struct User { id: u64 }

#[cached(cache = NAMES, key = "{user.name}")]
async fn no_such_field(user: std::sync::Arc<User>) -> String { todo!() }

struct Shop;

impl Shop {
    #[cached(cache = NAMES)]
    async fn a_self_not_to_be_owned(&self, id: u64) -> String { todo!() }

    #[cached(cache = NAMES)]
    async fn without_self_and_not_said_so(id: u64) -> String { todo!() }
}

fn main() {}
