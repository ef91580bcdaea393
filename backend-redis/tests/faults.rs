//! Faults of a server while several processes read and write: nothing older than the last acknowledged
//! invalidation is ever read, no read fails, and service resumes by itself.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use common::proxy::Proxy;
use common::storm::Storm;
use common::{LIBRARIES, Library, namespace, or_skip};
use larder::cache::Origin;
use larder::codec::Json;
use larder::{Cache, Strategy, Tag, source_fn};
use larder_redis::RedisBackend;
use larder_testkit::servers::{RedisCluster, RedisSentinels, RedisServer};
use tokio::sync::Semaphore;

const COMMAND: Duration = Duration::from_millis(300);

async fn handles(library: Library, url: &str) -> [RedisBackend; 3] {
    let connect = async || library.config(url).command_timeout(COMMAND).connect().await.expect("it starts");
    [connect().await, connect().await, connect().await]
}

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// One fault on one server, with each client.
macro_rules! faults {
    ($($name:ident($server:ident; $($option:literal)*; $handle:expr) $fault:block)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            for &library in LIBRARIES {
                println!("with {library:?}");
                let $server = or_skip!(RedisServer::start(&[$($option),*]));
                let handle: fn(RedisBackend) -> RedisBackend = $handle;
                let storm = Storm::new(&handles(library, &$server.url()).await.map(handle));
                storm.rage(async $fault).await;
                storm.passes().await;
            }
        }
    )*};
}

faults! {
    killed_and_started_again_empty(server; ; |redis| redis) {
        server.kill();
        pause(400).await;
        server.start_again();
    }

    killed_and_started_again_with_an_old_snapshot(server; "--dbfilename" "old.rdb"; RedisBackend::strict) {
        assert_eq!(server.command(&["SAVE"]), "OK");
        pause(300).await;
        server.kill();
        pause(200).await;
        server.start_again();
    }

    frozen_for_a_while(server; ; |redis| redis) {
        server.freeze();
        pause(1_000).await;
        server.thaw();
    }

    clients_killed(server; ; |redis| redis) {
        for _ in 0..10 {
            server.command(&["CLIENT", "KILL", "TYPE", "normal"]);
            server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
            pause(50).await;
        }
    }

    clients_paused(server; ; |redis| redis) {
        server.command(&["CLIENT", "PAUSE", "700", "ALL"]);
        pause(1_000).await;
        server.command(&["CLIENT", "PAUSE", "500", "WRITE"]);
        pause(700).await;
    }

    scripts_flushed(server; ; |redis| redis) {
        for _ in 0..20 {
            server.command(&["SCRIPT", "FLUSH"]);
            pause(20).await;
        }
    }

    everything_flushed(server; ; |redis| redis) {
        for _ in 0..20 {
            server.command(&["FLUSHALL"]);
            pause(20).await;
        }
    }

    evicting_at_every_step(server; "--maxmemory-policy" "allkeys-lru" "--maxmemory-samples" "1"; |redis| redis) {
        // 1 MB is less than an idle server uses: whatever is stored is evicted before the next write, or that is refused
        server.command(&["CONFIG", "SET", "maxmemory", "1mb"]);
        pause(1_500).await;
        server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    }
}

/// A black hole: bytes go in, nothing comes out, and no peer sees an error.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_black_hole_costs_a_timeout_and_then_nothing() {
    for &library in LIBRARIES {
        println!("with {library:?}");
        let server = or_skip!(RedisServer::start(&[]));
        let proxy = Proxy::to(server.port()).await;
        let storm = Storm::new(&handles(library, &proxy.url()).await);
        let shop = storm
            .rage(async {
                proxy.swallow(true);
                pause(1_200).await;
                proxy.swallow(false);
            })
            .await;
        let slowest = shop.slowest();
        assert!(slowest < COMMAND * 3, "{library:?}: the slowest read took {slowest:?}");
        storm.passes().await;
        assert!(proxy.connections() < 100, "reconnecting is paced: {}", proxy.connections());
    }
}

