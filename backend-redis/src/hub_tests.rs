//! Tests of heartbeats and of doubts, with a server whose answers and pushes are chosen.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use larder::Tag;
use larder::backend::Watcher;
use larder::clock::{Clock as _, Timestamp, TokioClock};
use larder::tag::Stamp;

use crate::client::{
    Arg, Client, Command, Failure, FailureKind, Heard, Hearer, Listener, Messages, Reply, Runner,
};
use crate::config::Pushes;
use crate::hub::watch;
use crate::names::Space;
use crate::script::{BEAT, INCARNATION, STAMP, TAGS};
use crate::server::Server;

const BOUND: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Watching {
    clock: TokioClock,
    told: Mutex<Vec<String>>,
    proven: AtomicU64,
    proofs: AtomicU64,
    losses: AtomicU64,
}

impl Watcher for Watching {
    fn changed(&self, name: &str) {
        self.told.lock().unwrap().push(name.to_owned());
    }
    fn tags_ended(&self, tags: &[Tag], at: Stamp) {
        self.told.lock().unwrap().push(format!("{tags:?} at {}", at.count()));
    }
    fn lost(&self) {
        self.losses.fetch_add(1, SeqCst);
    }
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn proven(&self, since: Timestamp) {
        self.proven.store(since.as_nanos(), SeqCst);
        self.proofs.fetch_add(1, SeqCst);
    }
    fn max_staleness(&self) -> Duration {
        BOUND
    }
}

/// A simulated server.
#[derive(Debug)]
struct Fake {
    hearer: Mutex<Option<Hearer>>,
    messages: Messages,
    /// The chain of heartbeats.
    chain: AtomicI64,
    /// `true` if a heartbeat is pushed.
    pushes: AtomicBool,
    answers: AtomicBool,
    life: AtomicU64,
    /// The reply about invalidated tags.
    invalidated: Mutex<Vec<Reply>>,
    sessions: AtomicU64,
    /// The error to a listener's commands, if they are refused.
    refuses: Mutex<Option<&'static str>>,
    /// The reply to `CLUSTER NODES`.
    nodes: Mutex<Option<String>>,
}

impl Fake {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            hearer: Mutex::default(),
            messages: Messages::default(),
            chain: AtomicI64::new(1),
            pushes: AtomicBool::new(true),
            answers: AtomicBool::new(true),
            life: AtomicU64::new(1),
            invalidated: Mutex::default(),
            sessions: AtomicU64::new(0),
            refuses: Mutex::default(),
            nodes: Mutex::default(),
        })
    }

    fn tell(&self, heard: Heard) {
        if let Some(hearer) = &*self.hearer.lock().unwrap() {
            _ = hearer.send(heard);
        }
    }

    fn changed(&self, name: &str) {
        self.tell(Heard::Changed(vec![name.to_owned().into()]));
    }
}

#[async_trait]
impl Runner for Fake {
    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let answer = |command: &Command<'_>| {
            if !self.answers.load(SeqCst) {
                return Err(Failure::new(FailureKind::Timeout, "no answer"));
            }
            Ok(if BEAT.is_run_by(command) {
                if self.pushes.load(SeqCst) {
                    // the key that is written and those that are removed, in the order of their names
                    let keys = command.arguments[2..command.arguments.len() - 1].iter();
                    let mut keys: Vec<_> = keys
                        .filter_map(|key| match key {
                            Arg::Bytes(key) => Some(bytes::Bytes::copy_from_slice(key)),
                            Arg::Number(_) => None,
                        })
                        .collect();
                    keys.sort();
                    self.tell(Heard::Changed(keys));
                }
                Reply::Bytes(self.chain.load(SeqCst).to_string().into())
            } else if INCARNATION.is_run_by(command) {
                Reply::Bytes(self.life.load(SeqCst).to_string().into())
            } else if STAMP.is_run_by(command) {
                Reply::Bytes("0000000000000007:0".into())
            } else if TAGS.is_run_by(command) {
                Reply::List(self.invalidated.lock().unwrap().clone())
            } else if let ("CLUSTER", Some(nodes)) = (command.name, &*self.nodes.lock().unwrap()) {
                Reply::Bytes(nodes.clone().into())
            } else {
                Reply::Nil
            })
        };
        commands.iter().map(answer).collect()
    }
}

