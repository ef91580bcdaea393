//! A client library that sends an announcement once more after a lost connection, while the first copy is still on its way:
//! what was invalidated meanwhile stays invalidated.
//!
//! The way is client, proxy, server. Once it is armed, the proxy keeps the first bytes that hold the digest of `begin.lua`,
//! resets the client's connection, and delivers what it kept some time later, as a load balancer may.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use common::or_skip;
use larder::codec::Json;
use larder::{Cache, Strategy, source_fn};
use larder_redis::{RedisBackend, RedisConfig};
use larder_testkit::servers::{RedisServer, free_port};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The delay of the first copy.
const LATE: Duration = Duration::from_millis(1_000);
/// The duration of the load of the old value: it ends after the first copy has arrived.
const LOAD: Duration = Duration::from_millis(1_700);

#[derive(Debug, Default)]
struct Trap {
    armed: AtomicBool,
    kept: AtomicU64,
    delivered: AtomicU64,
}

async fn proxy(port: u16, own: u16) -> Arc<Trap> {
    let trap = Arc::new(Trap::default());
    let digest = sha1_smol::Sha1::from(include_str!("../src/scripts/begin.lua")).digest().to_string();
    let listener = TcpListener::bind(("127.0.0.1", own)).await.expect("a free port");
    let (shared, digest) = (Arc::clone(&trap), Arc::<str>::from(digest));
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            tokio::spawn(pass(near, port, Arc::clone(&digest), Arc::clone(&shared)));
        }
    });
    trap
}

async fn pass(near: TcpStream, port: u16, digest: Arc<str>, trap: Arc<Trap>) {
    let far = TcpStream::connect(("127.0.0.1", port)).await.expect("the server is there");
    let ((mut near_in, mut near_out), (mut far_in, mut far_out)) = (near.into_split(), far.into_split());
    let answers = tokio::spawn(async move { tokio::io::copy(&mut far_in, &mut near_out).await });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = near_in.read(&mut buffer).await {
        let sent = &buffer[..read];
        let holds_it = || sent.windows(digest.len()).any(|part| part == digest.as_bytes());
        if holds_it() && trap.armed.swap(false, SeqCst) {
            trap.kept.fetch_add(1, SeqCst);
            answers.abort();
            drop(near_in);
            _ = answers.await;
            tokio::time::sleep(LATE).await;
            far_out.write_all(sent).await.expect("the server is there");
            trap.delivered.fetch_add(1, SeqCst);
            // executed before the connection ends
            tokio::time::sleep(LOAD).await;
            return;
        }
        if far_out.write_all(sent).await.is_err() {
            return;
        }
    }
}

fn cache(redis: &RedisBackend, version: &Arc<AtomicU64>) -> Cache<u64, u64> {
    let version = Arc::clone(version);
    Cache::builder()
        .namespace("resent")
        .backend(redis.encoded(Json))
        .source(source_fn(move |_: u64| {
            let version = version.load(SeqCst);
            async move {
                if version == 1 {
                    tokio::time::sleep(LOAD).await;
                }
                Ok::<_, std::io::Error>(Some(version))
            }
        }))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
        .expect("a sound configuration")
}

/// A server that tells clients to come by way of a proxy at `own`.
async fn cluster_behind(own: u16) -> Option<RedisServer> {
    let (announced, bus) = (own.to_string(), free_port().to_string());
    let server = RedisServer::start(&[
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        &bus,
        "--cluster-announce-ip",
        "127.0.0.1",
        "--cluster-announce-port",
        &announced,
    ])?;
    server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    while !server.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok") {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Some(server)
}

async fn stays_invalidated(is_cluster: bool, connect: impl AsyncFn(&str) -> RedisBackend) {
    let own = free_port();
    let server = match is_cluster {
        true => or_skip!(cluster_behind(own).await),
        false => or_skip!(RedisServer::start(&[])),
    };
    let trap = proxy(server.port(), own).await;
    let url = format!("{}://127.0.0.1:{own}", if is_cluster { "redis-cluster" } else { "redis" });
    let version = Arc::new(AtomicU64::new(7));
    let [reader, other] = [connect(&url).await, connect(&url).await].map(|redis| cache(&redis, &version));
    for key in 10..14 {
        reader.get(&key).await.expect("it loads");
        other.invalidate(&key).await.expect("acknowledged");
    }
    version.store(1, SeqCst);
    trap.armed.store(true, SeqCst);
    let began = Instant::now();
    let slow = tokio::spawn(async move { reader.get_entry(&2).await });
    tokio::time::sleep(LATE / 2).await;
    assert_eq!((trap.kept.load(SeqCst), trap.delivered.load(SeqCst)), (1, 0), "the first copy is on its way");
    version.store(2, SeqCst);
    other.invalidate(&2).await.expect("acknowledged");
    assert!(began.elapsed() < LATE, "the machine is too slow for this test");
    let loaded = slow.await.expect("no panic").expect("it loads");
    assert_eq!(loaded.value.as_deref(), Some(&1), "the load overlapped the write");
    assert_eq!(trap.delivered.load(SeqCst), 1, "the first copy has arrived");
    let read = other.get_entry(&2).await.expect("it loads");
    assert_eq!(read.value.as_deref(), Some(&2), "{:?} after an acknowledged invalidation", read.origin);
}

#[cfg(feature = "redis-rs")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_redis_rs_to_a_cluster() {
    let connect = async |url: &str| RedisConfig::new(url).connect().await.expect("it is there");
    stays_invalidated(true, connect).await;
}

#[cfg(feature = "fred")]
async fn users_own_fred(url: &str) -> RedisBackend {
    use larder_redis::fred::prelude::*;
    use larder_redis::fred::types::RespVersion;
    let mut config = Config::from_url(url).expect("a URL");
    config.version = RespVersion::RESP3;
    let policy = ReconnectPolicy::new_constant(0, 20);
    let client = Builder::from_config(config).set_policy(policy).build().expect("a client");
    client.init().await.expect("it is there");
    RedisConfig::from(client).connect().await.expect("it is there")
}

#[cfg(feature = "fred")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_the_users_own_fred() {
    stays_invalidated(false, users_own_fred).await;
}

#[cfg(feature = "fred")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_the_users_own_fred_to_a_cluster() {
    stays_invalidated(true, users_own_fred).await;
}