/// A replica becomes the primary, without what it had not heard: the strict mode treats all from before as lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_by_sentinels_is_followed() {
    for &library in LIBRARIES {
        println!("with {library:?}");
        let sentinels = or_skip!(RedisSentinels::start());
        let handles = handles(library, &sentinels.url()).await.map(RedisBackend::strict);
        let storm = Storm::new(&handles);
        let [primary, replica] = sentinels.servers();
        storm
            .rage(async {
                primary.kill();
                for _ in 0..200 {
                    if sentinels.primary() == Some(replica.port()) {
                        break;
                    }
                    pause(50).await;
                }
                assert_eq!(sentinels.primary(), Some(replica.port()));
            })
            .await;
        storm.passes().await;
    }
}

/// A replica that never heard of an acknowledged invalidation becomes the primary, with the old value: strict mode does not
/// serve it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promoted_replica_brings_nothing_back() {
    for &library in LIBRARIES {
        let sentinels = or_skip!(RedisSentinels::start());
        let [primary, replica] = sentinels.servers();
        let (space, version) = (namespace(), Arc::new(AtomicU64::new(1)));
        let caches = handles(library, &sentinels.url()).await.map(|redis| {
            let version = Arc::clone(&version);
            Cache::<u64, u64>::builder()
                .namespace(&space)
                .backend(redis.strict().encoded(Json))
                .source(source_fn(move |_| {
                    let version = version.load(SeqCst);
                    async move { Ok::<_, std::io::Error>(Some(version)) }
                }))
                .strategy(Strategy::aside(Duration::from_secs(600)))
                .build()
                .expect("a sound configuration")
        });
        let name = format!("{space}:v:{{7}}");
        assert_eq!(caches[0].get(&7).await.expect("it loads").as_deref(), Some(&1));
        while replica.command(&["EXISTS", &name]) != "1" {
            pause(5).await;
        }
        version.store(2, SeqCst);
        // the replica's link is cut, and it cannot log in again
        for option in ["masteruser", "masterauth"] {
            assert_eq!(replica.command(&["CONFIG", "SET", option, "nobody"]), "OK");
        }
        assert_eq!(primary.command(&["CLIENT", "KILL", "TYPE", "replica"]), "1");
        caches[0].invalidate(&7).await.expect("acknowledged");
        primary.kill();
        for _ in 0..200 {
            if sentinels.primary() == Some(replica.port()) {
                break;
            }
            pause(50).await;
        }
        assert_eq!(replica.command(&["EXISTS", &name]), "1", "the old value is back");
        for cache in &caches {
            for _ in 0..400 {
                let found = cache.get_entry(&7).await.expect("it loads");
                assert_eq!(found.value.as_deref(), Some(&2), "{library:?}");
                if found.origin == Origin::Far {
                    break;
                }
                pause(20).await;
            }
            assert_eq!(cache.get_entry(&7).await.expect("it loads").origin, Origin::Far, "served again");
        }
    }
}

/// One of three primaries dies and its replica is elected.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_in_a_cluster_is_followed() {
    for &library in LIBRARIES {
        println!("with {library:?}");
        let cluster = or_skip!(RedisCluster::start());
        let storm = Storm::new(&handles(library, &cluster.url()).await.map(RedisBackend::strict));
        let [primary, replica] = [&cluster.nodes()[1], &cluster.nodes()[4]];
        storm
            .rage(async {
                primary.kill();
                for _ in 0..200 {
                    if replica.command(&["ROLE"]).starts_with("master") {
                        break;
                    }
                    pause(50).await;
                }
                assert!(replica.command(&["ROLE"]).starts_with("master"));
                pause(500).await;
            })
            .await;
        storm.passes().await;
    }
}

