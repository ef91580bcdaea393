//! The method of measurement: contenders take turns in one process. Reported are medians, and ratios taken round by
//! round.

use std::future::Future;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

/// A participant in a comparison: `run` measures it once and returns the figure.
pub struct Contender<'a> {
    pub name: String,
    pub run: Box<dyn FnMut() -> f64 + 'a>,
}

impl<'a> Contender<'a> {
    pub fn new(name: impl Into<String>, run: impl FnMut() -> f64 + 'a) -> Self {
        Self { name: name.into(), run: Box::new(run) }
    }
}

/// The figures of one contender, one for each round.
#[derive(Debug, Clone, Default)]
pub struct Figures {
    pub name: String,
    pub rounds: Vec<f64>,
}

impl Figures {
    pub fn median(&self) -> f64 {
        median(self.rounds.clone())
    }

    /// The median of the ratios to `base`, round by round: a machine whose speed drifts does not matter.
    pub fn ratio(&self, base: &Self) -> f64 {
        median(self.rounds.iter().zip(&base.rounds).map(|(own, base)| own / base).collect())
    }
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}

/// A part of sorted figures, as in 0.99.
pub fn quantile(mut figures: Vec<f64>, part: f64) -> f64 {
    figures.sort_by(f64::total_cmp);
    let at = ((figures.len() as f64 * part) as usize).min(figures.len().saturating_sub(1));
    figures.get(at).copied().unwrap_or(f64::NAN)
}

/// Lets all take turns, after one turn that does not count; each round begins with another of them.
pub fn interleave(contenders: &mut [Contender<'_>], rounds: usize) -> Vec<Figures> {
    let names = contenders.iter().map(|contender| contender.name.clone());
    let mut figures: Vec<Figures> = names.map(|name| Figures { name, rounds: vec![] }).collect();
    for round in 0..=rounds {
        for turn in 0..contenders.len() {
            let at = (turn + round) % contenders.len();
            let figure = (contenders[at].run)();
            if round > 0 {
                figures[at].rounds.push(figure);
            }
        }
    }
    figures
}

/// A runtime of this thread alone, as every contender of a local measurement has.
pub fn single() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A runtime of two threads, as every contender of a far measurement has.
pub fn double() -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(2).enable_all().build().expect("a runtime")
}

/// Runs a future on a runtime of this thread.
pub fn block_on<F: Future>(future: F) -> F::Output {
    thread_local! {
        static RUNTIME: Runtime = single();
    }
    RUNTIME.with(|runtime| runtime.block_on(future))
}

/// Nanoseconds for each of `count` operations.
pub fn nanos(count: usize, operations: impl FnOnce()) -> f64 {
    let began = Instant::now();
    operations();
    began.elapsed().as_nanos() as f64 / count as f64
}

/// Allocations of this thread for each of `count` operations.
pub fn allocations(count: usize, operations: impl FnOnce()) -> f64 {
    allocation_counter::measure(operations).count_total as f64 / count as f64
}

/// Bytes that this thread has allocated and not given back while `keep` ran.
pub fn kept_bytes(keep: impl FnOnce()) -> f64 {
    allocation_counter::measure(keep).bytes_current as f64
}

/// The processor time that this process has had, all living threads together.
pub fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let spent = |task: std::fs::DirEntry| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    Duration::from_nanos(tasks.filter_map(spent).sum())
}
