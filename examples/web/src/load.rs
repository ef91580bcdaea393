//! A load of readers and writers over HTTP that knows what a read may not be older than.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::Value;

const CATEGORIES: i64 = 10;

/// The error of a request.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A client of the service; clones share its connections.
#[derive(Debug, Clone)]
pub struct Client {
    hyper: Hyper<HttpConnector, Body>,
    address: SocketAddr,
}

impl Client {
    /// A client of the service at `address`.
    #[must_use]
    pub fn new(address: SocketAddr) -> Self {
        let hyper = Hyper::builder(TokioExecutor::new()).build_http();
        Self { hyper, address }
    }

    /// The answer to a request: its status, headers and body.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: &str,
    ) -> Result<(StatusCode, HeaderMap, String), BoxError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://{}{path}", self.address))
            .header(header::CONTENT_TYPE, "application/json")
            .body(Body::from(body.to_owned()))?;
        let answer = self.hyper.request(request).await?;
        let (head, body) = answer.into_parts();
        let body = body.collect().await?.to_bytes();
        Ok((head.status, head.headers, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// The amount of load.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// The number of products that are read and written.
    pub products: i64,
    /// The number of tasks that read; one read in ten is of a category.
    pub readers: u64,
    /// The number of tasks that write; one write in ten is of a whole category.
    pub writers: u64,
    /// For how long; on a machine that is busy up to ten times as long, until there were `least_reads`.
    pub time: Duration,
    /// The minimum number of reads.
    pub least_reads: u64,
    /// The maximum number of reads, of all readers together.
    pub most_reads: u64,
}

/// The result of a load.
#[derive(Debug, Default)]
pub struct Report {
    /// Reads that were answered.
    pub reads: AtomicU64,
    /// Reads that the cache answered.
    pub hits: AtomicU64,
    /// Writes that were acknowledged.
    pub writes: AtomicU64,
    /// Reads older than a write that had been acknowledged before they began.
    pub stale: AtomicU64,
}

/// Puts the service under load. Each reader notes, before it asks, the version that the last acknowledged write left; an answer below
/// it is stale.
///
/// # Errors
/// The first request that failed.
pub async fn run(address: SocketAddr, load: Load) -> Result<Report, BoxError> {
    let shared = std::sync::Arc::new(Shared {
        client: Client::new(address),
        load,
        floors: (0..=load.products).map(|_| AtomicI64::new(1)).collect(),
        report: Report::default(),
        began: Instant::now(),
    });
    let mut tasks = tokio::task::JoinSet::new();
    for reader in 0..load.readers {
        let shared = std::sync::Arc::clone(&shared);
        tasks.spawn(async move { shared.read(SmallRng::seed_from_u64(reader)).await });
    }
    for writer in 0..load.writers {
        let shared = std::sync::Arc::clone(&shared);
        tasks.spawn(async move { shared.write(SmallRng::seed_from_u64(1_000 + writer)).await });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    let shared = std::sync::Arc::into_inner(shared).ok_or("a task is still running")?;
    Ok(shared.report)
}

struct Shared {
    client: Client,
    load: Load,
    /// By product: what no read that begins now may be older than.
    floors: Vec<AtomicI64>,
    report: Report,
    began: Instant,
}

impl Shared {
    fn goes_on(&self) -> bool {
        let (passed, reads) = (self.began.elapsed(), self.report.reads.load(Ordering::Relaxed));
        let is_early = passed < self.load.time;
        let is_little = reads < self.load.least_reads && passed / 10 < self.load.time;
        reads < self.load.most_reads && (is_early || is_little)
    }

    /// Some products far more often than others.
    fn product(&self, random: &mut SmallRng) -> i64 {
        let skewed = random.random::<f64>().powi(3);
        1 + (skewed * self.load.products as f64) as i64 % self.load.products
    }

    async fn read(&self, mut random: SmallRng) -> Result<(), BoxError> {
        while self.goes_on() {
            if random.random_ratio(1, 10) {
                let category = random.random_range(0..CATEGORIES);
                // what is committed is at least what was acknowledged, product by product
                let floor = (0..=self.load.products)
                    .filter(|id| *id > 0 && id % CATEGORIES == category)
                    .map(|id| self.floors[id as usize].load(Ordering::SeqCst))
                    .sum();
                self.check(&format!("/categories/{category}"), "versions", floor).await?;
            } else {
                let id = self.product(&mut random);
                let floor = self.floors[id as usize].load(Ordering::SeqCst);
                self.check(&format!("/products/{id}"), "version", floor).await?;
            }
        }
        Ok(())
    }

    /// Reads, and counts what is older than it may be.
    async fn check(&self, path: &str, name: &str, floor: i64) -> Result<(), BoxError> {
        let (status, headers, body) = self.client.ask(Method::GET, path, "").await?;
        let found = expect(StatusCode::OK, status, &body)?;
        let version = found[name].as_i64().ok_or("an answer without version")?;
        let hit = headers.get("x-cache").is_some_and(|told| told == "HIT");
        self.report.reads.fetch_add(1, Ordering::Relaxed);
        self.report.hits.fetch_add(u64::from(hit), Ordering::Relaxed);
        self.report.stale.fetch_add(u64::from(version < floor), Ordering::Relaxed);
        Ok(())
    }

    async fn write(&self, mut random: SmallRng) -> Result<(), BoxError> {
        while self.goes_on() {
            if random.random_ratio(1, 10) {
                let path = format!("/categories/{}/sale", random.random_range(0..CATEGORIES));
                let (status, _, body) = self.client.ask(Method::POST, &path, r#"{"percent": 1}"#).await?;
                let sale = expect(StatusCode::OK, status, &body)?;
                for written in sale["written"].as_array().ok_or("a sale of nothing")? {
                    self.acknowledge(written)?;
                }
            } else {
                let path = format!("/products/{}", self.product(&mut random));
                let price = format!(r#"{{"cents": {}}}"#, random.random_range(100..1_000));
                let (status, _, body) = self.client.ask(Method::PUT, &path, &price).await?;
                self.acknowledge(&expect(StatusCode::OK, status, &body)?)?;
            }
            self.report.writes.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    fn acknowledge(&self, written: &Value) -> Result<(), BoxError> {
        let number = |name: &str| written[name].as_i64().ok_or("a product without number");
        let (id, version) = (number("id")?, number("version")?);
        if let Some(floor) = usize::try_from(id).ok().and_then(|id| self.floors.get(id)) {
            floor.fetch_max(version, Ordering::SeqCst);
        }
        Ok(())
    }
}

fn expect(wanted: StatusCode, status: StatusCode, body: &str) -> Result<Value, BoxError> {
    if status != wanted {
        return Err(format!("answered {status}: {body}").into());
    }
    Ok(serde_json::from_str(body)?)
}
