//! The simulation's histories over real servers (alone, as a cluster, behind sentinels): the same processes, callers,
//! sources and lossy networks, and the same checker, while servers are killed, replaced, flushed and frozen, and their
//! clients are cut off.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use common::group::{Group, Kind};
use common::{LIBRARIES, Library, or_skip};
use larder::LockProvider;
use larder::backend::Encoded;
use larder::codec::Json;
use larder_redis::RedisBackend;
use larder_testkit::check::{check, timeline};
use larder_testkit::sim::{Action, Plan, Setup, Step, Store, Trouble, trace_in_real_time};
use tokio::task::JoinSet;

/// The number of steps of each history.
const STEPS: usize = 150;
/// A plan that takes longer is left to the simulation.
const LONGEST: Duration = Duration::from_secs(10);
/// The time for which a primary with replicas stands still: too short for a failover.
const STUTTER: Duration = Duration::from_millis(150);
/// In which time an answer that was sent before its server died has reached its caller.
const ON_ITS_WAY: Duration = Duration::from_millis(60);

/// One history's part of servers that all share.
struct Redis {
    group: Arc<Group>,
    handles: Vec<RedisBackend>,
    prefix: String,
    /// Set if this history may break the servers, which breaks them for the others too.
    breaks: bool,
    /// Set if the processes know the server by its life. If not, tags have no guarantee after a failover that lost
    /// writes, and the history has no such failover.
    strict: bool,
    state: Mutex<State>,
    faults: Arc<Mutex<Faults>>,
    turn: AtomicUsize,
}

/// The number of faults of each kind.
type Faults = BTreeMap<&'static str, usize>;

#[derive(Default)]
struct State {
    /// Set if a node alone stands still until the history resumes it.
    frozen: bool,
    /// The primary that died and who follows it, until the history says so.
    dead: Option<[usize; 2]>,
    /// The task that ends a fault by itself.
    mending: Option<JoinHandle<()>>,
}

impl State {
    fn is_busy(&self) -> bool {
        self.frozen
            || self.dead.is_some()
            || self.mending.as_ref().is_some_and(|mending| !mending.is_finished())
    }

    /// Waits for what comes right by itself; `false` when nothing has to.
    fn come_right(&mut self) -> bool {
        let Some(mending) = self.mending.take() else { return false };
        tokio::task::block_in_place(|| mending.join()).expect("the servers come right");
        true
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Redis {
    async fn reach(
        group: &Arc<Group>,
        library: Library,
        seed: u64,
        [breaks, strict]: [bool; 2],
        faults: &Arc<Mutex<Faults>>,
    ) -> Self {
        let mut handles = vec![];
        for _ in 0..3 {
            let config = library.config(&group.url()).command_timeout(Duration::from_millis(500));
            let redis = config.connect().await.expect("the servers are there");
            handles.push(if strict { redis.strict() } else { redis });
        }
        Self {
            group: Arc::clone(group),
            handles,
            prefix: format!("history-{seed}"),
            breaks,
            strict,
            state: Mutex::default(),
            faults: Arc::clone(faults),
            turn: AtomicUsize::new(seed as usize),
        }
    }

    fn handle(&self, process: &str) -> &RedisBackend {
        let place: usize = process.parse().unwrap_or_default();
        &self.handles[place % self.handles.len()]
    }

    fn turn(&self) -> usize {
        self.turn.fetch_add(1, Ordering::Relaxed)
    }

    /// Everything is as it should be, or soon: waits for that.
    fn mend(&self) -> bool {
        let mut state = lock(&self.state);
        let was_frozen = std::mem::take(&mut state.frozen);
        if was_frozen {
            self.group.nodes()[0].thaw();
        }
        state.come_right() || was_frozen
    }

    fn freeze(&self, state: &mut State) -> Option<&'static str> {
        let place = self.group.primary(self.turn());
        self.group.nodes()[place].freeze();
        if let Group::Node(_) = *self.group {
            state.frozen = true;
            return Some("frozen");
        }
        let group = Arc::clone(&self.group);
        state.mending = Some(std::thread::spawn(move || {
            std::thread::sleep(STUTTER);
            group.nodes()[place].thaw();
        }));
        Some("frozen for a moment")
    }

    fn die(&self, state: &mut State) -> Option<&'static str> {
        state.dead = Some(self.group.die(self.turn())?);
        std::thread::sleep(ON_ITS_WAY);
        Some(match *self.group {
            Group::Node(_) => "killed, back with old data",
            _ => "killed, followed by its replica",
        })
    }

