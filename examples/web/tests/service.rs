//! The service under load, what its answers tell, and how it stops.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use larder_web_example::load::{BoxError, Client, Load, run};
use larder_web_example::{App, Product, Shop, Summary, serve};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

struct Service {
    app: App,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), BoxError>>,
}

async fn start(products: u32, load_delay: Duration) -> Service {
    let app = App::new(Shop::generate(products, load_delay).await.unwrap(), None).unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(serve(app.clone(), listener, async { _ = stopped.await }));
    Service { app, address, stop, serving }
}

impl Service {
    async fn get(&self, path: &str) -> (StatusCode, HeaderMap, String) {
        Client::new(self.address).ask(Method::GET, path, "").await.unwrap()
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        self.serving.await.unwrap().unwrap();
    }
}

fn told<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).unwrap_or_else(|| panic!("{name} is not in {headers:?}")).to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn under_load_no_read_is_older_than_an_acknowledged_write() {
    // few products, and loads slow enough that writes overlap them
    let service = start(60, Duration::from_millis(1)).await;
    let load = Load {
        products: 60,
        readers: 24,
        writers: 8,
        time: Duration::from_secs(3),
        least_reads: 1_000,
        most_reads: 60_000,
    };
    let report = run(service.address, load).await.unwrap();
    let [reads, hits, writes, stale] = [&report.reads, &report.hits, &report.writes, &report.stale]
        .map(|count| count.load(Ordering::Relaxed));
    let stats = [service.app.products.stats(), service.app.summaries.stats()];
    println!("{reads} reads, {hits} hits, {writes} writes\n{}\n{}", stats[0], stats[1]);
    assert_eq!(stale, 0, "of {reads} reads, with {writes} writes");
    assert!(reads >= 500 && hits > 0 && writes >= 20, "too little to tell: {reads} reads, {writes} writes");
    let counted = stats.iter().fold((0, 0), |sum, of| (sum.0 + of.hits(), sum.1 + of.reads()));
    assert_eq!(counted, (hits, reads), "the headers tell what the caches counted");
    service.end().await;
}

