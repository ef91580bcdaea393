//! Tests of the exact number of round trips that operations take, counted at the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use larder::backend::{BackendContext, Entry, IntoBackend as _, Payload};
use larder::clock::{Clock as _, SystemClock};
use larder::codec::Json;
use larder::key::StoreKey;
use larder::{Cache, CacheBackend as _, Strategy, Tag, source_fn};
use larder_testkit::servers::RedisServer;

use crate::client::{Client, Command, Failure, Hearer, Listener, Messages, Reply, Runner};
use crate::config::{Pushes, RedisConfig};
use crate::handle::RedisBackend;

/// Counts the round trips to the server, and their commands.
#[derive(Debug)]
struct Counting {
    client: Arc<dyn Client>,
    trips: AtomicUsize,
    commands: AtomicUsize,
}

#[async_trait]
impl Runner for Counting {
    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        self.trips.fetch_add(1, SeqCst);
        self.commands.fetch_add(commands.len(), SeqCst);
        self.client.run(commands).await
    }
}

#[async_trait]
impl Client for Counting {
    fn is_cluster(&self) -> bool {
        self.client.is_cluster()
    }
    async fn subscribe(&self, channel: &str) -> Result<(), Failure> {
        self.client.subscribe(channel).await
    }
    async fn unsubscribe(&self, channel: &str) -> Result<(), Failure> {
        self.client.unsubscribe(channel).await
    }
    async fn listen(&self, hearer: Hearer) -> Result<Arc<dyn Listener>, Failure> {
        self.client.listen(hearer).await
    }
    fn messages(&self) -> &Messages {
        self.client.messages()
    }
}

impl Counting {
    /// Returns the round trips and commands of an operation.
    async fn of<T>(&self, operation: impl Future<Output = T>) -> (usize, usize) {
        let before = (self.trips.load(SeqCst), self.commands.load(SeqCst));
        operation.await;
        (self.trips.load(SeqCst) - before.0, self.commands.load(SeqCst) - before.1)
    }
}

async fn counted(server: &RedisServer) -> (Arc<Counting>, RedisBackend) {
    let redis = RedisConfig::new(server.url()).connect().await.unwrap();
    let client = Arc::clone(&redis.server.client);
    let counting = Arc::new(Counting { client, trips: AtomicUsize::new(0), commands: AtomicUsize::new(0) });
    (Arc::clone(&counting), RedisBackend::over(counting, Pushes::Tracking))
}

fn cache(redis: &RedisBackend) -> Cache<u64, u64> {
    cache_with(redis, Strategy::aside(Duration::from_secs(60)))
}

fn cache_with(redis: &RedisBackend, strategy: Strategy<u64>) -> Cache<u64, u64> {
    Cache::builder()
        .namespace("trips")
        .backend(redis.encoded(Json))
        .source(source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(key)) }))
        .strategy(strategy)
        .build()
        .unwrap()
}

#[tokio::test]
async fn a_hit_takes_one_a_miss_three_a_batch_one() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (count, redis) = counted(&server).await;
    let cache = cache(&redis);
    cache.get(&0).await.unwrap(); // makes the ledger, teaches the scripts and the clock

    assert_eq!(count.of(cache.get(&1)).await.0, 3, "a miss: read, announcement, fill");
    assert_eq!(count.of(cache.get(&1)).await, (1, 1), "a hit");
    let keys: Vec<u64> = (0..100).collect();
    cache.get_many(&keys).await.unwrap();
    assert_eq!(count.of(cache.get_many(&keys)).await, (1, 1), "a batch of 100 hits");
    assert_eq!(count.of(cache.invalidate(&1)).await, (1, 1), "an invalidation");
    assert_eq!(count.of(cache.invalidate_many(&keys)).await, (1, 1), "100 of them");
    cache.clear().await.unwrap();
    assert_eq!(count.of(cache.clear()).await, (1, 1), "a clear");
}

/// Tags cost a round trip only after an invalidation, and once for each state of the ledger.
#[tokio::test]
async fn a_tagged_hit_takes_one_until_something_is_invalidated() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (count, redis) = counted(&server).await;
    let tag = |key: &u64| Tag::new("last digit", key % 10);
    let strategy =
        Strategy::aside(Duration::from_secs(60)).tagged(move |key| [tag(key), Tag::new("all", "of them")]);
    let cache = cache_with(&redis, strategy);
    cache.get(&0).await.unwrap();
    cache.invalidate_tag(&tag(&9)).await.unwrap();

    assert_eq!(count.of(cache.get(&1)).await.0, 3, "a miss as without tags");
    assert_eq!(count.of(cache.get(&1)).await, (1, 1), "a hit too");
    let keys: Vec<u64> = (0..100).collect();
    cache.get_many(&keys).await.unwrap();
    assert_eq!(count.of(cache.get_many(&keys)).await, (1, 1));
    assert_eq!(count.of(cache.invalidate_tag(&tag(&7))).await, (1, 1), "an invalidation");
    assert_eq!(count.of(cache.get(&1)).await, (2, 2), "its tags are looked up");
    assert_eq!(count.of(cache.get(&1)).await, (1, 1), "once");
    assert_eq!(count.of(cache.get(&11)).await, (1, 1), "also for others that carry them");
    let others: Vec<u64> = (0..100).filter(|key| key % 10 != 7).collect();
    assert_eq!(count.of(cache.get_many(&others)).await, (2, 2), "all tags of a batch together");
    assert_eq!(count.of(cache.get_many(&others)).await, (1, 1));
    let ended = "what a tag has ended: read, tags, an announcement that finds it, one despite it, fill";
    assert_eq!(count.of(cache.get(&17)).await.0, 5, "{ended}");
}

