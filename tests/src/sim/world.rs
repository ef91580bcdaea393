//! Processes, a source and a store, and what is done with them.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use larder::{
    Breaker, Cache, CacheBuilder, Error, ErrorKind, Fetched, Local, Locking, Origin, Result, Source as _,
    Strategy, Tiered,
};
use tokio::task::JoinSet;

use super::clock::Apart;
use super::locks::RemoteLocks;
use super::near::Near;
use super::network::{Link, Networked};
use super::plan::{Action, Fate, Plan, Read, Write};
use super::setup::{NearTier, Setup, Sourcing, key_tag, tag, value_tag};
use super::source::{Rows, Truth};
use super::store::{LONGEST_TRIP, Store, Trouble, Versioned};
use crate::check::{Answer, Ask, Failure, History, Scope, Seen, What};

const NAMESPACE: &str = "simulated";
/// Until when every operation must have ended after the last one began.
const PATIENCE: Duration = Duration::from_secs(120);

/// One life of a process.
struct Process {
    number: u32,
    cache: Cache<u64, Versioned>,
    link: Arc<Link>,
    rows: Rows,
}

pub(super) struct World<S> {
    setup: Setup,
    store: S,
    truth: Arc<Truth>,
    history: History,
    processes: Mutex<Vec<Arc<Process>>>,
    /// Those that have died: their loads end after their budgets.
    dead: Mutex<Vec<Arc<Process>>>,
    /// How many events there were when the store remembered.
    remembered: Mutex<Option<usize>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Store> World<S> {
    pub(super) fn new(store: S, setup: &Setup, history: History) -> Arc<Self> {
        let truth = Truth::new(setup.seed, history.clone(), setup.load, setup.unsound_source);
        let world = Self {
            setup: setup.clone(),
            store,
            truth: Arc::new(truth),
            history,
            processes: Mutex::default(),
            dead: Mutex::default(),
            remembered: Mutex::default(),
        };
        let started = (0..setup.processes).map(|place| world.start(place, place as u32)).collect();
        *lock(&world.processes) = started;
        Arc::new(world)
    }

    /// Runs a whole history.
    pub(super) async fn run(self: &Arc<Self>, plan: &Plan) {
        let mut running = JoinSet::new();
        let began = tokio::time::Instant::now();
        for step in &plan.steps {
            tokio::time::sleep_until(began + step.at).await;
            self.perform(&step.action, &mut running);
            // what has ended is told at the end
        }
        let ended = async {
            while let Some(ended) = running.join_next().await {
                if let Err(error) = ended {
                    self.history.record(0, What::Left(format!("a caller that panicked: {error}")));
                }
            }
        };
        // what has not ended by then is found by the checker
        _ = tokio::time::timeout(PATIENCE, ended).await;
        running.abort_all();
        self.settle().await;
    }

    /// A new life of the process at `place`.
    fn start(&self, place: usize, number: u32) -> Arc<Process> {
        let setup = &self.setup;
        let link = Arc::new(Link::new(number, setup.seed, setup.trip, setup.loss));
        let rows = Rows { truth: Arc::clone(&self.truth), process: number };
        let name = place.to_string();
        let far = Networked { store: self.store.connect(&name), link: Arc::clone(&link) };
        let builder = Cache::builder().namespace(NAMESPACE).clock(Apart::by(setup.ahead[place]));
        let builder = with_backend(builder, far, setup);
        let builder = match setup.sourcing {
            Sourcing::Single => builder.source(rows.clone()),
            Sourcing::Batched | Sourcing::Gathered => builder.batch_source(rows.clone()),
            Sourcing::Conditional => builder.conditional_source(rows.clone()),
        };
        let builder = match setup.key_tags {
            true => builder.tag_keys(|key| [tag(key_tag(*key))]),
            false => builder,
        };
        let locks = self.store.locks(&name).filter(|_| setup.locked).map(|locks| {
            Locking::by(RemoteLocks { locks, link: Arc::clone(&link), history: self.history.clone() })
        });
        let cache = builder.strategy(strategy(setup, locks)).build().expect("drawn to be sound");
        Arc::new(Process { number, cache, link, rows })
    }

    fn process(&self, place: usize) -> Arc<Process> {
        let processes = lock(&self.processes);
        Arc::clone(&processes[place % processes.len()])
    }

    fn living(&self) -> Vec<Arc<Process>> {
        lock(&self.processes).clone()
    }

    fn perform(self: &Arc<Self>, action: &Action, running: &mut JoinSet<()>) {
        match action {
            Action::Read { process, key, how, fate } => {
                let (world, process) = (Arc::clone(self), self.process(*process));
                let (key, how, fate) = (*key, *how, *fate);
                running.spawn(async move { world.read(&process, key, how, fate).await });
            }
            Action::ReadMany { process, keys, fate } => {
                let (world, process) = (Arc::clone(self), self.process(*process));
                let (keys, fate) = (keys.clone(), *fate);
                running.spawn(async move { world.read_many(&process, &keys, fate).await });
            }
            Action::Write { process: place, key, absent, how, between, fate } => {
                let (world, place) = (Arc::clone(self), *place);
                let writing =
                    Writing { key: *key, absent: *absent, how: *how, between: *between, fate: *fate };
                running.spawn(async move { world.write(place, writing).await });
            }
            Action::Suffer(trouble) => self.suffer(trouble),
            Action::Pause { process, time } => {
                self.note(*process, &format!("pauses for {time:?}"));
                self.process(*process).link.pause(*time);
            }
            Action::Crash { process } => self.crash(*process, &self.process(*process)),
            Action::Lose { process, time } => {
                self.note(*process, &format!("loses requests and replies for {time:?}"));
                self.process(*process).link.lose(*time);
            }
            Action::SlowPushes { process, time } => {
                self.note(*process, &format!("is told late for {time:?}"));
                self.process(*process).link.slow_pushes(*time);
            }
        }
    }

    fn note(&self, place: usize, note: &str) {
        self.history.record(self.process(place).number, What::Note(note.to_owned()));
    }

    fn suffer(&self, trouble: &Trouble) {
        let since = *lock(&self.remembered);
        if matches!(trouble, Trouble::Forget) && since.is_none() {
            return;
        }
        let loses_all = matches!(trouble, Trouble::Flush | Trouble::RestartEmpty);
        let before = self.history.len();
        if loses_all {
            // and after it: in real time this takes a while
            self.history.record(0, What::Emptied);
        }
        if !self.store.suffers(trouble) {
            return;
        }
        let what = match trouble {
            Trouble::Flush | Trouble::RestartEmpty => What::Emptied,
            Trouble::Forget => What::RolledBack { since: since.unwrap_or_default() },
            Trouble::Remember => {
                *lock(&self.remembered) = Some(before);
                What::Note("the store remembers what there is".to_owned())
            }
            other => What::Note(format!("the store suffers: {other:?}")),
        };
        self.history.record(0, what);
    }

    /// A process dies and another takes its place.
    fn crash(&self, place: usize, process: &Arc<Process>) {
        if process.link.is_dead() {
            return;
        }
        process.link.kill();
        self.history.record(process.number, What::Crashed);
        // ends its background work: what is dead tries nothing again
        let dead = process.cache.clone();
        tokio::spawn(async move { _ = dead.shutdown().await });
        let number = process.number + 10;
        let heir = self.start(place, number);
        let mut processes = lock(&self.processes);
        let place = place % processes.len();
        processes[place] = heir;
        lock(&self.dead).push(Arc::clone(process));
    }

    async fn read(&self, process: &Process, key: u64, how: Read, fate: Fate) {
        process.link.resumed().await;
        if process.link.is_dead() {
            return;
        }
        let ask = match how {
            Read::Get | Read::Fetch | Read::GetOrLoad => Ask::Read { key },
            Read::Lookup => Ask::Lookup { key },
            Read::Refresh => Ask::Refresh { key },
        };
        let operation = self.history.ask(process.number, ask);
        let cache = &process.cache;
        let answer = match how {
            Read::Get => waited(cache.get(&key), fate)
                .await
                .map(|got| answered(got.map(|value| value.as_deref().copied()), "get")),
            Read::Fetch => waited(cache.fetch(&key), fate).await.map(fetched),
            Read::Refresh => waited(cache.refresh(&key), fate)
                .await
                .map(|got| answered(got.map(|value| value.as_deref().copied()), "refresh")),
            Read::GetOrLoad => {
                let rows = process.rows.clone();
                let loaded = cache.get_or_load(&key, move || async move { rows.load(&key).await });
                waited(loaded, fate)
                    .await
                    .map(|got| answered(got.map(|value| value.as_deref().copied()), "get_or_load"))
            }
            Read::Lookup => waited(cache.lookup(&key), fate).await.map(|found| match found {
                Ok(None) => Answer::NotCached,
                Ok(Some(found)) => fetched(Ok(found)),
                Err(error) => failed(&error),
            }),
        };
        self.answer(process, operation, answer);
    }

    /// Records an answer. The dead get none.
    fn answer(&self, process: &Process, operation: u64, answer: Option<Answer>) {
        let answer = answer.filter(|_| !process.link.is_dead()).unwrap_or(Answer::Dropped);
        self.history.answer(process.number, operation, answer);
    }

    async fn read_many(&self, process: &Process, keys: &[u64], fate: Fate) {
        process.link.resumed().await;
        if process.link.is_dead() {
            return;
        }
        let ask = |key: &u64| self.history.ask(process.number, Ask::Read { key: *key });
        let operations: Vec<u64> = keys.iter().map(ask).collect();
        let answers = waited(process.cache.get_each(keys), fate).await;
        for (place, operation) in operations.into_iter().enumerate() {
            let answer = answers.as_ref().map(|answers| match answers {
                Ok(answers) => {
                    let got = answers
                        .get(place)
                        .cloned()
                        .unwrap_or_else(|| Err(Error::backend("get_each", "too few")));
                    answered(got.map(|value| value.as_deref().copied()), "get_each")
                }
                Err(error) => failed(error),
            });
            self.answer(process, operation, answer);
        }
    }

    async fn write(&self, place: usize, writing: Writing) {
        let process = self.process(place);
        let Writing { key, absent, how, between, fate } = writing;
        process.link.resumed().await;
        if process.link.is_dead() {
            return;
        }
        let guard = match how {
            Write::Guard(life) => self.announce(&process, key, life).await,
            _ => None,
        };
        if guard.is_some() && !between.is_zero() {
            // the rest of the transaction
            tokio::time::sleep(between).await;
        }
        process.link.resumed().await;
        if process.link.is_dead() {
            return;
        }
        let number = guard.as_ref().map(|(operation, _)| *operation);
        let (before, version) = self.truth.commit(process.number, key, absent, number);
        if fate == Fate::Dies {
            return self.crash(place, &process);
        }
        if !between.is_zero() {
            tokio::time::sleep(between).await;
        }
        process.link.resumed().await;
        if process.link.is_dead() || how == Write::Silent {
            return;
        }
        let ask = match how {
            Write::Insert if !absent => Ask::Insert { key, version },
            Write::InvalidateMany => Ask::Invalidate(vec![Scope::Key(key), Scope::Key(self.other(key))]),
            Write::KeyTag => Ask::Invalidate(vec![Scope::Tag(key_tag(key))]),
            Write::ValueTags => {
                let old = (before.version > 0 && !before.absent).then(|| value_tag(before.version));
                let new = (!absent).then(|| value_tag(version));
                Ask::Invalidate(old.into_iter().chain(new).map(Scope::Tag).collect())
            }
            Write::Clear => Ask::Invalidate(vec![Scope::All]),
            _ => Ask::Invalidate(vec![Scope::Key(key)]),
        };
        let operation = self.history.ask(process.number, ask.clone());
        let told = match guard {
            Some((_, guard)) => waited(guard.finish(), fate).await,
            None => waited(self.tell(&process, &ask), fate).await,
        };
        let answer = told.map(|told| match told {
            Ok(()) => Answer::Acknowledged,
            Err(error) => failed(&error),
        });
        self.answer(&process, operation, answer);
    }

    fn other(&self, key: u64) -> u64 {
        (key + 1) % self.setup.keys
    }

    async fn announce(
        &self,
        process: &Process,
        key: u64,
        life: Duration,
    ) -> Option<(u64, larder::WriteGuard<u64, Versioned>)> {
        let operation = self.history.ask(process.number, Ask::Guard { key, life });
        match process.cache.write_guard(&[key], life).await {
            Ok(guard) => {
                self.answer(process, operation, Some(Answer::Acknowledged));
                Some((operation, guard))
            }
            Err(error) => {
                self.answer(process, operation, Some(failed(&error)));
                None
            }
        }
    }

    async fn tell(&self, process: &Process, ask: &Ask) -> Result<()> {
        let cache = &process.cache;
        match ask {
            Ask::Insert { key, version } => cache.insert(key, (*key, *version)).await,
            Ask::Invalidate(scopes) => match scopes[..] {
                [Scope::All] => cache.clear().await,
                [Scope::Key(key)] => cache.invalidate(&key).await,
                [Scope::Tag(number)] => cache.invalidate_tag(&tag(number)).await,
                _ => {
                    let keys: Vec<u64> = scopes
                        .iter()
                        .filter_map(|scope| match scope {
                            Scope::Key(key) => Some(*key),
                            _ => None,
                        })
                        .collect();
                    let tags: Vec<_> = scopes
                        .iter()
                        .filter_map(|scope| match scope {
                            Scope::Tag(number) => Some(tag(*number)),
                            _ => None,
                        })
                        .collect();
                    cache.invalidate_many(&keys).await?;
                    cache.invalidate_tags(&tags).await
                }
            },
            _ => Ok(()),
        }
    }

    /// Faults end; what must come right by itself is waited for, and everybody reads.
    async fn settle(self: &Arc<Self>) {
        self.truth.recover();
        self.suffer(&Trouble::LosePushes(false));
        for (place, process) in self.living().iter().enumerate() {
            process.link.recover();
            _ = self.store.suffers(&Trouble::Mend(place.to_string()));
        }
        self.history.record(0, What::Note("faults have ended".to_owned()));
        // entries that nobody invalidated are still there
        self.acknowledged().await;
        self.read_all().await;
        let bound = self.setup.near.map(|near| near.bound).unwrap_or_default();
        tokio::time::sleep(self.setup.life() + bound + LONGEST_TRIP).await;
        self.history.record(0, What::Settled);
        self.read_all().await;
        self.end().await;
    }

    /// Waits until loads that hang have been given up, and what failed has been tried again: after 5 s either.
    async fn acknowledged(&self) {
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(400)).await;
            let is_idle = |cache: &Cache<u64, Versioned>| cache.unacknowledged() + cache.in_flight() == 0;
            let have_ended = lock(&self.dead).iter().all(|process| process.cache.in_flight() == 0);
            if have_ended && self.living().iter().all(|process| is_idle(&process.cache)) {
                return;
            }
        }
    }

    async fn read_all(self: &Arc<Self>) {
        let reads = async {
            for process in self.living() {
                for key in 0..self.setup.keys {
                    self.read(&process, key, Read::Fetch, Fate::Well).await;
                }
            }
        };
        // what hangs is found by the checker
        _ = tokio::time::timeout(PATIENCE, reads).await;
    }

    /// Nothing is left over.
    async fn end(&self) {
        let left = |what: String| self.history.record(0, What::Left(what));
        let living = std::mem::take(&mut *lock(&self.processes));
        lock(&self.dead).clear();
        for process in living {
            let shut = tokio::time::timeout(PATIENCE, process.cache.shutdown()).await;
            if !matches!(shut, Ok(Ok(()))) {
                left(format!("a cache that does not shut down: {shut:?}"));
            }
            let (flights, pending) = (process.cache.in_flight(), process.cache.unacknowledged());
            if flights + pending > 0 {
                left(format!("{flights} flights and {pending} invalidations of process {}", process.number));
            }
        }
        // the longest lease, and the tasks that look now and then whether somebody still watches
        tokio::time::sleep(self.setup.lease + Duration::from_secs(2)).await;
        self.store.left().into_iter().for_each(left);
    }

    /// Whether no task is left, in a runtime that nobody else uses.
    pub(super) fn is_alone(&self) {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
        if tasks > 0 {
            self.history.record(0, What::Left(format!("{tasks} tasks")));
        }
    }
}

