//! Runs histories, on all cores.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::plan::{Plan, Step};
use super::report::{Failed, Options, Report};
use super::setup::Setup;
use super::store::Store;
use super::world::World;
use crate::check::{Event, Figures, History, Violation, check, shrink, timeline};

/// The number of shorter histories that are tried.
const TRIES: usize = 3_000;

/// Returns the history of a plan. The same plan gives the same history.
///
/// # Panics
/// If no tokio runtime can be made.
///
/// # Examples
/// See [`replay`].
#[must_use]
pub fn trace<S: Store>(plan: &Plan) -> Vec<Event> {
    // every choice in the engine is drawn from this generator
    fastrand::seed(plan.setup.seed());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime of this thread needs nothing");
    runtime.block_on(async {
        let history = History::in_tokio_time();
        let world = World::new(S::open(&plan.setup), &plan.setup, history.clone());
        world.run(plan).await;
        world.is_alone();
        history.take()
    })
}

/// Returns the history of a plan over a real store, in the time of the calling runtime.
///
/// With a remote server, tokio's clock cannot be paused. Check the history by [`Setup::rules_in_real_time`]. It
/// takes about ten seconds, so run many in parallel.
///
/// # Cancellation safety
/// If it is dropped, its tasks continue for a while.
///
/// # Examples
/// ```no_run
/// # use larder_testkit::{check::check, sim::{trace_in_real_time, Plan, Store}};
/// # async fn run<S: Store>(store: S) -> Result<(), larder_testkit::check::Violation> {
/// let plan = Plan::of(7, 3, 100);
/// let history = trace_in_real_time(store, &plan).await;
/// check(&history, &plan.setup.rules_in_real_time())?;
/// # Ok(()) }
/// ```
pub async fn trace_in_real_time<S: Store>(store: S, plan: &Plan) -> Vec<Event> {
    let history = History::in_tokio_time();
    // a machine that is slow for a moment is no error
    let setup = Setup { hard_timeout: None, ..plan.setup.clone() };
    World::new(store, &setup, history.clone()).run(plan).await;
    history.take()
}

/// Runs and checks one plan.
///
/// # Errors
/// The first violation.
///
/// # Examples
/// ```no_run
/// # use larder_testkit::sim::{replay, Plan, Store};
/// # fn again<S: Store>() {
/// // what the report of a violation says: this seed, and how many processes and steps
/// replay::<S>(&Plan::of(4711, 3, 240)).unwrap();
/// # }
/// ```
pub fn replay<S: Store>(plan: &Plan) -> Result<Figures, Violation> {
    check(&trace::<S>(plan), &plan.setup.rules())
}

/// Runs the number of histories in the options, on all cores, until one violates a guarantee.
///
/// # Examples
/// See the [module](super).
#[must_use]
pub fn simulate<S: Store>(options: &Options) -> Report {
    let began = Instant::now();
    let next = AtomicU64::new(0);
    let stop = AtomicBool::new(false);
    let total = Mutex::new(Report::default());
    let threads = options.threads();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let part = work::<S>(options, began, &next, &stop);
                total.lock().unwrap_or_else(PoisonError::into_inner).add(part);
            });
        }
    });
    let mut report = total.into_inner().unwrap_or_else(PoisonError::into_inner);
    (report.elapsed, report.threads, report.seed) = (began.elapsed(), threads, options.seed);
    report
}

fn work<S: Store>(options: &Options, began: Instant, next: &AtomicU64, stop: &AtomicBool) -> Report {
    let mut report = Report::default();
    let is_over = || options.time.is_some_and(|time| began.elapsed() >= time);
    while !stop.load(Ordering::Relaxed) && !is_over() {
        let number = next.fetch_add(1, Ordering::Relaxed);
        if options.histories.is_some_and(|histories| number >= histories) {
            break;
        }
        let plan = Plan::of(options.seed.wrapping_add(number), options.processes, options.steps);
        match replay::<S>(&plan) {
            Ok(figures) => report.count(&plan, figures),
            Err(violation) => {
                stop.store(true, Ordering::Relaxed);
                report.failed = Some(Box::new(shortest::<S>(plan, violation, options)));
            }
        }
    }
    report
}

/// Returns the shortest plan that violates the same guarantee, in the simplest configuration that does.
fn shortest<S: Store>(plan: Plan, violation: Violation, options: &Options) -> Failed {
    let rule = violation.rule;
    let fails = |plan: &Plan| matches!(replay::<S>(plan), Err(found) if found.rule == rule);
    let Plan { setup, steps } = plan;
    let steps =
        shrink(steps, TRIES, |steps: &[Step]| fails(&Plan { setup: setup.clone(), steps: steps.to_vec() }));
    let mut plan = Plan { setup, steps };
    for simpler in Setup::SIMPLER {
        let mut tried = plan.clone();
        simpler(&mut tried.setup);
        if tried != plan && fails(&tried) {
            plan = tried;
        }
    }
    let setup = plan.setup.clone();
    plan.steps = shrink(plan.steps, TRIES, |steps: &[Step]| {
        fails(&Plan { setup: setup.clone(), steps: steps.to_vec() })
    });
    let history = trace::<S>(&plan);
    let rules = plan.setup.rules();
    let violation = check(&history, &rules).err().unwrap_or(violation);
    let timeline = timeline(&history, &rules, violation.key);
    Failed {
        seed: plan.setup.seed(),
        processes: options.processes,
        steps: options.steps,
        violation,
        plan,
        timeline,
    }
}