/// A primary stops answering for good, and its connections stay open: its replica is followed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_falls_silent_is_left() {
    for &library in LIBRARIES {
        let cluster = or_skip!(RedisCluster::start());
        let redis = library.config(&cluster.url()).connect().await.expect("it starts");
        let cache = Versions::new().cache(&namespace(), &redis);
        let hits = async || {
            let reads = (0..60).map(|key| {
                let cache = cache.clone();
                tokio::spawn(async move { cache.get_entry(&key).await })
            });
            let mut hits = 0;
            for read in reads.collect::<Vec<_>>() {
                let read = read.await.expect("no panic").expect("it loads");
                hits += usize::from(read.origin == Origin::Far);
            }
            hits
        };
        hits().await;
        assert_eq!(hits().await, 60);
        let silent = &cluster.nodes()[1];
        silent.freeze();
        let began = std::time::Instant::now();
        let mut seen = vec![];
        while seen.last() != Some(&60) {
            assert!(began.elapsed() < Duration::from_secs(60), "{library:?}: hits of 60: {seen:?}");
            seen.push(hits().await);
            pause(100).await;
        }
        println!("{library:?} is served again after {:?}: hits of 60: {seen:?}", began.elapsed());
        silent.thaw();
    }
}

/// Accepts connections, and never answers.
fn silent() -> (std::net::TcpListener, String) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address").to_string();
    (listener, address)
}

/// Service begins within this time although one server that was named is silent.
const BEGINS: Duration = Duration::from_secs(6);

async fn is_served(library: Library, url: &str) {
    let began = std::time::Instant::now();
    let redis = library.config(url).connect().await.expect("it starts");
    let cache = Versions::new().cache(&namespace(), &redis);
    while cache.get_entry(&7).await.expect("it loads").origin != Origin::Far {
        assert!(began.elapsed() < BEGINS, "{library:?} is not served: {:?}", cache.stats());
        pause(20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_seed_of_a_cluster_keeps_no_process_out() {
    let cluster = or_skip!(RedisCluster::start());
    let (_listener, silent) = silent();
    let url = cluster.url().replace("://", &format!("://{silent},"));
    for &library in LIBRARIES {
        is_served(library, &url).await;
    }
}

#[cfg(feature = "fred")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_sentinel_keeps_no_process_out() {
    let sentinels = or_skip!(RedisSentinels::start());
    let (_listener, silent) = silent();
    let url = sentinels.url().replace("://", &format!("://{silent},"));
    is_served(Library::Fred, &url).await;
}

/// Slots move from node to node while they are used: `ASK`, `TRYAGAIN` and `MOVED`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slots_that_move_are_followed() {
    for &library in LIBRARIES {
        println!("with {library:?}");
        let cluster = Arc::new(or_skip!(RedisCluster::start()));
        cluster.forbid_failovers();
        let storm = Storm::new(&handles(library, &cluster.url()).await);
        let moving = Arc::clone(&cluster);
        storm
            .rage(async move {
                // the slots of the keys 0, 1, 2, ..
                tokio::task::spawn_blocking(move || {
                    (0..24).for_each(|key| move_slot(&moving, &key.to_string()));
                })
                .await
                .expect("the slots move");
            })
            .await;
        storm.passes().await;
    }
}

/// A source of one version for all keys, whose loads can be held up after they have read it.
#[derive(Debug)]
struct Versions {
    version: AtomicU64,
    holds: AtomicBool,
    gate: Semaphore,
}

impl Versions {
    fn new() -> Arc<Self> {
        Arc::new(Self { version: AtomicU64::new(1), holds: AtomicBool::new(false), gate: Semaphore::new(0) })
    }

    async fn load(self: Arc<Self>) -> std::io::Result<Option<u64>> {
        let version = self.version.load(SeqCst);
        if self.holds.load(SeqCst) {
            self.gate.acquire().await.expect("it is never closed").forget();
        }
        Ok(Some(version))
    }

    fn cache(self: &Arc<Self>, namespace: &str, redis: &RedisBackend) -> Cache<u64, u64> {
        let versions = Arc::clone(self);
        Cache::builder()
            .namespace(namespace)
            .backend(redis.encoded(Json))
            .source(source_fn(move |_| Arc::clone(&versions).load()))
            .strategy(Strategy::aside(Duration::from_secs(600)))
            .tag_keys(|_| [bread()])
            .build()
            .expect("a sound configuration")
    }
}

fn bread() -> Tag {
    Tag::new("kind", "bread")
}

async fn reads(cache: &Cache<u64, u64>, key: u64, version: u64, when: &str) {
    let read = cache.get_entry(&key).await.expect("it loads");
    assert_eq!(read.value.as_deref(), Some(&version), "{:?} {when}", read.origin);
}

/// Waits until all invalidations that failed have been retried.
async fn acknowledged(cache: &Cache<u64, u64>) {
    for _ in 0..400 {
        if cache.unacknowledged() == 0 {
            return;
        }
        pause(20).await;
    }
    panic!("{} invalidations are not acknowledged", cache.unacknowledged());
}

/// One of an entry's two keys has moved, the other has not: an invalidation is acknowledged, and holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_slot_that_half_moved_an_invalidation_holds() {
    for &library in LIBRARIES {
        let cluster = or_skip!(RedisCluster::start());
        cluster.forbid_failovers();
        // which of an entry's keys moves, and whether a load is under way, whose fence stands
        for (key, kind, is_loading) in [(0, "v", true), (1, "v", false), (2, "f", true), (3, "f", false)] {
            let case = format!("with {library:?}, {kind} moved, a load under way: {is_loading}");
            let (space, versions) = (namespace(), Versions::new());
            let [writer, loader, other] =
                handles(library, &cluster.url()).await.map(|redis| versions.cache(&space, &redis));
            writer.get(&key).await.expect("it loads");
            let fence = format!("{space}:f:{{{key}}}");
            let slow = is_loading.then(|| {
                versions.holds.store(true, SeqCst);
                tokio::spawn(async move { loader.refresh(&key).await })
            });
            while is_loading && owner(&cluster, &key.to_string()).1.command(&["EXISTS", &fence]) != "1" {
                pause(5).await;
            }
            pause(20).await;
            versions.holds.store(false, SeqCst);

            let moving = Moving::begin(&cluster, &key.to_string());
            moving.moves(&cluster, &format!("{space}:{kind}:{{{key}}}"));
            versions.version.store(2, SeqCst);
            writer.invalidate(&key).await.unwrap_or_else(|error| panic!("{error:?} {case}"));
            reads(&other, key, 2, &case).await;
            versions.gate.add_permits(1);
            if let Some(slow) = slow {
                slow.await.expect("no panic").expect("it loads");
            }
            reads(&other, key, 2, &case).await;
            moving.end(&cluster);
            reads(&other, key, 2, &case).await;
        }
    }
}

