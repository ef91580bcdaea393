//! The options and the result of a run.

use std::fmt;
use std::num::NonZero;
use std::time::Duration;

use super::plan::{Action, Plan};
use crate::check::{Figures, Violation};

/// The size of a run.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use larder_testkit::sim::Options;
/// let an_hour = Options::new(7).time(Duration::from_secs(3_600));
/// # let _ = an_hour;
/// ```
#[derive(Debug, Clone)]
pub struct Options {
    pub(super) seed: u64,
    pub(super) time: Option<Duration>,
    pub(super) histories: Option<u64>,
    pub(super) processes: usize,
    pub(super) steps: usize,
    threads: Option<usize>,
}

impl Options {
    /// Runs histories from this seed on, each with the next number. Without [`time`](Self::time) or
    /// [`histories`](Self::histories) the run continues until a guarantee is violated.
    ///
    /// # Examples
    /// See [`Options`].
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, time: None, histories: None, processes: 3, steps: 240, threads: None }
    }

    /// Sets the time of the run. Default no limit.
    ///
    /// # Examples
    /// See [`Options`].
    #[must_use]
    pub fn time(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Sets the number of histories. Default no limit.
    ///
    /// # Examples
    /// See the [module](super).
    #[must_use]
    pub fn histories(mut self, histories: u64) -> Self {
        self.histories = Some(histories);
        self
    }

    /// Sets the maximum number of processes. Default 3; 1 for a store that processes do not share.
    ///
    /// # Examples
    /// See the [module](super).
    #[must_use]
    pub fn processes(mut self, processes: usize) -> Self {
        self.processes = processes.max(1);
        self
    }

    /// Sets the number of steps of a history. Default 240.
    ///
    /// # Examples
    /// ```
    /// let short = larder_testkit::sim::Options::new(1).steps(60).on_threads(1);
    /// # let _ = short;
    /// ```
    #[must_use]
    pub fn steps(mut self, steps: usize) -> Self {
        self.steps = steps;
        self
    }

    /// Sets the number of threads. Default: the number of cores.
    ///
    /// # Examples
    /// See [`steps`](Self::steps).
    #[must_use]
    pub fn on_threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads.max(1));
        self
    }

    pub(super) fn threads(&self) -> usize {
        self.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, NonZero::get))
    }
}

/// The result of a run. Prints as the rows of a table.
///
/// # Examples
/// See the [module](super).
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// The first seed.
    pub seed: u64,
    /// The number of histories that were run and kept every guarantee.
    pub histories: u64,
    /// The contents of these histories.
    pub figures: Figures,
    /// The number of deliberate faults: troubles of the store, pauses, crashes, losses, callers that left.
    pub faults: u64,
    /// The time that the run took.
    pub elapsed: Duration,
    /// The number of threads.
    pub threads: usize,
    /// The violation that ended the run, if there is one.
    pub failed: Option<Box<Failed>>,
}

impl Report {
    pub(super) fn count(&mut self, plan: &Plan, figures: Figures) {
        self.histories += 1;
        self.faults += plan.steps.iter().filter(|step| Action::is_fault(&step.action)).count() as u64;
        self.add_figures(figures);
    }

    fn add_figures(&mut self, figures: Figures) {
        let Figures { operations, reads, bound_reads, commits, acknowledged, loads } = figures;
        self.figures.operations += operations;
        self.figures.reads += reads;
        self.figures.bound_reads += bound_reads;
        self.figures.commits += commits;
        self.figures.acknowledged += acknowledged;
        self.figures.loads += loads;
    }

    pub(super) fn add(&mut self, part: Self) {
        let Self { seed: _, histories, figures, faults, elapsed: _, threads: _, failed } = part;
        self.histories += histories;
        self.faults += faults;
        self.add_figures(figures);
        if self.failed.is_none() {
            self.failed = failed;
        }
    }

    /// Returns the number of histories that each core ran in a second.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder_testkit::sim::Report::default().rate(), 0.0);
    /// ```
    #[must_use]
    pub fn rate(&self) -> f64 {
        let cores = self.threads.max(1) as f64;
        self.histories as f64 / self.elapsed.as_secs_f64().max(1e-9) / cores
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Figures { operations, reads, bound_reads, commits, acknowledged, loads } = self.figures;
        writeln!(f, "| seeds | {} and the next {} |", self.seed, self.histories)?;
        writeln!(f, "| time, threads | {:.0} s, {} |", self.elapsed.as_secs_f64(), self.threads)?;
        writeln!(f, "| histories | {} |", self.histories)?;
        writeln!(f, "| histories a second and core | {:.0} |", self.rate())?;
        writeln!(f, "| operations | {operations} |")?;
        writeln!(f, "| reads checked | {reads} |")?;
        writeln!(f, "| of these bound by an acknowledged invalidation | {bound_reads} |")?;
        writeln!(f, "| commits, acknowledged invalidations | {commits}, {acknowledged} |")?;
        writeln!(f, "| loads | {loads} |")?;
        writeln!(f, "| faults injected on purpose (each loses or delays many messages) | {} |", self.faults)?;
        writeln!(f, "| violations | {} |", u8::from(self.failed.is_some()))?;
        match &self.failed {
            Some(failed) => write!(f, "\n{failed}"),
            None => Ok(()),
        }
    }
}

/// A violation, and the shortest history that was found with it.
///
/// # Examples
/// See the [module](super).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failed {
    /// The seed of the history in which it was found.
    pub seed: u64,
    /// The options of the run. The seed and the options determine the history.
    pub processes: usize,
    /// The number of steps of the history.
    pub steps: usize,
    /// The violation in the shortest history.
    pub violation: Violation,
    /// The shortest history, for [`replay`](super::replay).
    pub plan: Plan,
    /// The events of the shortest history that concern the key.
    pub timeline: String,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, processes, steps, violation, plan, timeline } = self;
        writeln!(f, "{violation}")?;
        writeln!(
            f,
            "seed {seed} with up to {processes} processes and {steps} steps; {} are enough:",
            plan.steps.len()
        )?;
        writeln!(f, "{:#?}", plan.setup)?;
        for step in &plan.steps {
            writeln!(f, "{:>10.6} s  {:?}", step.at.as_secs_f64(), step.action)?;
        }
        writeln!(f, "\n{timeline}")
    }
}