    fn evict(&self, count: usize) {
        for node in self.group.primaries().into_iter().map(|place| &self.group.nodes()[place]) {
            for _ in 0..count {
                let name = node.command(&["RANDOMKEY"]);
                // not a guard, which eviction would void: larder asks for a server that keeps them
                if name.contains(":v:") || name.contains(":f:") {
                    node.command(&["UNLINK", &name]);
                }
            }
        }
    }

    /// Evicts one half of the ledger of this history, each in its turn.
    fn evict_ledger(&self) -> Option<&'static str> {
        let (kind, fault) = match self.turn() % 2 {
            0 => ("l", "a ledger's head evicted"),
            _ => ("t", "a ledger's tags evicted"),
        };
        let pattern = format!("{}*:{kind}:*", self.prefix);
        let evicted =
            self.group.primaries().into_iter().map(|place| &self.group.nodes()[place]).any(|node| {
                let names = node.command(&["KEYS", &pattern]);
                names.lines().any(|name| node.command(&["UNLINK", name]) == "1")
            });
        evicted.then_some(fault)
    }

    /// Does what comes nearest to a trouble; says what that was.
    fn suffer(&self, trouble: &Trouble, state: &mut State) -> Option<&'static str> {
        let all = |command: &[&str]| _ = self.group.everywhere(command);
        match trouble {
            Trouble::Cut(_) => self.freeze(state),
            Trouble::Flush => {
                all(&["FLUSHALL"]);
                Some("flushed")
            }
            Trouble::RestartEmpty => self.group.restart_one(self.turn()).then_some(match *self.group {
                Group::Node(_) => "killed, back empty",
                _ => "a replica killed, back",
            }),
            Trouble::Remember if self.strict => self.group.remember().then_some("remembered"),
            Trouble::Forget if self.strict => self.die(state),
            Trouble::Evict(count) => {
                self.evict(*count);
                Some("evicted")
            }
            Trouble::EvictLedger => self.evict_ledger(),
            Trouble::LosePushes(true) => {
                all(&["CLIENT", "KILL", "TYPE", "pubsub"]);
                Some("listeners cut off")
            }
            Trouble::PruneTags => {
                all(&["CLIENT", "KILL", "TYPE", "normal"]);
                Some("clients cut off")
            }
            _ => None,
        }
    }
}

impl Store for Redis {
    type Far = larder::backend::Prefix<Encoded<RedisBackend, Json>>;

    fn open(_setup: &Setup) -> Self {
        unreachable!("histories in real time are given their store")
    }

    fn connect(&self, process: &str) -> Self::Far {
        larder::backend::Prefix::new(&self.prefix, self.handle(process).encoded(Json))
    }

    fn locks(&self, process: &str) -> Option<Arc<dyn LockProvider>> {
        Some(Arc::new(self.handle(process).locks()))
    }

    fn suffers(&self, trouble: &Trouble) -> bool {
        if !self.breaks {
            return false;
        }
        if let Trouble::Mend(_) = trouble {
            return self.mend();
        }
        let mut state = lock(&self.state);
        if state.is_busy() {
            return false;
        }
        // what has come right may have failed to
        state.come_right();
        let fault = tokio::task::block_in_place(|| self.suffer(trouble, &mut state));
        if let Some(fault) = fault {
            *lock(&self.faults).entry(fault).or_default() += 1;
        }
        fault.is_some()
    }

    fn suffered(&self, _trouble: &Trouble) {
        let mut state = lock(&self.state);
        if let Some(dead) = state.dead.take() {
            let group = Arc::clone(&self.group);
            state.mending = Some(std::thread::spawn(move || group.come_back(dead)));
        }
    }

    fn left(&self) -> Vec<String> {
        vec![]
    }
}