struct Writing {
    key: u64,
    absent: bool,
    how: Write,
    between: Duration,
    fate: Fate,
}

fn with_backend<F>(
    builder: CacheBuilder<u64, Versioned>,
    far: Networked<F>,
    setup: &Setup,
) -> CacheBuilder<u64, Versioned>
where
    F: larder::IntoBackend<u64, Versioned> + Send + 'static,
{
    if setup.local {
        return builder.backend(Local::new(Near::of(4)));
    }
    let tiers = |NearTier { bound, ttl, most }| {
        move |far| {
            let tiers = Tiered::new(Local::new(Near::of(most)), far).bound(bound);
            match ttl {
                Some(ttl) => tiers.near_ttl(ttl),
                None => tiers,
            }
        }
    };
    match (setup.near, setup.breaker) {
        (None, false) => builder.backend(far),
        (None, true) => builder.backend(Breaker::new(far)),
        (Some(near), false) => builder.backend(tiers(near)(far)),
        (Some(NearTier { bound, ttl, most }), true) => {
            let tiers = Tiered::new(Local::new(Near::of(most)), Breaker::new(far)).bound(bound);
            builder.backend(match ttl {
                Some(ttl) => tiers.near_ttl(ttl),
                None => tiers,
            })
        }
    }
}

fn strategy(setup: &Setup, locks: Option<Locking>) -> Strategy<Versioned> {
    let mut strategy = Strategy::aside(setup.ttl)
        .lease(setup.lease)
        .load_timeout(setup.load_timeout)
        .backoff(Duration::from_millis(100), Duration::from_millis(500));
    if let Some(ttl) = setup.negative_ttl {
        strategy = strategy.negative_ttl(ttl);
    }
    if let Some(window) = setup.revalidate {
        strategy = strategy.stale_while_revalidate(window);
    }
    if let Some(window) = setup.if_error {
        strategy = strategy.stale_if_error(window);
    }
    if let Some(share) = setup.early {
        strategy = strategy.eager_refresh(share);
    }
    if let Some(limit) = setup.hard_timeout {
        strategy = strategy.hard_timeout(limit);
    }
    if setup.value_tags {
        strategy = strategy.tagged(|(_, version): &Versioned| [tag(value_tag(*version))]);
    }
    if setup.sourcing == Sourcing::Gathered {
        strategy = strategy.gather(Duration::from_millis(1), 3);
    }
    match locks {
        Some(locks) => strategy.locked(locks),
        None => strategy,
    }
}