#[tokio::test]
async fn reads_at_the_same_time_are_one_command() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (count, redis) = counted(&server).await;
    let cache = cache(&redis);
    let keys: Vec<u64> = (0..200).collect();
    cache.get_many(&keys).await.unwrap();
    let together = futures_util::future::join_all(keys.iter().map(|key| cache.get(key)));
    assert_eq!(count.of(together).await, (1, 1));
    let read = async |key: u64| assert_eq!(cache.get(&key).await.unwrap().as_deref(), Some(&key));
    // more keys than one command takes, some of them several times
    let many = (0..600).map(|number| read(number % 200));
    assert_eq!(count.of(futures_util::future::join_all(many)).await, (3, 3));
}

/// If the leader of a batch is dropped, its followers are still answered.
#[tokio::test]
async fn a_leader_that_gives_up_strands_nobody() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (count, redis) = counted(&server).await;
    let cache = cache(&redis);
    cache.get_many(&[1, 2]).await.unwrap();
    let mut leader = Box::pin(cache.get(&1));
    assert!(leader.as_mut().now_or_never().is_none());
    let follower = async {
        let mut follower = Box::pin(cache.get(&2));
        assert!(follower.as_mut().now_or_never().is_none());
        drop(leader);
        assert_eq!(follower.await.unwrap().as_deref(), Some(&2));
    };
    assert_eq!(count.of(follower).await, (1, 1));
}

/// If the server forgets its scripts, they are sent once more, and nothing is executed twice.
#[tokio::test]
async fn forgotten_scripts_cost_one_more() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (count, redis) = counted(&server).await;
    let cache = cache(&redis);
    cache.get(&0).await.unwrap();
    server.command(&["SCRIPT", "FLUSH"]);
    assert_eq!(count.of(cache.get(&1)).await.0, 5, "announcement and fill are spelled out once");
    assert_eq!(count.of(cache.get(&2)).await.0, 3);
    assert_eq!(count.of(cache.get(&1)).await.0, 1, "and it was stored");
}

/// The expiry of entries follows the server's time: a process with another clock agrees.
#[tokio::test]
async fn processes_with_different_clocks_agree_on_an_entrys_life() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (_, redis) = counted(&server).await;
    let open = || redis.clone().into_backend(&BackendContext::new("clocks").unwrap()).unwrap();
    let (one, other) = (open(), open());
    let clock = SystemClock::new();
    let key = StoreKey::new(&7u64);
    let value = Payload::new(larder::codec::CodecId::JSON, "7");
    let now = clock.now();
    one.put(&key, Entry::new(Some(value.into()), now, Duration::from_secs(5)), now).await.unwrap();
    // ten minutes ahead
    let ahead = || clock.now().saturating_add(Duration::from_secs(600));
    server_forgets_clock(&redis);
    let entry = other.get(&key, ahead()).await.unwrap().expect("alive for the server, so for everybody");
    let left = entry.remaining(ahead());
    assert!(left > Duration::from_secs(3) && left <= Duration::from_secs(5), "{left:?}");
}

fn server_forgets_clock(redis: &RedisBackend) {
    redis.server.clocks.forget();
}

/// The future of a hit is allocated and moved, so parts that few hits need are boxed. Twice the size cost a fifth
/// of the throughput at 64 tasks, and a third at 256.
#[tokio::test]
async fn futures_of_a_hit_are_small() {
    let Some(server) = RedisServer::start(&[]) else { return };
    let (_, redis) = counted(&server).await;
    let scope = BackendContext::new("sizes").unwrap();
    let now = SystemClock::new().now();
    let store = redis.clone().into_backend(&scope).unwrap();
    let key = StoreKey::new(&7u64);
    let size = size_of_val(&store.get(&key, now));
    assert!(size <= 320, "{size} bytes");
    let typed = larder::backend::IntoBackend::<u64, u64>::into_backend(redis.encoded(Json), &scope).unwrap();
    let size = size_of_val(&typed.get(&7u64, now));
    assert!(size <= 400, "{size} bytes");
}
