//! Each kind of key is evicted alone, or none is and the server is full: no promise breaks, and service goes on.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use common::{LIBRARIES, namespace, or_skip};
use larder::cache::Origin;
use larder::codec::Json;
use larder::tag::{Pruned, TagLedger};
use larder::{Cache, Quick, Strategy, Tag, Tiered, source_fn};
use larder_redis::{Pushes, RedisBackend};
use larder_testkit::servers::RedisServer;
use tokio::sync::Semaphore;

/// Two processes on a server, and the row that both cache.
struct World {
    server: RedisServer,
    caches: [Cache<u64, u64>; 2],
    space: String,
    row: Arc<Row>,
}

#[derive(Debug)]
struct Row {
    version: AtomicU64,
    holds: AtomicBool,
    gate: Semaphore,
}

impl Row {
    async fn load(self: Arc<Self>) -> std::io::Result<Option<u64>> {
        let version = self.version.load(SeqCst);
        if self.holds.load(SeqCst) {
            self.gate.acquire().await.expect("it is never closed").forget();
        }
        Ok(Some(version))
    }
}

fn bread() -> Tag {
    Tag::new("kind", "bread")
}

impl World {
    /// A world for each library; `None` if there is no server.
    async fn each() -> Option<Vec<Self>> {
        Self::each_told(Pushes::Tracking).await
    }

    /// The same, where changes are told in this way.
    async fn each_told(pushes: Pushes) -> Option<Vec<Self>> {
        let mut worlds = vec![];
        for &library in LIBRARIES {
            let server = RedisServer::start(&["--maxmemory-policy", "noeviction"])?;
            let (holds, gate) = (AtomicBool::new(false), Semaphore::new(0));
            let row = Arc::new(Row { version: AtomicU64::new(1), holds, gate });
            let (space, url) = (namespace(), server.url());
            let connect = async || library.config(&url).pushes(pushes).connect().await.expect("it is there");
            let caches = [connect().await, connect().await].map(|redis| cache(&space, &redis, &row));
            worlds.push(Self { server, caches, space, row });
        }
        Some(worlds)
    }

    fn name(&self, kind: &str) -> String {
        match kind {
            "l" | "t" => format!("{0}:{kind}:{{{0}}}", self.space),
            _ => format!("{}:{kind}:{{7}}", self.space),
        }
    }

    fn evict(&self, kind: &str) {
        assert_eq!(self.server.command(&["UNLINK", &self.name(kind)]), "1", "{kind} was there");
    }

    fn is_there(&self, kind: &str) -> bool {
        self.server.command(&["EXISTS", &self.name(kind)]) == "1"
    }

    /// Lets the server take nothing more, or as much as it likes.
    fn set_full(&self, full: bool) {
        self.server.command(&["CONFIG", "SET", "maxmemory", if full { "1" } else { "0" }]);
        let taken = self.server.command(&["SET", "probe", "1"]);
        assert_eq!(taken.starts_with("-OOM"), full, "{taken}");
    }

    async fn reads(&self, process: usize, version: u64, from: Origin) {
        let read = self.caches[process].get_entry(&7).await.expect("it loads");
        assert_eq!((read.value.as_deref(), read.origin), (Some(&version), from));
    }

    /// Process 0 has stored version 1; version 2 was written, and its tag invalidated.
    async fn with_an_ended_tag(&self) {
        self.reads(0, 1, Origin::Loaded).await;
        self.row.version.store(2, SeqCst);
        self.caches[0].invalidate_tag(&bread()).await.expect("acknowledged");
    }
}

fn cache(space: &str, redis: &RedisBackend, row: &Arc<Row>) -> Cache<u64, u64> {
    let row = Arc::clone(row);
    Cache::builder()
        .namespace(space)
        .backend(redis.encoded(Json))
        .source(source_fn(move |_| Arc::clone(&row).load()))
        .strategy(Strategy::aside(Duration::from_secs(600)))
        .tag_keys(|_| [bread()])
        .build()
        .expect("a sound configuration")
}