#[async_trait]
impl Client for Fake {
    fn is_cluster(&self) -> bool {
        self.nodes.lock().unwrap().is_some()
    }
    async fn listen(&self, hearer: Hearer) -> Result<Arc<dyn Listener>, Failure> {
        self.sessions.fetch_add(1, SeqCst);
        *self.hearer.lock().unwrap() = Some(hearer);
        Ok(Arc::new(Deaf(*self.refuses.lock().unwrap())))
    }
    async fn subscribe(&self, _channel: &str) -> Result<(), Failure> {
        Ok(())
    }
    async fn unsubscribe(&self, _channel: &str) -> Result<(), Failure> {
        Ok(())
    }
    fn messages(&self) -> &Messages {
        &self.messages
    }
}

/// A listener that accepts each command, or refuses each with an error.
struct Deaf(Option<&'static str>);

#[async_trait]
impl Runner for Deaf {
    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        commands.iter().map(|_| self.0.map_or(Ok(Reply::Nil), |said| Err(Failure::said(said)))).collect()
    }
}

#[async_trait]
impl Listener for Deaf {
    async fn subscribe(&self, _channel: &str) -> Result<(), Failure> {
        Ok(())
    }
}

struct World {
    fake: Arc<Fake>,
    watching: Arc<Watching>,
    server: Arc<Server>,
}

/// The events of a period.
#[derive(Debug, PartialEq, Eq)]
struct Passed {
    proofs: u64,
    losses: u64,
}

impl World {
    /// A watcher, after its first confirmed heartbeat.
    async fn new() -> Self {
        Self::with(Fake::new(), Pushes::Tracking).await
    }

    async fn with(fake: Arc<Fake>, pushes: Pushes) -> Self {
        let watching = Arc::new(Watching::default());
        let server = Arc::new(Server::new(Arc::clone(&fake) as _, pushes));
        let watcher: Arc<dyn Watcher> = Arc::clone(&watching) as _;
        assert!(watch(&server, Space::new("shop".into()), false, Arc::downgrade(&watcher)));
        let world = Self { fake, watching, server };
        assert!(world.passes(BOUND).await.proofs >= 2);
        world
    }

    async fn passes(&self, time: Duration) -> Passed {
        let count = || (self.watching.proofs.load(SeqCst), self.watching.losses.load(SeqCst));
        let before = count();
        tokio::time::sleep(time).await;
        Passed { proofs: count().0 - before.0, losses: count().1 - before.1 }
    }

    fn age_of_proof(&self) -> Duration {
        Timestamp::from_nanos(self.watching.proven.load(SeqCst)).until(self.watching.now())
    }
}

