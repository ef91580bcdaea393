//! Tests of commands that a server executes twice, the second time late. A client library sends them again after a
//! lost connection, while the first copy is still in flight. No guarantee may break.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use larder::backend::{
    BackendContext, BeginOutcome, Entry, FillOutcome, IntoBackend, LoadIntent, WriteIntent,
};
use larder::clock::{Clock as _, SystemClock};
use larder::codec::Json;
use larder::lock::Acquired;
use larder::tag::TagLedger as _;
use larder::{Cache, CacheBackend, LockProvider as _, Strategy, Tag, source_fn};
use larder_testkit::servers::RedisServer;

use crate::client::{Arg, Client, Command, Failure, Hearer, Listener, Messages, Reply, Runner};
use crate::config::{Pushes, RedisConfig};
use crate::handle::RedisBackend;
use crate::script::{
    BEAT, BEGIN, CLEAR, FILL, GUARD, LOCK, RELEASE, RENEW, STAMP, Script, TAGS, UNGUARD, UNLOCK,
};

const LEASE: Duration = Duration::from_secs(10);

#[derive(Debug, Clone)]
enum Argument {
    Bytes(Vec<u8>),
    Number(i64),
}

#[derive(Debug, Clone)]
struct Sent {
    name: &'static str,
    arguments: Vec<Argument>,
    key: String,
}

impl Sent {
    fn of(command: &Command<'_>) -> Self {
        let arguments = command.arguments.iter().map(|argument| match argument {
            Arg::Bytes(bytes) => Argument::Bytes(bytes.to_vec()),
            Arg::Number(number) => Argument::Number(*number),
        });
        Self { name: command.name, arguments: arguments.collect(), key: command.key.to_owned() }
    }

    fn command(&self) -> Command<'_> {
        let arguments = self.arguments.iter().map(|argument| match argument {
            Argument::Bytes(bytes) => Arg::Bytes(bytes),
            Argument::Number(number) => Arg::Number(*number),
        });
        Command { name: self.name, arguments: arguments.collect(), key: &self.key }
    }
}

/// A client that keeps a copy of each command.
#[derive(Debug)]
struct Copying {
    client: Arc<dyn Client>,
    sent: Mutex<Vec<Sent>>,
}

impl Copying {
    /// Executes a copy of the last command that ran `script`.
    async fn arrives_late(&self, script: &Script) -> Reply {
        let sent = self.sent.lock().unwrap().clone();
        let last = sent.iter().rev().find(|sent| script.is_run_by(&sent.command()));
        let mut answers = self.client.run(&[last.expect("it was sent").command()]).await;
        answers.pop().expect("an answer").expect("the script is known")
    }
}

#[async_trait]
impl Runner for Copying {
    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        self.sent.lock().unwrap().extend(commands.iter().map(Sent::of));
        self.client.run(commands).await
    }
}

#[async_trait]
impl Client for Copying {
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

struct World {
    server: RedisServer,
    copying: Arc<Copying>,
    redis: RedisBackend,
    /// Another process.
    other: RedisBackend,
    version: Arc<AtomicU64>,
}

impl World {
    async fn new() -> Option<Self> {
        let server = RedisServer::start(&[])?;
        let connect = async || RedisConfig::new(server.url()).connect().await.unwrap();
        let (client, other) = (Arc::clone(&connect().await.server.client), connect().await);
        let copying = Arc::new(Copying { client, sent: Mutex::default() });
        let redis = RedisBackend::over(Arc::clone(&copying) as Arc<dyn Client>, Pushes::Tracking);
        let version = Arc::new(AtomicU64::new(1));
        Some(Self { server, copying, redis, other, version })
    }

    fn cache(&self, redis: &RedisBackend) -> Cache<u64, u64> {
        let version = Arc::clone(&self.version);
        Cache::builder()
            .namespace("late")
            .backend(redis.encoded(Json))
            .source(source_fn(move |_: u64| {
                let version = version.load(SeqCst);
                async move { Ok::<_, std::io::Error>(Some(version)) }
            }))
            .strategy(Strategy::aside(Duration::from_secs(60)))
            .tag_keys(|_| [tag()])
            .build()
            .unwrap()
    }

    fn store(&self) -> impl CacheBackend<u64, u64> {
        let scope = BackendContext::new("late").unwrap();
        IntoBackend::<u64, u64>::into_backend(self.redis.encoded(Json), &scope).unwrap()
    }