/// The answer to a call, unless its caller leaves.
async fn waited<T>(call: impl Future<Output = T>, fate: Fate) -> Option<T> {
    let Fate::Leaves { polls, after } = fate else { return Some(call.await) };
    let mut call = pin!(call);
    let mut left = polls;
    let answer = std::future::poll_fn(|context| {
        left = left.saturating_sub(1);
        match call.as_mut().poll(context) {
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if answer.is_none() && !after.is_zero() {
        // not polled, and not yet gone
        tokio::time::sleep(after).await;
    }
    answer
}

fn answered(got: Result<Option<Versioned>>, from: &'static str) -> Answer {
    match got {
        Ok(Some((key, version))) => Answer::Found { seen: Seen::Version { key, version }, from },
        Ok(None) => Answer::Found { seen: Seen::Absent, from },
        Err(error) => failed(&error),
    }
}

fn fetched(found: Result<Fetched<Versioned>>) -> Answer {
    match found {
        Ok(found) => {
            let from = match found.origin {
                Origin::Near => "near",
                Origin::Far => "far",
                Origin::Loaded => "loaded",
                Origin::Joined => "joined",
                Origin::Stale => "stale",
                _ => "elsewhere",
            };
            answered(Ok(found.value.as_deref().copied()), from)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &Error) -> Answer {
    Answer::Failed(match error.kind() {
        ErrorKind::Source | ErrorKind::Panicked | ErrorKind::Timeout | ErrorKind::Overloaded => {
            Failure::Source
        }
        _ => Failure::Store,
    })
}