/// A command on several keys fails in a slot that half moved, is not acknowledged, and is retried.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_slot_that_half_moved_what_fails_is_not_acknowledged() {
    for &library in LIBRARIES {
        let cluster = or_skip!(RedisCluster::start());
        cluster.forbid_failovers();
        let (space, versions) = (namespace(), Versions::new());
        let [writer, other, reader] =
            handles(library, &cluster.url()).await.map(|redis| versions.cache(&space, &redis));
        let life = Duration::from_secs(60);

        // an entry's value is there, and nothing else of it
        reader.get(&7).await.expect("it loads");
        let moving = Moving::begin(&cluster, "7");
        assert!(writer.write_guard(&[7], life).await.is_err(), "a guard with {library:?}");
        moving.end(&cluster);
        let guard = writer.write_guard(&[7], life).await.expect("the slot has moved");
        let moving = Moving::begin(&cluster, "7");
        versions.version.store(2, SeqCst);
        assert!(guard.finish().await.is_err(), "the end of a guard with {library:?}");
        reads(&reader, 7, 2, "the guard stands").await;
        moving.end(&cluster);
        acknowledged(&writer).await;
        reads(&reader, 7, 2, "the guard has ended").await;

        // the ledger's head moves, its tags do not
        writer.invalidate_tag(&bread()).await.expect("acknowledged");
        reads(&reader, 7, 2, "after a tag").await;
        let moving = Moving::begin(&cluster, &space);
        moving.moves(&cluster, &format!("{space}:l:{{{space}}}"));
        versions.version.store(3, SeqCst);
        assert!(writer.invalidate_tag(&bread()).await.is_err(), "a tag with {library:?}");
        assert!(other.clear().await.is_err(), "a clear with {library:?}");
        moving.end(&cluster);
        acknowledged(&writer).await;
        acknowledged(&other).await;
        reads(&reader, 7, 3, "after a tag and a clear").await;
    }
}