    /// The value that another process reads after the entry's tag was invalidated, and after `late`.
    async fn read_after(&self, late: impl AsyncFnOnce(&Self)) -> Option<u64> {
        let cache = self.cache(&self.redis);
        assert_eq!(cache.get(&7).await.unwrap().as_deref(), Some(&1));
        self.version.store(2, SeqCst);
        cache.invalidate_tag(&tag()).await.unwrap();
        late(self).await;
        self.cache(&self.other).get(&7).await.unwrap().as_deref().copied()
    }
}

fn tag() -> Tag {
    Tag::new("kind", "bread")
}

fn entry(version: u64) -> Entry<u64> {
    Entry::new(Some(Arc::new(version)), SystemClock::new().now(), Duration::from_secs(60))
}

macro_rules! world {
    () => {
        match World::new().await {
            Some(world) => world,
            None => return,
        }
    };
}

/// prevents: the fence of a load from before an invalidation is valid again.
#[tokio::test]
async fn an_announcement_leaves_another_fence_each_time() {
    let world = world!();
    let (store, now) = (world.store(), SystemClock::new().now());
    let BeginOutcome::Granted(fence) = store.begin(&7, LoadIntent::shared(LEASE), now).await.unwrap() else {
        panic!()
    };
    store.remove(&7).await.unwrap();
    world.copying.arrives_late(&BEGIN).await;
    assert_eq!(world.server.command(&["EXISTS", "late:f:{7}"]), "1", "a fence without an owner");
    assert!(!store.renew(&7, fence, LEASE, now).await.unwrap());
    store.release(&7, fence, now).await.unwrap();
    assert_eq!(world.server.command(&["EXISTS", "late:f:{7}"]), "1", "it is not the load's to release");
    assert_eq!(store.fill(&7, fence, entry(1), now).await.unwrap(), FillOutcome::Refused);
    assert_eq!(world.server.command(&["EXISTS", "late:v:{7}"]), "0");
}

/// prevents: a load that waits for its own fence.
#[tokio::test]
async fn an_announcement_recognizes_its_own_fence() {
    let world = world!();
    let (store, now) = (world.store(), SystemClock::new().now());
    for announce in [LoadIntent::shared(LEASE), LoadIntent::exclusive(LEASE)] {
        let BeginOutcome::Granted(fence) = store.begin(&7, announce, now).await.unwrap() else { panic!() };
        let again = world.copying.arrives_late(&BEGIN).await.list().unwrap();
        let standing = world.server.command(&["GET", "late:f:{7}"]);
        assert_eq!(again[..2], [Reply::Number(2), Reply::Bytes(standing.clone().into())]);
        assert_eq!(standing[1..], format!("{:032x}", fence.nonce()));
        assert_eq!(store.fill(&7, fence, entry(1), now).await.unwrap(), FillOutcome::Stored);
        store.remove(&7).await.unwrap();
    }
}

/// prevents: the ledger that a `clear` began is restored without the tags that were invalidated in it.
#[tokio::test]
async fn a_clear_begins_another_ledger_each_time() {
    let world = world!();
    world.cache(&world.redis).clear().await.unwrap();
    let late = async |world: &World| _ = world.copying.arrives_late(&CLEAR).await;
    assert_eq!(world.read_after(late).await, Some(2));
}

/// prevents: a ledger that was lost is made again, without the tags that were invalidated in it.
#[tokio::test]
async fn a_ledger_is_another_each_time_it_is_made() {
    let world = world!();
    let late = async |world: &World| {
        assert_eq!(world.server.command(&["UNLINK", "late:l:{late}"]), "1");
        world.copying.arrives_late(&STAMP).await;
    };
    assert_eq!(world.read_after(late).await, Some(2));

    let world = world!();
    world.redis.ledger("late").view(&[]).await.unwrap();
    let made = world.copying.sent.lock().unwrap().clone();
    let late = async |world: &World| {
        assert_eq!(world.server.command(&["UNLINK", "late:l:{late}"]), "1");
        *world.copying.sent.lock().unwrap() = made;
        world.copying.arrives_late(&TAGS).await;
    };
    assert_eq!(world.read_after(late).await, Some(2));
}

/// prevents: a flush that no heartbeat detects.
#[tokio::test]
async fn a_beat_after_a_flush_continues_no_chain() {
    let world = world!();
    let beat = async |keys: &[&str]| {
        let mut answers = world.redis.server.run(&[BEAT.call(keys, [Arg::from(60_000)])]).await;
        answers.next().unwrap().bytes().unwrap().unwrap()
    };
    let first = beat(&["b:1"]).await;
    assert_eq!(beat(&["b:2", "b:1"]).await, first);
    world.copying.arrives_late(&BEAT).await;
    assert_eq!(beat(&["b:3", "b:2"]).await, first, "twice is as good as once");
    assert_eq!(world.server.command(&["FLUSHALL"]), "OK");
    world.copying.arrives_late(&BEAT).await;
    assert_ne!(beat(&["b:4", "b:3"]).await, first);
}

/// A repeated invalidation of a tag costs a load. A repeated removal of a tag changes nothing.
#[tokio::test]
async fn late_copies_on_the_ledger_cost_loads_at_most() {
    let world = world!();
    let cache = world.cache(&world.redis);
    cache.invalidate_tag(&tag()).await.unwrap();
    let invalidation = world.copying.sent.lock().unwrap().clone();
    assert_eq!(cache.get(&7).await.unwrap().as_deref(), Some(&1));
    world.version.store(2, SeqCst);
    // (the life of the entry was recorded meanwhile, by the same script)
    world.copying.arrives_late(&TAGS).await;
    assert_eq!(world.cache(&world.other).get(&7).await.unwrap().as_deref(), Some(&1), "costs nothing");
    *world.copying.sent.lock().unwrap() = invalidation;
    world.copying.arrives_late(&TAGS).await;
    assert_eq!(world.cache(&world.other).get(&7).await.unwrap().as_deref(), Some(&2), "loaded once more");
    let ledger = world.redis.ledger("late");
    assert_eq!(ledger.prune(u64::MAX, Duration::MAX).await.unwrap(), larder::tag::Pruned::Removed(1));
    let nothing = Reply::List(vec![Reply::Bytes("0".into()), Reply::Number(0)]);
    assert_eq!(world.copying.arrives_late(&TAGS).await, nothing);
}

/// The first execution has ended the fence, the write guard or the lock, so the second finds nothing to end.
#[tokio::test]
async fn late_copies_of_what_ends_something_do_nothing() {
    let world = world!();
    let (store, now) = (world.store(), SystemClock::new().now());
    let begin = async || match store.begin(&7, LoadIntent::shared(LEASE).despite_hit(), now).await.unwrap() {
        BeginOutcome::Granted(fence) => fence,
        begun => panic!("{begun:?}"),
    };
    let fence = begin().await;
    assert!(store.renew(&7, fence, LEASE, now).await.unwrap());
    assert_eq!(store.fill(&7, fence, entry(1), now).await.unwrap(), FillOutcome::Stored);
    store.remove(&7).await.unwrap();
    let released = begin().await;
    store.release(&7, released, now).await.unwrap();
    let standing = begin().await;
    for script in [&*FILL, &*RENEW, &*RELEASE] {
        assert_eq!(world.copying.arrives_late(script).await, Reply::Number(0));
    }
    assert_eq!(store.fill(&7, standing, entry(2), now).await.unwrap(), FillOutcome::Stored);

    let guard = WriteIntent::new(9, LEASE);
    store.guard(&7, guard, now).await.unwrap();
    store.unguard(&7, guard, now).await.unwrap();
    let fence = begin().await;
    world.copying.arrives_late(&UNGUARD).await;
    assert_eq!(store.fill(&7, fence, entry(3), now).await.unwrap(), FillOutcome::Refused, "it costs a load");

    let locks = world.redis.locks();
    let Acquired::Held(token) = locks.try_acquire("nightly", LEASE).await.unwrap() else { panic!() };
    assert_eq!(
        world.copying.arrives_late(&LOCK).await,
        Reply::Number(0),
        "it is held already, by this token"
    );
    assert!(locks.release("nightly", token).await.unwrap());
    assert_eq!(world.copying.arrives_late(&UNLOCK).await, Reply::Number(0));
}

/// A repeated start that no command ends expires with its lease or life.
#[tokio::test]
async fn late_copies_of_what_begins_something_end_by_themselves() {
    let world = world!();
    let (store, now) = (world.store(), SystemClock::new().now());
    let guard = WriteIntent::new(9, LEASE);
    store.guard(&7, guard, now).await.unwrap();
    store.unguard(&7, guard, now).await.unwrap();
    world.copying.arrives_late(&GUARD).await;
    assert!(matches!(store.begin(&7, LoadIntent::shared(LEASE), now).await.unwrap(), BeginOutcome::Guarded));

    let locks = world.redis.locks();
    let Acquired::Held(token) = locks.try_acquire("nightly", LEASE).await.unwrap() else { panic!() };
    assert!(locks.release("nightly", token).await.unwrap());
    world.copying.arrives_late(&LOCK).await;
    assert!(matches!(locks.try_acquire("nightly", LEASE).await.unwrap(), Acquired::Busy(_)));

    let names = ["late:q:{7}", "larder:lock:{=nightly}"];
    for name in names {
        let left: u128 = world.server.command(&["PTTL", name]).parse().unwrap_or_default();
        assert!((1..=LEASE.as_millis()).contains(&left), "{name}: {left} ms");
    }
}
