//! Processes, a source and a store, and the actions on them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinSet;

use super::calls::Writing;
use super::plan::{Action, Plan};
use super::process::Process;
use super::setup::Setup;
use super::source::Truth;
use super::store::{Store, Trouble};
use crate::check::{History, What};

/// The time after the last operation began by which every operation must have ended.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

pub(super) struct World<S> {
    pub(super) setup: Setup,
    pub(super) store: S,
    pub(super) truth: Arc<Truth>,
    pub(super) history: History,
    pub(super) processes: Mutex<Vec<Arc<Process>>>,
    /// The crashed processes: their loads end after their budgets.
    pub(super) dead: Mutex<Vec<Arc<Process>>>,
    /// The number of events when the store took a snapshot.
    pub(super) remembered: Mutex<Option<usize>>,
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: Store> World<S> {
    pub(super) fn new(store: S, setup: &Setup, history: History) -> Arc<Self> {
        store.observe(&history);
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
            // the outcome is checked at the end
        }
        let ended = async {
            while let Some(ended) = running.join_next().await {
                if let Err(error) = ended {
                    self.history.record(0, What::Left(format!("a caller that panicked: {error}")));
                }
            }
        };
        // the checker reports operations that have not ended by then
        _ = tokio::time::timeout(PATIENCE, ended).await;
        running.abort_all();
        self.settle().await;
    }

    pub(super) fn process(&self, place: usize) -> Arc<Process> {
        let processes = lock(&self.processes);
        Arc::clone(&processes[place % processes.len()])
    }

    pub(super) fn living(&self) -> Vec<Arc<Process>> {
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

    pub(super) fn suffer(&self, trouble: &Trouble) {
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
        self.store.suffered(trouble);
    }

    /// Crashes a process, and starts another in its place.
    pub(super) fn crash(&self, place: usize, process: &Arc<Process>) {
        if process.link.is_dead() {
            return;
        }
        process.link.kill();
        self.history.record(process.number, What::Crashed);
        // ends its background work, since a crashed process retries nothing
        let dead = process.cache.clone();
        tokio::spawn(async move { _ = dead.shutdown().await });
        let number = process.number + 10;
        let heir = self.start(place, number);
        let mut processes = lock(&self.processes);
        let place = place % processes.len();
        processes[place] = heir;
        lock(&self.dead).push(Arc::clone(process));
    }
}