/// A slot on its way from one primary to the next.
struct Moving {
    slot: String,
    from: usize,
}

impl Moving {
    fn begin(cluster: &RedisCluster, key: &str) -> Self {
        let slot = cluster.nodes()[0].command(&["CLUSTER", "KEYSLOT", key]);
        let moving = Self { slot, from: owner(cluster, key).0 };
        let [from_id, to_id] = moving.ids(cluster);
        let (from, to) = (moving.from(cluster), moving.to(cluster));
        assert_eq!(to.command(&["CLUSTER", "SETSLOT", &moving.slot, "IMPORTING", &from_id]), "OK");
        assert_eq!(from.command(&["CLUSTER", "SETSLOT", &moving.slot, "MIGRATING", &to_id]), "OK");
        moving
    }

    fn from<'a>(&self, cluster: &'a RedisCluster) -> &'a RedisServer {
        &cluster.nodes()[self.from]
    }

    fn to<'a>(&self, cluster: &'a RedisCluster) -> &'a RedisServer {
        &cluster.nodes()[(self.from + 1) % 3]
    }

    fn ids(&self, cluster: &RedisCluster) -> [String; 2] {
        [self.from(cluster), self.to(cluster)].map(|node| node.command(&["CLUSTER", "MYID"]))
    }

    /// One key moves.
    fn moves(&self, cluster: &RedisCluster, key: &str) {
        let port = self.to(cluster).port().to_string();
        let command = ["MIGRATE", "127.0.0.1", &port, key, "0", "1000", "REPLACE"];
        self.from(cluster).command(&command);
    }

    /// All that is left moves, and the slot with it.
    fn end(self, cluster: &RedisCluster) {
        loop {
            let keys = self.from(cluster).command(&["CLUSTER", "GETKEYSINSLOT", &self.slot, "10"]);
            let Some(key) = keys.lines().next() else { break };
            // one at a time, so that the two keys of an entry are apart for a moment
            self.moves(cluster, key);
            std::thread::sleep(Duration::from_millis(5));
        }
        let [_, to_id] = self.ids(cluster);
        for node in &cluster.nodes()[..3] {
            node.command(&["CLUSTER", "SETSLOT", &self.slot, "NODE", &to_id]);
        }
    }
}

/// The primary that has the slot of a key.
fn owner<'a>(cluster: &'a RedisCluster, key: &str) -> (usize, &'a RedisServer) {
    let nodes = &cluster.nodes()[..3];
    let slot = nodes[0].command(&["CLUSTER", "KEYSLOT", key]);
    let owner = nodes.iter().position(|node| {
        let told = node.command(&["CLUSTER", "NODES"]);
        told.lines().any(|line| line.contains("myself") && owns(line, &slot))
    });
    let owner = owner.expect("a primary has the slot");
    (owner, &nodes[owner])
}

/// Gives the slot of a key to the next primary.
fn move_slot(cluster: &RedisCluster, key: &str) {
    let moving = Moving::begin(cluster, key);
    std::thread::sleep(Duration::from_millis(10));
    moving.end(cluster);
}

/// Returns `true` if a line of `CLUSTER NODES` has a slot among its ranges.
fn owns(line: &str, slot: &str) -> bool {
    let slot: u16 = slot.parse().expect("a number");
    line.split(' ')
        .skip(8)
        .filter_map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
        })
        .any(|range| range.contains(&slot))
}
