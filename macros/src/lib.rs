#![doc = include_str!("../README.md")]

use proc_macro::TokenStream;

mod cached;
mod derive;

/// Answers calls of an async function from a cache.
///
/// A call reads the cache. A miss runs the function once on a separate task, however many callers wait, and stores
/// its result. Strategy, backend and counters are those of the named `Cache`. The macro creates no global state.
///
/// # Settings
/// | setting | meaning |
/// |---|---|
/// | `cache = expression` | the cache: anything that derefs to a `Cache`, such as a static, `self.products`, `context.cache().await` |
/// | `key = "by_id:{user.id}:{lang}"` | the parts of the key, between colons, each a text or an argument or a field of one; default all arguments |
/// | `key = expression` | a key of the cache's own type, for a `Cache<u64, _>` |
/// | `prefix = "product"` | the function's name in keys; default its path in the program |
/// | `skip(pool, trace)` | arguments that are not in the key |
/// | `ttl = "10m"` or `expression` | the TTL of values, in place of the strategy's; units are `ms`, `s`, `m`, `h`, `d`, `w`, as in `"1h 30m"` |
/// | `tags = ["user:{user.id}", expression]` | the tags of the entry, for `Cache::invalidate_tag`: `Tag::new("user", user.id)` |
/// | `error = function` | converts larder's errors to the function's |
/// | `associated` | a function in an `impl` that takes no `self` |
/// | `crate = path` | the path of larder, if it is renamed |
///
/// # Return types
/// For a cache of `V`: `V` or `Arc<V>`, an `Option` of either, or a `Result` of any of these, by any name. A `V` is
/// cloned out of the cache. An `Arc<V>` is not, so that `V` needs no `Clone`. The strategy decides if a `None` is
/// stored (`negative_ttl`). Errors are not stored.
///
/// # Errors
/// - The function's own error is returned unchanged to every caller that shared the call, so it must be `Clone`.
/// - Other errors (a timeout, a panic, an overload) are returned as `E::from(larder::Error)`.
/// - With `error = f`, all errors are `f(larder::Error)`, and `source_as` returns the function's own. For errors
///   that are not `Clone` (`error = anyhow::Error::from`), or not `From<larder::Error>`.
/// - A function that returns no `Result` does not fail because of its cache. If its load was refused (an overload) or
///   timed out, its callers wait for one more load, which they share and which has no time limit. If the cache cannot
///   load at all (it was shut down, or there is no runtime), the function is called directly. Its panic is a panic of
///   its callers.
///
/// # Companions
/// | function | purpose |
/// |---|---|
/// | `product_uncached(..)` | the function as it was written |
/// | `product_invalidate(..)` | removes the entry: call it after a write was committed |
/// | `product_refresh(..)` | runs the function even if a value is cached, and stores the result |
/// | `product_insert(.., value)` | stores a value as if the function had returned it |
/// | `product_key(..)` | the key, for all other operations of a cache; not with `key = expression` |
///
/// They take the same arguments and are as visible as the function.
///
/// # Keys
/// The default key is the function's path in the program and all arguments: `shop::catalog::product(7,=en)`.
/// Arguments have the format of `CacheKey`, so different arguments never have the same key. The types of a generic
/// function are a part of its key, and so is the type of a method, but not `self`. With `prefix` and `key` the name
/// is yours: `product(7,=en)`. Use them if other programs, or later versions with the function elsewhere, must find
/// the same entries. Functions with the same prefix share the entries of the same parts.
///
/// Every argument is in the key or skipped. Any other argument is an error.
///
/// # Arguments
/// A load may outlive the call that began it, so it owns copies of the arguments and of `self`. They must be
/// `Clone`, which is called for a load only. `&T` and `Option<&T>` are accepted; for `&str` the load owns a
/// `String`.
///
/// # Cancellation safety
/// Dropping the future only ends the wait: the load continues and its value is stored.
///
/// # Limits
/// - Not in traits and their implementations, which have no place for companions: cache an inherent method and call it.
/// - A recursive function calls itself through a function that returns a `Pin<Box<dyn Future<Output = ..> +
///   Send>>`.
/// - Two functions of one name in sibling blocks of one function have one path: give one of them a prefix.
///
/// # Examples
/// ```
/// use std::sync::LazyLock;
/// use std::time::Duration;
/// use larder::key::CallKey;
/// use larder::{Cache, Quick, Strategy, cached};
///
/// static PAGES: LazyLock<Cache<CallKey, String>> = LazyLock::new(|| {
///     let pages = Cache::builder().backend(Quick::new(10_000)).strategy(Strategy::aside(Duration::from_secs(60)));
///     pages.build().expect("nothing is missing")
/// });
///
/// /// Renders a page.
/// #[cached(cache = PAGES, ttl = "10m", tags = ["page:{id}"])]
/// async fn page(id: u64, lang: &str) -> String {
///     format!("page {id} in {lang}")
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// assert_eq!(page(7, "en").await, "page 7 in en");
/// assert_eq!(page(7, "en").await, "page 7 in en"); // a hit
/// assert_eq!(PAGES.stats().loads, 1);
/// page_invalidate(7, "en").await?;
/// PAGES.invalidate_tag(&larder::Tag::new("page", 7)).await?; // in all languages
/// # Ok(()) }
/// ```
/// A method over the cache of its service, with its own error type:
/// ```
/// use std::sync::Arc;
/// use larder::{Cache, cached};
/// # use larder::Strategy;
/// use larder::Quick;
///
/// struct Product { name: String }
///
/// #[derive(Debug, Clone, PartialEq)]
/// enum ShopError { NoDatabase, Cache(String) }
/// # impl std::fmt::Display for ShopError {
/// #     fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{self:?}") }
/// # }
/// # impl std::error::Error for ShopError {}
///
/// impl From<larder::Error> for ShopError {
///     fn from(error: larder::Error) -> Self { Self::Cache(error.to_string()) }
/// }
///
/// #[derive(Clone)]
/// struct Shop { products: Cache<u64, Product> }
///
/// impl Shop {
///     #[cached(cache = self.products, key = id)]
///     async fn product(&self, id: u64) -> Result<Option<Arc<Product>>, ShopError> {
///         match id {
///             0 => Err(ShopError::NoDatabase),
///             _ => Ok(Some(Arc::new(Product { name: format!("product {id}") }))),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// # let products = Cache::builder().backend(Quick::new(10_000)).strategy(Strategy::aside(std::time::Duration::from_secs(60))).build()?;
/// let shop = Shop { products };
/// assert_eq!(shop.product(7).await.unwrap().unwrap().name, "product 7");
/// assert_eq!(shop.product(0).await.err(), Some(ShopError::NoDatabase));
/// # Ok(()) }
/// ```
#[proc_macro_attribute]
pub fn cached(settings: TokenStream, item: TokenStream) -> TokenStream {
    cached::cached(settings.into(), &item.into()).into()
}