#[tokio::test(start_paused = true)]
async fn a_beat_that_was_pushed_proves_what_was_before_it_was_asked_for() {
    let world = World::new().await;
    for _ in 0..20 {
        assert_eq!(world.passes(BOUND).await, Passed { proofs: 3, losses: 0 });
        assert!(world.age_of_proof() <= BOUND / 2 && world.age_of_proof() > Duration::ZERO);
    }
    assert_eq!(world.fake.sessions.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_proves_nothing_without_its_push() {
    let world = World::new().await;
    world.fake.pushes.store(false, SeqCst);
    let passed = world.passes(BOUND * 5).await;
    assert!(passed.proofs <= 1 && passed.losses > 0, "{passed:?}");
    assert!(world.fake.sessions.load(SeqCst) > 1, "a deaf listener is replaced");
    world.fake.pushes.store(true, SeqCst);
    assert!(world.passes(BOUND * 3).await.proofs > 0);
}

#[tokio::test(start_paused = true)]
async fn a_push_of_another_beat_is_none() {
    let world = World::new().await;
    world.fake.pushes.store(false, SeqCst);
    let proofs = world.watching.proofs.load(SeqCst);
    for _ in 0..100 {
        for number in 0..10 {
            world.fake.changed(&format!("larder:beat:another:{number}:{{0}}"));
        }
        tokio::time::sleep(BOUND / 20).await;
    }
    assert!(world.watching.proofs.load(SeqCst) <= proofs + 1);
}

#[tokio::test(start_paused = true)]
async fn silence_of_the_server_proves_nothing_and_forgets_nothing() {
    let world = World::new().await;
    world.fake.answers.store(false, SeqCst);
    assert_eq!(world.passes(BOUND * 5).await, Passed { proofs: 0, losses: 0 });
    world.fake.answers.store(true, SeqCst);
    let passed = world.passes(BOUND).await;
    assert!(passed.proofs >= 2 && passed.losses == 0, "{passed:?}");
    // unanswered heartbeats are tolerated, but not for ever
    world.fake.answers.store(false, SeqCst);
    assert!(world.passes(BOUND * 20).await.losses > 0);
}

#[tokio::test(start_paused = true)]
async fn whatever_raises_a_doubt_forgets_all_before_the_next_proof() {
    type Act = fn(&Fake);
    let acts: [(&str, Act); 4] = [
        ("a flush", |fake| fake.tell(Heard::Flushed)),
        ("a lost connection", |fake| fake.tell(Heard::Lost)),
        ("a forgotten beat", |fake| fake.chain.store(0, SeqCst)),
        ("another server", |fake| fake.life.store(2, SeqCst)),
    ];
    for (name, act) in acts {
        let world = World::new().await;
        let proofs = world.watching.proofs.load(SeqCst);
        act(&world.fake);
        while world.watching.losses.load(SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(
                world.watching.proofs.load(SeqCst) <= proofs + 1,
                "{name}: proven before all was forgotten"
            );
        }
        world.fake.chain.store(1, SeqCst);
        assert!(world.passes(BOUND * 2).await.proofs > 0, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn changes_and_tags_are_told_before_they_are_proven() {
    let world = World::new().await;
    world.fake.changed("shop:v:{7}");
    world.fake.changed("shopping:v:{7}");
    *world.fake.invalidated.lock().unwrap() = vec![
        Reply::Bytes("0000000000000007:2".into()),
        Reply::Number(1),
        Reply::Bytes("1\nkind:=a".into()),
        Reply::Bytes("2\nkind:=b\nkind:=c".into()),
    ];
    world.fake.changed("shop:l:{shop}");
    assert_eq!(world.passes(BOUND).await, Passed { proofs: 3, losses: 0 });
    let told = world.watching.told.lock().unwrap().clone();
    assert_eq!(told, ["shop:v:{7}", "[Tag(kind:=a)] at 1", "[Tag(kind:=b), Tag(kind:=c)] at 2"]);
    // more than the ledger remembers, or another ledger
    *world.fake.invalidated.lock().unwrap() =
        vec![Reply::Bytes("0000000000000009:0".into()), Reply::Number(0)];
    world.fake.changed("shop:l:{shop}");
    assert_eq!(world.passes(BOUND).await, Passed { proofs: 3, losses: 1 });
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_last_who_watches_and_begins_with_the_next() {
    let World { fake, watching, server } = World::new().await;
    drop(watching);
    tokio::time::sleep(BOUND * 2).await;
    assert!(fake.hearer.lock().unwrap().as_ref().is_some_and(Hearer::is_closed), "nobody listens");
    let watching = Arc::new(Watching::default());
    let watcher: Arc<dyn Watcher> = Arc::clone(&watching) as _;
    assert!(watch(&server, Space::new("late".into()), false, Arc::downgrade(&watcher)));
    let world = World { fake, watching, server };
    assert!(world.passes(BOUND).await.proofs > 0);
}

#[tokio::test(start_paused = true)]
async fn in_a_cluster_nothing_is_proven_while_keys_may_move_to_where_nobody_listens() {
    const TWO: &str = "a 127.0.0.1:1@1 master - 0 0 1 connected 0-8191\nb 127.0.0.1:2@2 master - 0 0 1 connected 8192-16383\n";
    let fake = Fake::new();
    let set = |text: String| *fake.nodes.lock().unwrap() = Some(text);
    set(TWO.into());
    let world = World::with(Arc::clone(&fake), Pushes::Tracking).await;
    assert_eq!(fake.sessions.load(SeqCst), 1);
    // a primary without slots has joined
    set(format!("{TWO}c 127.0.0.1:3@3 master - 0 0 1 connected\n"));
    tokio::time::sleep(BOUND).await;
    assert_eq!(world.passes(BOUND * 5).await.proofs, 0);
    assert_eq!(fake.sessions.load(SeqCst), 2, "others are listened to");
    // and has got some slots
    set(TWO.replace("0-8191", "0-8190") + "c 127.0.0.1:3@3 master - 0 0 1 connected 8191\n");
    assert!(world.passes(BOUND * 3).await.losses > 0);
    assert_eq!(fake.sessions.load(SeqCst), 3);
    assert!(world.passes(BOUND).await.proofs > 0);
}

#[tokio::test(start_paused = true)]
async fn over_pub_sub_a_message_that_is_missing_forgets_all() {
    let world = World::with(Fake::new(), Pushes::PubSub).await;
    let tell = |channel: &str, text: &str| {
        let (channel, text) = (channel.to_owned(), text.to_owned().into());
        world.fake.tell(Heard::Message { channel, text });
    };
    let channel = "larder:changes:shop";
    tell(channel, "1\n\nshop:v:{7}\nshop:v:{8}");
    tell(channel, &format!("2\n{}\nshop:v:{{9}}", world.server.sender));
    tell("another", "7\n\nshop:v:{7}");
    tell(channel, "no number\n\nshop:v:{7}");
    assert_eq!(world.passes(BOUND).await, Passed { proofs: 3, losses: 0 });
    assert_eq!(
        *world.watching.told.lock().unwrap(),
        ["shop:v:{7}", "shop:v:{8}"],
        "but not of what it filled itself"
    );
    tell(channel, "4\n\nshop:v:{7}");
    assert!(world.passes(BOUND).await.losses > 0, "the third was lost");
}

/// Counts warnings.
#[derive(Default)]
struct Warnings(Arc<AtomicU64>);

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        self.0.fetch_add(1, SeqCst);
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_track_is_asked_once_a_minute_and_warned_of_once() {
    const HOUR: Duration = Duration::from_secs(3_600);
    let warnings = Warnings::default();
    let warned = Arc::clone(&warnings.0);
    let _guard = tracing::subscriber::set_default(warnings);
    for said in ["ERR unknown subcommand 'TRACKING'", "NOPERM this user has no permissions", "DENIED"] {
        let world = World::new().await;
        warned.store(0, SeqCst);
        *world.fake.refuses.lock().unwrap() = Some(said);
        world.fake.tell(Heard::Lost);
        let before = world.fake.sessions.load(SeqCst);
        assert_eq!(world.passes(HOUR).await.proofs, 0);
        let asked = world.fake.sessions.load(SeqCst) - before;
        assert!((40..200).contains(&asked), "{said}: asked {asked} times");
        assert_eq!(warned.load(SeqCst), 1, "{said}");
        // another reason is another warning
        *world.fake.refuses.lock().unwrap() = Some("ERR something else");
        world.passes(HOUR).await;
        assert_eq!(warned.load(SeqCst), 2, "{said}");
        *world.fake.refuses.lock().unwrap() = None;
        assert!(world.passes(Duration::from_secs(65)).await.proofs > 0, "{said}");
        // and so is the same reason after a confirmed heartbeat
        *world.fake.refuses.lock().unwrap() = Some("ERR something else");
        world.fake.tell(Heard::Lost);
        world.passes(HOUR).await;
        assert_eq!(warned.load(SeqCst), 3, "{said}");
    }
}

/// An unreachable server is retried soon, also if it failed while a session began.
#[tokio::test(start_paused = true)]
async fn an_outage_is_no_refusal() {
    let world = World::new().await;
    *world.fake.refuses.lock().unwrap() = Some("LOADING");
    world.fake.tell(Heard::Lost);
    world.passes(Duration::from_secs(60)).await;
    *world.fake.refuses.lock().unwrap() = None;
    world.fake.answers.store(false, SeqCst);
    world.passes(Duration::from_secs(600)).await;
    world.fake.answers.store(true, SeqCst);
    assert!(world.passes(BOUND * 3).await.proofs > 0);
}
