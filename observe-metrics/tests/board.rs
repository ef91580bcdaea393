//! Tests of what the board serves, and of which callers may invalidate.
#![cfg(feature = "axum")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use common::{TOKEN, board, products, serve};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use larder_metrics::Board;

async fn ask(
    address: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: &str,
) -> (StatusCode, HeaderMap, String) {
    let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
    if let Some(token) = token {
        request = request.header("authorization", token);
    }
    let client = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.request(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn only_who_has_the_token_invalidates_and_only_by_post() {
    let products = products();
    let address = serve(Router::new().nest("/larder", board(&products).router())).await;
    for id in [7, 8, 12] {
        products.get(&id).await.unwrap();
    }
    let path = "/larder/api/invalidate";
    let key = r#"{"cache": "product", "key": "7"}"#;
    let right = format!("Bearer {TOKEN}");
    let short = format!("Bearer {}", &TOKEN[..TOKEN.len() - 1]);
    let scheme = format!("Basic {TOKEN}");

    for wrong in [
        None,
        Some(""),
        Some("Bearer"),
        Some("Bearer "),
        Some("Bearer x"),
        Some(&short),
        Some(&scheme),
        Some(TOKEN),
    ] {
        // the token is looked at first: what is wrong with the rest is nobody's business
        for body in [key, "", r#"{"cache": "no such"}"#] {
            let (status, headers, _) = ask(address, Method::POST, path, wrong, body).await;
            assert_eq!(
                (status, headers["www-authenticate"].to_str().unwrap()),
                (StatusCode::UNAUTHORIZED, "Bearer"),
                "{wrong:?}"
            );
        }
    }
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let (status, _, _) = ask(address, method, path, Some(&right), key).await;
        assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED);
    }
    assert_eq!(products.stats().invalidations, 0);
    assert!(products.cache().get_local(&7).is_some());

    let (status, _, body) = ask(address, Method::POST, path, Some(&right), key).await;
    assert_eq!((status, body.as_str()), (StatusCode::NO_CONTENT, ""));
    assert!(products.cache().get_local(&7).is_none() && products.cache().get_local(&8).is_some());
    let tag = r#"{"cache": "product", "tag": "category:3"}"#;
    let (status, _, _) = ask(address, Method::POST, path, Some(&right), tag).await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert!(products.cache().get_local(&8).is_none() && products.cache().get_local(&12).is_some());

    for (body, status) in [
        (r#"{"cache": "no such", "key": "7"}"#, StatusCode::NOT_FOUND),
        (r#"{"cache": "product", "key": "seven"}"#, StatusCode::BAD_REQUEST),
        (r#"{"cache": "product", "tag": "category"}"#, StatusCode::BAD_REQUEST),
        (r#"{"cache": "product", "tag": "category:a b"}"#, StatusCode::BAD_REQUEST),
        (r#"{"cache": "product", "key": "7", "tag": "category:3"}"#, StatusCode::BAD_REQUEST),
        (r#"{"cache": "product"}"#, StatusCode::BAD_REQUEST),
        (r#"{"cache": "product", "key": "7", "all": true}"#, StatusCode::BAD_REQUEST),
        ("", StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(ask(address, Method::POST, path, Some(&right), body).await.0, status, "{body}");
    }
    let large = format!(r#"{{"cache": "product", "key": "{}"}}"#, "7".repeat(20_000));
    let (status, _, _) = ask(address, Method::POST, path, Some(&right), &large).await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_board_without_token_only_shows() {
    let products = products();
    let board = Board::new();
    board.add("product", &products);
    let address = serve(Router::new().nest("/larder", board.router())).await;
    let body = r#"{"cache": "product", "key": "7"}"#;
    for token in [None, Some("Bearer "), Some("Bearer x")] {
        let (status, _, _) = ask(address, Method::POST, "/larder/api/invalidate", token, body).await;
        assert_eq!(status, StatusCode::FORBIDDEN);
    }
    let (_, _, report) = ask(address, Method::GET, "/larder/api/board/0", None, "").await;
    assert!(report.contains(r#""writable":false"#));
}

#[tokio::test]
async fn the_report_has_all_that_the_page_shows() {
    let products = products();
    let board = board(&products);
    let address = serve(Router::new().nest("/larder", board.router())).await;
    board.sample();
    for id in [7, 7, 8, 13] {
        _ = products.get(&id).await;
    }
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    board.sample();
    let (status, headers, report) = ask(address, Method::GET, "/larder/api/board/0", None, "").await;
    assert_eq!((status, headers["content-type"].to_str().unwrap()), (StatusCode::OK, "application/json"));
    assert_eq!(headers["cache-control"], "no-store");
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let cache = &report["caches"][0];
    assert_eq!((cache["name"].as_str(), report["writable"].as_bool()), (Some("product"), Some(true)));
    assert_eq!((cache["totals"]["near"].as_u64(), cache["totals"]["misses"].as_u64()), (Some(1), Some(3)));
    assert_eq!(cache["totals"]["breaker"], "closed");
    assert_eq!(cache["hot"].as_array().unwrap().len(), 3);
    let misses = cache["misses"].as_array().unwrap();
    assert_eq!((misses[0]["key"].as_str(), misses[0]["outcome"].as_str()), (Some("13"), Some("failed")));
    assert!(misses[0]["error"].as_str().unwrap().contains("no luck"));
    assert_eq!(misses[1]["tags"][0], "category:3");
    assert_eq!(cache["whys"][0], serde_json::json!(["first_read", 3]));
    let points = cache["points"].as_array().unwrap();
    let point = points.iter().find(|point| point["misses"].as_f64().unwrap() > 0.0).unwrap();
    assert!(point["load_ms"]["p99"].as_f64().unwrap() > 0.0 && point["near"].as_f64().unwrap() > 0.0);
    // only what came after
    let last = points.last().unwrap()["at"].as_u64().unwrap();
    let (_, _, later) = ask(address, Method::GET, &format!("/larder/api/board/{last}"), None, "").await;
    let later: serde_json::Value = serde_json::from_str(&later).unwrap();
    assert!(
        later["caches"][0]["points"]
            .as_array()
            .unwrap()
            .iter()
            .all(|point| point["at"].as_u64().unwrap() > last)
    );
}

#[tokio::test]
async fn the_page_is_served_under_any_path_and_asks_nobody_else() {
    let address = serve(Router::new().nest("/a/b", board(&products()).router())).await;
    let (status, headers, page) = ask(address, Method::GET, "/a/b", None, "").await;
    assert_eq!((status, page.as_str()), (StatusCode::OK, larder_metrics::PAGE));
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
    // no address of anybody, but the name of a dialect of XML
    let page = page.replace("http://www.w3.org/2000/svg", "");
    assert!(!page.contains("://") && !page.contains("src=") && !page.contains("@import"));
}