#[tokio::test]
async fn a_value_costs_a_load() {
    for world in or_skip!(World::each().await) {
        world.reads(0, 1, Origin::Loaded).await;
        world.evict("v");
        world.reads(1, 1, Origin::Loaded).await;
        world.reads(0, 1, Origin::Far).await;
    }
}

#[tokio::test]
async fn a_fence_costs_a_fill() {
    for world in or_skip!(World::each().await) {
        world.row.holds.store(true, SeqCst);
        let slow = {
            let cache = world.caches[0].clone();
            tokio::spawn(async move { cache.get(&7).await })
        };
        while !world.is_there("f") {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        world.evict("f");
        // nothing is left that this invalidation could end
        world.row.version.store(2, SeqCst);
        world.caches[1].invalidate(&7).await.expect("acknowledged");
        world.row.gate.add_permits(1);
        assert_eq!(slow.await.expect("no panic").expect("it loads").as_deref(), Some(&1));
        assert!(!world.is_there("v"), "the fill is refused");
        world.row.holds.store(false, SeqCst);
        world.reads(1, 2, Origin::Loaded).await;
        world.reads(0, 2, Origin::Far).await;
    }
}

/// A guard that is evicted protects no more, as documented; its end is the invalidation that it always is.
#[tokio::test]
async fn guards_that_are_evicted_end_all_the_same() {
    for world in or_skip!(World::each().await) {
        let guard = world.caches[0].write_guard(&[7], Duration::from_secs(60)).await.expect("announced");
        world.reads(1, 1, Origin::Loaded).await;
        assert!(!world.is_there("v"), "a guard stands");
        world.evict("q");
        world.reads(1, 1, Origin::Loaded).await;
        assert!(world.is_there("v"), "none stands");
        world.row.version.store(2, SeqCst);
        guard.finish().await.expect("acknowledged");
        world.reads(1, 2, Origin::Loaded).await;
        world.reads(0, 2, Origin::Far).await;
    }
}

/// Guards that are never ended leave the server by themselves, the longest last.
#[tokio::test]
async fn guards_live_as_long_as_the_longest() {
    for world in or_skip!(World::each().await) {
        let mut guards = vec![];
        for seconds in [20, 60, 5] {
            let life = Duration::from_secs(seconds);
            guards.push(world.caches[0].write_guard(&[7], life).await.expect("announced"));
        }
        let left: i64 = world.server.command(&["PTTL", &world.name("q")]).parse().expect("a number");
        assert!((50_000..=60_000).contains(&left), "{left} ms are left");
    }
}

#[tokio::test]
async fn a_ledgers_head_ends_its_entries() {
    for world in or_skip!(World::each().await) {
        world.with_an_ended_tag().await;
        world.evict("l");
        world.reads(1, 2, Origin::Loaded).await;
        world.reads(0, 2, Origin::Far).await;
    }
}

/// prevents: a tag that was invalidated looks like one that never was.
#[tokio::test]
async fn a_ledgers_tags_end_its_entries() {
    for world in or_skip!(World::each().await) {
        world.with_an_ended_tag().await;
        world.evict("t");
        world.reads(1, 2, Origin::Loaded).await;
        world.reads(0, 2, Origin::Far).await;
        // also if more was invalidated before the loss is seen
        world.row.version.store(3, SeqCst);
        world.caches[0].invalidate_tag(&bread()).await.expect("acknowledged");
        world.evict("t");
        world.caches[1].invalidate_tag(&Tag::new("kind", "cake")).await.expect("acknowledged");
        world.reads(1, 3, Origin::Loaded).await;
    }
}

/// A full server takes nothing new, but forgets what it is told to.
#[tokio::test]
async fn a_full_server_forgets() {
    for pushes in [Pushes::Tracking, Pushes::PubSub] {
        for world in or_skip!(World::each_told(pushes).await) {
            let [one, _] = &world.caches;
            let mut failed = vec![];
            for version in 1..6 {
                world.row.version.store(version, SeqCst);
                let cake = [Tag::new("kind", "cake")];
                one.invalidate_tags(&cake).await.expect("acknowledged");
                world.reads(0, version, Origin::Loaded).await;
                world.reads(1, version, Origin::Far).await;
                world.set_full(true);
                let next = version + 1;
                world.row.version.store(next, SeqCst);
                let (name, forgotten) = match version {
                    1 => ("invalidate", one.invalidate(&7).await),
                    2 => ("invalidate_tag", one.invalidate_tag(&bread()).await),
                    3 => {
                        world.evict("t");
                        ("invalidate_tag after a loss", one.invalidate_tag(&bread()).await)
                    }
                    4 => ("insert", one.insert(&7, next).await),
                    _ => ("clear", one.clear().await),
                };
                if let Err(error) = forgotten {
                    failed.push(format!("{name}: {error:?}"));
                } else {
                    let read = world.caches[1].get(&7).await.expect("it loads");
                    assert_eq!(read.as_deref(), Some(&next), "{name}");
                }
                world.set_full(false);
                one.clear().await.expect("acknowledged");
            }
            assert!(failed.is_empty(), "{pushes:?}: {failed:#?}");
        }
    }
}

/// prevents: a near tier that no heartbeat confirms while the server is full, so that each read goes far.
#[tokio::test]
async fn a_full_server_confirms_near_tiers() {
    for &library in LIBRARIES {
        let server = or_skip!(RedisServer::start(&["--maxmemory", "1", "--maxmemory-policy", "noeviction"]));
        let redis = library.config(&server.url()).connect().await.expect("it is there");
        let near = Tiered::new(Quick::new(10), redis.encoded(Json)).max_staleness(Duration::from_secs(1));
        let cache: Cache<u64, u64> = Cache::builder()
            .namespace(namespace())
            .backend(near)
            .source(source_fn(|key: u64| async move { Ok::<_, std::io::Error>(Some(key)) }))
            .strategy(Strategy::aside(Duration::from_secs(60)))
            .build()
            .expect("a sound configuration");
        assert_eq!(cache.get(&7).await.expect("it loads").as_deref(), Some(&7));
        let began = std::time::Instant::now();
        while server.command(&["KEYS", "larder:beat:*"]).is_empty() {
            assert!(began.elapsed() < Duration::from_secs(20), "no heartbeat");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// No call of the server looks through all tags at once, and one process does the work of all.
#[tokio::test]
async fn a_large_ledger_is_forgotten_in_pieces() {
    const TAGS: u64 = 20_000;
    for &library in LIBRARIES {
        let server = or_skip!(RedisServer::start(&[]));
        let connect = async || library.config(&server.url()).connect().await.expect("it is there");
        let space = namespace();
        let [one, other] = [connect().await.ledger(&space), connect().await.ledger(&space)];
        let tags: Vec<Tag> = (0..TAGS).map(|number| Tag::new("number", number)).collect();
        for some in tags.chunks(1_000) {
            one.invalidate(some).await.expect("acknowledged");
        }
        let scans = || {
            let told = server.command(&["INFO", "commandstats"]);
            let line =
                told.lines().find_map(|line| line.strip_prefix("cmdstat_hscan:calls=").map(str::to_owned));
            line.map_or(0, |line| {
                line.split(',').next().and_then(|count| count.parse::<u64>().ok()).unwrap_or(0)
            })
        };
        assert_eq!(
            one.prune(u64::MAX, Duration::MAX).await.expect("it answers"),
            Pruned::Removed(usize::try_from(TAGS).expect("few"))
        );
        let once = scans();
        assert!(once >= TAGS / 1_000, "{once} pieces");
        assert_eq!(other.prune(u64::MAX, Duration::MAX).await.expect("it answers"), Pruned::Removed(0));
        assert_eq!(scans(), once, "the other process finds that it is done");
        let unknown = one.view(&tags[..1]).await.expect("it answers");
        assert!(
            !unknown.allows(larder::tag::Stamp::new(one.stamp().await.expect("it answers").ledger(), 0)),
            "forgotten tags end all before"
        );
    }
}
