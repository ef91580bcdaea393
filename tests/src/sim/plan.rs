//! The actions of one history, and their times.

use std::time::Duration;

use fastrand::Rng;

use super::setup::Setup;
use super::store::Trouble;

const MILLIS: Duration = Duration::from_millis(1);

/// A configuration, and the actions in it.
///
/// # Examples
/// ```
/// use larder_testkit::sim::Plan;
/// let plan = Plan::of(7, 3, 240);
/// assert_eq!(plan.steps.len(), 240);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The configuration.
    pub setup: Setup,
    /// The actions, in the order of time.
    pub steps: Vec<Step>,
}

/// An action at a given time, regardless of running operations.
///
/// # Examples
/// See [`Plan`].
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// The time since the history began.
    pub at: Duration,
    /// The action.
    pub action: Action,
}

/// A kind of action. Processes are counted from 0. A crashed process is replaced under the same number.
///
/// # Examples
/// See [`Plan`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the names say it")]
pub enum Action {
    /// One key is read.
    Read { process: usize, key: u64, how: Read, fate: Fate },
    /// Many keys are read at once.
    ReadMany { process: usize, keys: Vec<u64>, fate: Fate },
    /// One row is written, and the cache is notified.
    Write { process: usize, key: u64, absent: bool, how: Write, between: Duration, fate: Fate },
    /// The store suffers.
    Suffer(Trouble),
    /// A process is paused.
    Pause { process: usize, time: Duration },
    /// A process crashes, and another takes its place.
    Crash { process: usize },
    /// Requests and replies of a process are lost.
    Lose { process: usize, time: Duration },
    /// Pushes to a process are late.
    SlowPushes { process: usize, time: Duration },
}

/// The way in which a key is read.
///
/// # Examples
/// See [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the methods of `larder::Cache`")]
pub enum Read {
    Get,
    Fetch,
    GetOrLoad,
    Lookup,
    Refresh,
}

/// The way in which the cache is notified of a write.
///
/// # Examples
/// See [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// No notification: the old value may be served for its life.
    Silent,
    /// An invalidation of the key.
    Invalidate,
    /// An invalidation of two keys at once.
    InvalidateMany,
    /// An invalidation of a tag that the key carries.
    KeyTag,
    /// An invalidation of the tags that the old and the new value carry.
    ValueTags,
    /// A clear of the whole cache.
    Clear,
    /// An insert of the new value.
    Insert,
    /// A write guard with this life, taken before the write.
    Guard(Duration),
}

/// The fate of the caller.
///
/// # Examples
/// See [`Plan`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The caller waits for the answer.
    Well,
    /// The caller is dropped some time after this many awaits.
    Leaves {
        /// The number of polls of the call.
        polls: u32,
        /// The time after the last poll.
        after: Duration,
    },
    /// The process crashes between the commit and the next step.
    Dies,
}

impl Plan {
    /// Returns the history of a seed, with this number of steps.
    ///
    /// # Examples
    /// See [`Plan`].
    #[must_use]
    pub fn of(seed: u64, most_processes: usize, steps: usize) -> Self {
        let setup = Setup::of(seed, most_processes);
        let random = &mut Rng::with_seed(seed ^ 0x009_1a5);
        let mut plan = Self { steps: Vec::with_capacity(steps), setup };
        let mut at = Duration::ZERO;
        // concurrent events break caches: bursts, mostly on one key
        while plan.steps.len() < steps {
            let key = random.u64(..plan.setup.keys);
            match random.u8(..16) {
                0..3 => {
                    at = plan.probe(random, key, at);
                    continue;
                }
                3..5 if !plan.setup.calm => {
                    at = plan.doubt(random, key, at);
                    continue;
                }
                _ => {}
            }
            let together = random.usize(2..=14).min(steps - plan.steps.len());
            let spread = plan.setup.load + 2 * plan.setup.trip + MILLIS;
            for _ in 0..together {
                let within = spread.mul_f64(random.f64() * 1.5);
                let action = plan.setup.action(random, key);
                plan.steps.push(Step { at: at + within, action });
            }
            at += match random.u8(..10) {
                0..6 => spread.mul_f64(random.f64()),
                6..9 => random.u32(..=200) * MILLIS,
                _ => plan.setup.life().mul_f64(random.f64() * 1.2),
            };
        }
        plan.steps.sort_by_key(|step| step.at);
        plan.steps.truncate(steps);
        plan
    }

    /// Lets one process write twice and read meanwhile, over a network that loses messages for a moment. Returns
    /// the time of the end.
    fn doubt(&mut self, random: &mut Rng, key: u64, at: Duration) -> Duration {
        let setup = self.setup.clone();
        let process = random.usize(..setup.processes);
        let spread = setup.load + 2 * setup.trip + 2 * MILLIS;
        let time = spread.mul_f64(random.f64() * 0.4);
        self.steps
            .push(Step { at: at + spread.mul_f64(random.f64()), action: Action::Lose { process, time } });
        for number in 0..8 {
            let at = at + spread.mul_f64(random.f64());
            let how = Write::Invalidate;
            let action = match number {
                0..2 => Action::Write {
                    process,
                    key,
                    absent: false,
                    how,
                    between: Duration::ZERO,
                    fate: Fate::Well,
                },
                _ => Action::Read { process, key, how: Read::Fetch, fate: Fate::Well },
            };
            self.steps.push(Step { at, action });
        }
        at + spread
    }