/// Derives `larder::CacheKey`, field by field.
///
/// | type | format |
/// |---|---|
/// | `struct Page { site: String, number: u32 }` | `(site:=news,number:3)` |
/// | `struct Id(u64)` | `7`, like its only field |
/// | `struct Pair(u8, String)` | `(7,=x)` |
/// | `struct Everything;` | `_` |
/// | `enum Sort { Newest, By(Field), Of { id: u64 } }` | `Newest`, `By(Price)`, `Of(id:7)` |
///
/// The names are part of the key, so a field or a variant may move. To rename one in the program and not in the
/// store, keep its old name with `rename`.
///
/// - `#[cache_key(skip)]` on a field: it is not in the key. Values that differ in nothing else share an entry, so
///   `Hash` and `Eq` should ignore it too.
/// - `#[cache_key(rename = "..")]` on a named field or a variant: its name in the key.
/// - `#[cache_key(crate = path)]` on the type: the path of larder, if it is renamed.
///
/// Type parameters that the key contains must be `CacheKey`.
///
/// # Examples
/// ```
/// use larder::key::StoreKey;
/// use larder::CacheKey;
///
/// #[derive(Clone, PartialEq, Eq, Hash, CacheKey)]
/// struct Page { site: String, #[cache_key(rename = "n")] number: u32, sort: Sort }
///
/// #[derive(Clone, PartialEq, Eq, Hash, CacheKey)]
/// enum Sort { Newest, By(String) }
///
/// let page = Page { site: "news".into(), number: 3, sort: Sort::By("price".into()) };
/// assert_eq!(StoreKey::new(&page).as_str(), "(site:=news,n:3,sort:By(=price))");
/// ```
#[proc_macro_derive(CacheKey, attributes(cache_key))]
pub fn derive_cache_key(input: TokenStream) -> TokenStream {
    derive::derive(input.into()).into()
}
