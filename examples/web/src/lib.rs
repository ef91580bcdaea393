//! A web service over SQLite with larder: reads are cached, writes invalidate after their commit, every answer tells what the
//! cache did, and stopping it drops nothing.
//!
//! `cargo run -p larder-web-example` serves it on <http://127.0.0.1:3000>, with its live page at `/larder`.
//! `-- --self-test` puts it under load, checks every read, and ends. `-- --help` lists the options.
//!
//! | request | answer |
//! |---|---|
//! | `GET /products/{id}` | the product, cached; `Age`, `Cache-Status` ([RFC 9211]), `X-Cache` |
//! | `PUT /products/{id}` with `{"cents": 300}` | the product as it is committed; it is invalidated before the answer |
//! | `POST /categories/{id}/sale` with `{"percent": 10}` | how many products it made cheaper; their tag is invalidated |
//! | `GET /metrics` | the numbers of the cache, for a Prometheus server |
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

use larder::{Cache, Strategy, Tag, Traced};
use larder_metrics::{Board, Scrape, Watched};
use larder_quick::Quick;

pub use self::serve::serve;
pub use self::shop::{Product, Shop};

/// What the requests share.
#[derive(Debug, Clone)]
pub struct App {
    /// The database.
    pub shop: Arc<Shop>,
    /// Its products by id.
    pub products: Watched<i64, Product>,
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
        let cache: Cache<i64, Product> = Cache::builder()
            .namespace("product")
            .backend(Quick::new(10_000))
            .source(Arc::clone(&shop).source())
            .strategy(
                Strategy::aside(Duration::from_secs(60))
                    .jitter(0.1)
                    .negative_ttl(Duration::from_secs(5))
                    .tagged(|product: &Product| [Tag::new("category", product.category)]),
            )
            .observer(Traced::new("product"))
            .build()?;
        let scrape = Scrape::new();
        scrape.add("product", &cache);
        let products = Watched::new(cache);
        let board = match token {
            Some(token) => Board::new().token(token)?,
            None => Board::new(),
        };
        board.add("product", &products);
        Ok(Self { shop, products, board, scrape: Arc::new(scrape) })
    }

    /// All routes.
    pub fn router(&self) -> axum::Router {
        routes::router(self)
    }
}