/// The plans of so many seeds that do not take long. Those that break servers also flush them, and have a primary die and half
/// of the ledger evicted, twice.
fn plans(first: u64, count: usize, breaks: bool) -> impl Iterator<Item = Plan> {
    let is_short = |plan: &Plan| plan.steps.last().is_some_and(|last| last.at < LONGEST);
    let flushes = |plan: &Plan| plan.steps.iter().any(|step| step.action == Action::Suffer(Trouble::Flush));
    let plans = (first..).map(|seed| Plan::of(seed, 3, STEPS));
    let plans = plans.filter(move |plan| is_short(plan) && (!breaks || flushes(plan))).take(count);
    plans.map(move |mut plan| {
        let end = plan.steps.last().map(|step| step.at).unwrap_or_default();
        for at in [end / 3, end * 2 / 3].into_iter().filter(|_| breaks) {
            let suffer = |at, trouble| Step { at, action: Action::Suffer(trouble) };
            plan.steps.push(suffer(at, Trouble::Remember));
            plan.steps.push(suffer(at + Duration::from_millis(20), Trouble::Forget));
            plan.steps.push(suffer(at / 2, Trouble::EvictLedger));
        }
        plan.steps.sort_by_key(|step| step.at);
        plan
    })
}

/// Runs a history and checks it; answers how many reads were bound by an invalidation.
async fn run(store: Redis, plan: Plan, library: Library) -> u64 {
    let (rules, kind) = (plan.setup.rules_in_real_time(), store.prefix.clone());
    let history = trace_in_real_time(store, &plan).await;
    match check(&history, &rules) {
        Ok(figures) => {
            println!("{kind} with {library:?}: {figures:?}");
            figures.bound_reads
        }
        Err(violation) => {
            let timeline = timeline(&history, &rules, violation.key);
            panic!("{kind} with {library:?}: {violation}\n{:#?}\n{timeline}", plan.setup)
        }
    }
}

/// Runs plans with one library side by side: all on one group of servers, or each on one of its own, which
/// it breaks. `None` when there are no servers on this machine.
async fn all_of(kind: Kind, plans: Vec<Plan>, breaks: bool, library: Library) -> Option<(u64, Faults)> {
    let faults = Arc::new(Mutex::new(Faults::new()));
    let mut running = JoinSet::new();
    let mut group = None;
    for (number, plan) in plans.into_iter().enumerate() {
        let own = match group.take().filter(|_| !breaks) {
            Some(shared) => shared,
            None => Arc::new(tokio::task::block_in_place(|| Group::start(kind))?),
        };
        let how = [breaks, breaks && number % 2 == 0];
        let store = Redis::reach(&own, library, plan.setup.seed(), how, &faults).await;
        group = Some(own);
        running.spawn(run(store, plan, library));
    }
    let mut bound_reads = 0;
    while let Some(ended) = running.join_next().await {
        bound_reads += ended.expect("every history keeps every promise");
    }
    let faults = lock(&faults).clone();
    Some((bound_reads, faults))
}

/// Every promise is kept with every library, enough was read to notice if not, and each of these faults happened.
async fn keep_every_promise(kind: Kind, first: u64, count: usize, expected: &[&str]) {
    let breaks = !expected.is_empty();
    let mut running = JoinSet::new();
    for &library in LIBRARIES {
        let plans = plans(first, count, breaks).collect();
        running.spawn(async move { (library, all_of(kind, plans, breaks, library).await) });
    }
    while let Some(ended) = running.join_next().await {
        let (library, found) = ended.expect("every promise is kept");
        let (bound_reads, faults) = or_skip!(found);
        println!("{kind:?} with {library:?}: {bound_reads} reads bound by an invalidation; {faults:?}");
        assert!(bound_reads > 100, "only {bound_reads} reads were bound by an invalidation");
        for expected in expected {
            assert!(faults.contains_key(expected), "no server was {expected}: {faults:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_network_that_loses_and_delays() {
    keep_every_promise(Kind::Node, 100, 6, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_network_that_loses_and_delays_to_a_cluster() {
    keep_every_promise(Kind::Cluster, 200, 6, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_network_that_loses_and_delays_to_sentinels() {
    keep_every_promise(Kind::Sentinels, 300, 6, &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_servers_that_are_killed_flushed_and_frozen() {
    let expected = ["flushed", "killed, back with old data", "a ledger's head evicted"];
    keep_every_promise(Kind::Node, 400, 8, &expected).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_clusters_whose_primaries_die() {
    keep_every_promise(Kind::Cluster, 500, 3, &["killed, followed by its replica"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_sentinels_whose_primaries_die() {
    keep_every_promise(Kind::Sentinels, 600, 3, &["killed, followed by its replica"]).await;
}
