//! A service with the board, on a port of its own.
#![allow(unreachable_pub, reason = "shared by test files")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::Router;
use larder::{Cache, Quick, Strategy, Tag, source_fn};
use larder_metrics::{Board, Watched};
use tokio::net::TcpListener;

pub const TOKEN: &str = "0123456789abcdef-right";

/// A cache of products, tagged by category; product 13 cannot be loaded.
pub fn products() -> Watched<u64, u64> {
    let load =
        |id: u64| async move { if id == 13 { Err(std::io::Error::other("no luck")) } else { Ok(Some(id)) } };
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(100))
        .source(source_fn(load))
        .strategy(Strategy::aside(Duration::from_secs(60)).tagged(|id: &u64| [Tag::new("category", id % 5)]))
        .build()
        .unwrap();
    Watched::new(cache)
}

/// A board that shows `products`, and can invalidate.
pub fn board(products: &Watched<u64, u64>) -> Board {
    let board = Board::new().token(TOKEN).unwrap();
    board.add("product", products);
    board
}

/// Serves until the test ends.
pub async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}