    /// Lets all processes read a key, adds a trouble sometimes, and lets one process write. Once all must know of
    /// the write, lets all read again. Returns the time of the end.
    fn probe(&mut self, random: &mut Rng, key: u64, mut at: Duration) -> Duration {
        let setup = self.setup.clone();
        let pause = setup.load + 4 * setup.trip + 5 * MILLIS;
        let read = |process| Action::Read { process, key, how: Read::Fetch, fate: Fate::Well };
        let mut add = |at, action| self.steps.push(Step { at, action });
        (0..setup.processes).for_each(|process| add(at, read(process)));
        at += pause;
        let process = random.usize(..setup.processes);
        if !setup.calm && !setup.local && random.bool() {
            add(at, setup.trouble(random, process));
            at += random.u32(..20) * MILLIS;
        }
        add(at, setup.write(random, process, key));
        at += pause + setup.near.map(|near| near.bound).unwrap_or_default();
        (0..setup.processes).for_each(|process| add(at, read(process)));
        at + pause
    }
}

impl Setup {
    fn action(&self, random: &mut Rng, burst: u64) -> Action {
        let process = random.usize(..self.processes);
        let key = if random.u8(..5) == 0 { random.u64(..self.keys) } else { burst };
        // few troubles, since otherwise nothing is ever cached
        let troubles = if self.calm || self.local { 0 } else { 40 };
        match random.u16(..1_000) {
            drawn if drawn < self.writes => self.write(random, process, key),
            drawn if drawn < self.writes + troubles => self.trouble(random, process),
            drawn if drawn < self.writes + troubles + 70 => {
                let keys = (0..self.keys).filter(|other| *other == key || random.bool()).collect();
                Action::ReadMany { process, keys, fate: fate(random) }
            }
            _ => Action::Read { process, key, how: read(random), fate: fate(random) },
        }
    }

    fn write(&self, random: &mut Rng, process: usize, key: u64) -> Action {
        let how = match random.u8(..100) {
            0..8 => Write::Silent,
            8..16 => Write::InvalidateMany,
            16..20 => Write::Clear,
            20..32 => Write::Insert,
            32..52 => {
                Write::Guard(*super::setup::pick(random, &[200 * MILLIS, 800 * MILLIS, 3_000 * MILLIS]))
            }
            52..67 if self.key_tags => Write::KeyTag,
            67..82 if self.value_tags => Write::ValueTags,
            _ => Write::Invalidate,
        };
        let between = match random.u8(..3) {
            0 => Duration::ZERO,
            _ => (self.load + self.trip).mul_f64(random.f64()),
        };
        let fate = match random.u8(..12) {
            0 if !self.calm => Fate::Dies,
            _ => fate(random),
        };
        Action::Write { process, key, absent: random.u8(..8) == 0, how, between, fate }
    }

    fn trouble(&self, random: &mut Rng, process: usize) -> Action {
        let time = random.u32(20..=2_500) * MILLIS;
        let name = || process.to_string();
        match random.u8(..100) {
            0..14 => Action::Suffer(Trouble::Evict(random.usize(1..=3))),
            14..20 => Action::Suffer(Trouble::Flush),
            20..24 => Action::Suffer(Trouble::RestartEmpty),
            24..32 => Action::Suffer(Trouble::Remember),
            32..36 => Action::Suffer(Trouble::Forget),
            36..42 if self.tagged() => Action::Suffer(Trouble::EvictLedger),
            42..48 if self.tagged() => Action::Suffer(Trouble::PruneTags),
            48..51 if self.near.is_some() => Action::Suffer(Trouble::LosePushes(true)),
            51..62 if self.near.is_some() => Action::Suffer(Trouble::LosePushes(false)),
            62..68 if self.near.is_some() => Action::SlowPushes { process, time },
            68..73 => Action::Suffer(Trouble::Cut(name())),
            73..79 => Action::Suffer(Trouble::Mend(name())),
            79..84 => Action::Pause { process, time },
            84..88 => Action::Crash { process },
            88..94 => Action::Suffer(Trouble::Repeat(time)),
            _ => Action::Lose { process, time },
        }
    }

    fn tagged(&self) -> bool {
        self.key_tags || self.value_tags
    }
}

fn read(random: &mut Rng) -> Read {
    match random.u8(..20) {
        0..7 => Read::Get,
        7..14 => Read::Fetch,
        14..17 => Read::GetOrLoad,
        17..19 => Read::Lookup,
        _ => Read::Refresh,
    }
}

fn fate(random: &mut Rng) -> Fate {
    match random.u8(..12) {
        0 => Fate::Leaves { polls: random.u32(1..=8), after: random.u32(..3) * 2 * MILLIS },
        _ => Fate::Well,
    }
}

impl Action {
    /// Returns `true` if the action is a fault.
    pub(super) fn is_fault(&self) -> bool {
        match self {
            Self::Read { fate, .. } | Self::ReadMany { fate, .. } | Self::Write { fate, .. } => {
                *fate != Fate::Well
            }
            Self::Suffer(trouble) => {
                !matches!(trouble, Trouble::Remember | Trouble::Mend(_) | Trouble::LosePushes(false))
            }
            _ => true,
        }
    }
}
