//! A web service over SQLite with larder: reads are cached, writes invalidate after their commit, every answer tells what the
//! cache did, and stopping it drops nothing.
//!
//! `cargo run -p larder-web-example` serves it on <http://127.0.0.1:3000>, with its live page at `/larder`.
//! `-- --self-test` puts it under load, checks every read, and ends. `-- --help` lists the options.
//!
//! | request | answer |
//! |---|---|
//! | `GET /products/{id}` | the product, cached; `Age`, `Cache-Status` ([RFC 9211]), `X-Cache` |
//! | `GET /categories/{id}` | what the category comes to, cached likewise |
//! | `PUT /products/{id}` with `{"cents": 300}` | the product as it is committed; it and its category are invalidated before the answer |
//! | `POST /categories/{id}/sale` with `{"percent": 10}` | which products it made cheaper; their tag and the category are invalidated |
//! | `GET /metrics` | the numbers of both caches, for a Prometheus server |
//! | `/larder` | the live page |
//!
//! [RFC 9211]: https://www.rfc-editor.org/rfc/rfc9211

pub mod headers;
pub mod load;
mod routes;
mod serve;
mod shop;

use std::sync::Arc;
use std::time::Duration;

use larder::cache::Value;
use larder::observe::Traced;
use larder::{Cache, CacheBuilder, Quick, Strategy, Tag};
use larder_metrics::{Board, Scrape, Watched};

pub use self::serve::serve;
pub use self::shop::{Product, Shop, Summary};

/// The state that all requests share.
#[derive(Debug, Clone)]
pub struct App {
    /// The database.
    pub shop: Arc<Shop>,
    /// Its products by id.
    pub products: Watched<i64, Product>,
    /// Its categories by number.
    pub summaries: Watched<i64, Summary>,
    board: Board,
    scrape: Arc<Scrape>,
}

impl App {
    /// The service over a shop. `token` lets its holder invalidate from the live page.
    ///
    /// # Errors
    /// A token that can be guessed.
    pub fn new(shop: Shop, token: Option<String>) -> larder::Result<Self> {
        let shop = Arc::new(shop);
        let by_category = |product: &Product| [Tag::new("category", product.category)];
        let products =
            cache("product").source(shop.products()).strategy(strategy().tagged(by_category)).build()?;
        let summaries = cache("summary").source(shop.summaries()).strategy(strategy()).build()?;
        let scrape = Scrape::new();
        scrape.add("product", &products);
        scrape.add("summary", &summaries);
        let board = match token {
            Some(token) => Board::new().token(token)?,
            None => Board::new(),
        };
        let (products, summaries) = (Watched::new(products), Watched::new(summaries));
        board.add("product", &products);
        board.add("summary", &summaries);
        Ok(Self { shop, products, summaries, board, scrape: Arc::new(scrape) })
    }

    /// All routes.
    pub fn router(&self) -> axum::Router {
        routes::router(self)
    }
}

/// Returns the builder with the settings that the caches have in common.
fn cache<V: Value>(name: &str) -> CacheBuilder<i64, V> {
    Cache::builder().namespace(name).backend(Quick::new(10_000)).observer(Traced::new(name))
}

fn strategy<V: Value>() -> Strategy<V> {
    Strategy::aside(Duration::from_secs(60)).jitter(0.1).negative_ttl(Duration::from_secs(5))
}