#[tokio::test]
async fn answers_tell_what_the_cache_did() {
    let service = start(20, Duration::ZERO).await;
    let (status, headers, _) = service.get("/products/7").await;
    assert_eq!((status, told(&headers, "x-cache"), told(&headers, "age")), (StatusCode::OK, "MISS", "0"));
    let status = told(&headers, "cache-status");
    assert!(
        status.starts_with("larder; fwd=miss; ttl=") && status.ends_with("; stored; detail=absent"),
        "{status}"
    );
    assert_eq!(told(&headers, "cache-control"), "no-cache");

    let (_, headers, _) = service.get("/products/7").await;
    assert_eq!(told(&headers, "x-cache"), "HIT");
    let status = told(&headers, "cache-status");
    assert!(status.starts_with("larder; hit; ttl=") && status.ends_with("; detail=near"), "{status}");

    // a write is read back at once, by itself and in what is made from it; a sale reaches what it did not name
    let summary: Summary = serde_json::from_str(&service.get("/categories/7").await.2).unwrap();
    assert_eq!((summary.products, summary.cheapest, summary.versions), (2, 1_007, 2));
    let client = Client::new(service.address);
    let (status, _, body) = client.ask(Method::PUT, "/products/7", r#"{"cents": 42}"#).await.unwrap();
    assert_eq!((status, serde_json::from_str::<Product>(&body).unwrap().cents), (StatusCode::OK, 42));
    let (_, headers, body) = service.get("/products/7").await;
    assert_eq!(
        (told(&headers, "x-cache"), serde_json::from_str::<Product>(&body).unwrap().cents),
        ("MISS", 42)
    );
    let (_, headers, body) = service.get("/categories/7").await;
    let summary: Summary = serde_json::from_str(&body).unwrap();
    assert_eq!((told(&headers, "x-cache"), summary.cheapest, summary.versions), ("MISS", 42, 3));
    service.get("/products/17").await;
    let (status, _, body) =
        client.ask(Method::POST, "/categories/7/sale", r#"{"percent": 50}"#).await.unwrap();
    assert_eq!((status, body.matches("version").count()), (StatusCode::OK, 2));
    let (_, headers, body) = service.get("/products/7").await;
    assert_eq!(
        (told(&headers, "x-cache"), serde_json::from_str::<Product>(&body).unwrap().cents),
        ("MISS", 21)
    );
    assert_eq!(told(&service.get("/products/17").await.1, "x-cache"), "MISS");
    assert_eq!(serde_json::from_str::<Summary>(&service.get("/categories/7").await.2).unwrap().versions, 5);

    // what does not exist is cached too, and cannot be written
    assert_eq!(service.get("/products/999").await.0, StatusCode::NOT_FOUND);
    let (status, headers, _) = service.get("/products/999").await;
    assert_eq!((status, told(&headers, "x-cache")), (StatusCode::NOT_FOUND, "HIT"));
    for (method, path, body, wanted) in [
        (Method::PUT, "/products/999", r#"{"cents": 42}"#, StatusCode::NOT_FOUND),
        (Method::PUT, "/products/7", r#"{"cents": -1}"#, StatusCode::UNPROCESSABLE_ENTITY),
        (Method::PUT, "/products/7", "cheap", StatusCode::BAD_REQUEST),
        (Method::PUT, "/products/seven", r#"{"cents": 42}"#, StatusCode::BAD_REQUEST),
        (Method::POST, "/categories/7/sale", r#"{"percent": 101}"#, StatusCode::BAD_REQUEST),
        (Method::DELETE, "/products/7", "", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        assert_eq!(client.ask(method, path, body).await.unwrap().0, wanted, "{path} {body}");
    }

    let (status, headers, text) = service.get("/metrics").await;
    assert_eq!(
        (status, told(&headers, "content-type")),
        (StatusCode::OK, larder_metrics::Scrape::CONTENT_TYPE)
    );
    assert!(text.contains(r#"larder_invalidations_total{cache="product"} 2"#), "{text}");
    service.end().await;
}

#[tokio::test]
async fn requests_that_share_a_load_say_so() {
    let service = start(20, Duration::from_secs(1)).await;
    let (one, two) = tokio::join!(service.get("/products/7"), service.get("/products/7"));
    let statuses = [told(&one.1, "cache-status"), told(&two.1, "cache-status")];
    assert_eq!(statuses.iter().filter(|status| status.contains("; stored")).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| status.contains("; collapsed")).count(), 1, "{statuses:?}");
    assert_eq!(service.app.products.stats().loads, 1);
    service.end().await;
}

#[tokio::test]
async fn stopping_drops_no_request_and_ends_the_cache() {
    let service = start(20, Duration::from_secs(1)).await;
    let client = Client::new(service.address);
    let asked = tokio::spawn(async move { client.ask(Method::GET, "/products/7", "").await });
    while service.app.products.cache().in_flight() == 0 && !asked.is_finished() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let (app, address) = (service.app.clone(), service.address);
    service.end().await;
    assert_eq!(asked.await.unwrap().unwrap().0, StatusCode::OK, "what was under way when it stopped");
    assert!(TcpStream::connect(address).await.is_err(), "it takes no connection any more");
    assert_eq!(app.products.get(&8).await.unwrap_err().kind(), larder::ErrorKind::Closed);
    assert_eq!((app.products.cache().in_flight(), app.products.cache().unacknowledged()), (0, 0));
}

#[test]
fn the_example_tests_itself_and_ends() {
    let output = Command::new(env!("CARGO_BIN_EXE_larder-web-example")).arg("--self-test").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains(" 0 stale reads") && text.contains("the caches are closed"), "{text}");
    let options = ["--port", "0", "--seconds", "1", "--busy"];
    let busy = Command::new(env!("CARGO_BIN_EXE_larder-web-example")).args(options).output().unwrap();
    assert!(busy.status.success(), "{}", String::from_utf8_lossy(&busy.stderr));
}
