//! The configuration of a seed.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use larder::Tag;

use super::store::LONGEST_TRIP;
use crate::check::{Loads, Rules};

const MILLIS: Duration = Duration::from_millis(1);

/// A near tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NearTier {
    pub(super) bound: Duration,
    pub(super) ttl: Option<Duration>,
    pub(super) most: usize,
}

/// The way in which the source is asked.
///
/// # Examples
/// See [`Setup`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sourcing {
    /// One key at a time.
    Single,
    /// Many keys at a time.
    Batched,
    /// Many keys at a time; single misses are gathered too.
    Gathered,
    /// With the answer "not modified".
    Conditional,
}

/// A configuration: the combined features, and the faults.
///
/// # Examples
/// ```
/// use larder_testkit::sim::Setup;
/// let setup = Setup::of(7, 3);
/// assert_eq!(format!("{setup:?}"), format!("{:?}", Setup::of(7, 3)));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Setup {
    pub(super) seed: u64,
    pub(super) processes: usize,
    pub(super) keys: u64,
    /// `true` if the store is this process's memory: there is one process, and no other store.
    pub(super) local: bool,
    pub(super) ttl: Duration,
    pub(super) negative_ttl: Option<Duration>,
    pub(super) revalidate: Option<Duration>,
    pub(super) if_error: Option<Duration>,
    pub(super) early: Option<f64>,
    pub(super) hard_timeout: Option<Duration>,
    pub(super) near: Option<NearTier>,
    pub(super) locked: bool,
    pub(super) key_tags: bool,
    pub(super) value_tags: bool,
    pub(super) sourcing: Sourcing,
    pub(super) breaker: bool,
    pub(super) lease: Duration,
    pub(super) load_timeout: Duration,
    /// The longest load that does not hang.
    pub(super) load: Duration,
    /// The longest usual trip of a request or a reply.
    pub(super) trip: Duration,
    /// The time that the clock of each process is ahead.
    pub(super) ahead: Vec<Duration>,
    /// `true` if there are no faults.
    pub(super) calm: bool,
    /// `true` if loads fail, panic and hang.
    pub(super) unsound_source: bool,
    /// The percentage of messages that are lost.
    pub(super) loss: u8,
    /// The number of writes in a thousand steps.
    pub(super) writes: u16,
    /// The capacity of the store.
    pub(super) capacity: Option<usize>,
}

impl Setup {
    /// The longest pause of a process.
    pub(super) const LONGEST_PAUSE: Duration = Duration::from_millis(2_500);

    /// Returns the configuration of a seed, for at most this number of processes.
    ///
    /// # Examples
    /// See [`Setup`].
    #[must_use]
    pub fn of(seed: u64, most_processes: usize) -> Self {
        let random = &mut Rng::with_seed(seed ^ 0x5e70_5e70);
        let processes = random.usize(1..=most_processes.max(1));
        let local = processes == 1 && random.bool();
        let calm = random.u8(..4) == 0;
        let ttl = *pick(random, &[300 * MILLIS, 1_000 * MILLIS, 4_000 * MILLIS]);
        let mut maybe = |share: f64| random.f64() < share;
        let (revalidate, if_error, early) = (maybe(0.3), maybe(0.3), maybe(0.2));
        let (near, locked) = (maybe(0.5), maybe(0.35));
        let (key_tags, value_tags) = (maybe(0.4), maybe(0.3));
        let (negative, breaker, hard_timeout) = (maybe(0.4), maybe(0.2), maybe(0.15));
        let unsound_source = !calm && maybe(0.5);
        let bounded = !calm && maybe(0.2);
        let window = |random: &mut Rng| random.u32(1..=8) * 500 * MILLIS;
        let revalidate = revalidate.then(|| window(random));
        let if_error = if_error.then(|| window(random));
        let near = near.then(|| NearTier {
            bound: *pick(random, &[200 * MILLIS, 400 * MILLIS, 1_000 * MILLIS]),
            ttl: random.bool().then(|| random.u32(1..=20) * 100 * MILLIS),
            most: random.usize(1..=4),
        });
        let load = *pick(random, &[2 * MILLIS, 20 * MILLIS, 150 * MILLIS, 1_000 * MILLIS]);
        let trip = *pick(random, &[Duration::ZERO, MILLIS, 5 * MILLIS, 40 * MILLIS, 150 * MILLIS]);
        // long enough for a load without faults; a waiter for a crashed process's lock waits longer
        let patience = load + 6 * trip + random.u32(1..=10) * 50 * MILLIS;
        let hard_timeout = (hard_timeout && !locked).then_some(patience);
        Self {
            seed,
            processes,
            keys: random.u64(1..=4),
            local,
            ttl,
            negative_ttl: negative.then_some(ttl),
            revalidate,
            if_error,
            early: early.then(|| random.f64() * 0.8 + 0.1),
            hard_timeout,
            near,
            locked,
            key_tags,
            value_tags,
            sourcing: *pick(
                random,
                &[Sourcing::Single, Sourcing::Batched, Sourcing::Gathered, Sourcing::Conditional],
            ),
            breaker,
            lease: *pick(random, &[300 * MILLIS, 1_000 * MILLIS, 10_000 * MILLIS]),
            load_timeout: 5_000 * MILLIS,
            load,
            trip,
            ahead: (0..processes).map(|_| random.u32(..7_200_000) * MILLIS).collect(),
            calm,
            unsound_source,
            loss: if calm { 0 } else { *pick(random, &[1, 1, 5, 15]) },
            writes: *pick(random, &[350, 350, 100, 15]),
            capacity: bounded.then(|| random.usize(2..=6)),
        }
    }

    /// Returns the seed.
    ///
    /// # Examples
    /// ```
    /// assert_eq!(larder_testkit::sim::Setup::of(7, 3).seed(), 7);
    /// ```
    #[must_use]
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Returns the maximum number of values and fences in the store. The least recently used are evicted first.
    ///
    /// # Examples
    /// ```
    /// let bounded = (0..100).filter(|seed| larder_testkit::sim::Setup::of(*seed, 3).capacity().is_some()).count();
    /// assert!((5..40).contains(&bounded));
    /// ```
    #[must_use]
    pub fn capacity(&self) -> Option<usize> {
        self.capacity
    }

    fn refreshes(&self) -> bool {
        self.revalidate.is_some() || self.early.is_some()
    }

    /// Returns the longest life of an entry.
    pub(super) fn life(&self) -> Duration {
        self.ttl + self.revalidate.max(self.if_error).unwrap_or_default()
    }

    /// Returns the rules for every history of this configuration.
    ///
    /// # Examples
    /// See [`replay`](super::replay), which does so.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let (key_tags, value_tags) = (self.key_tags, self.value_tags);
        let calm_for = match (self.calm, self.locked) {
            (true, _) => 8 * (self.load + self.trip),
            (false, false) => Duration::from_secs(3),
            (false, true) => Duration::from_secs(15),
        };
        // a lease that messages outlive cannot be renewed in time
        let keeps_locks = self.lease * 2 / 3 > 5 * self.trip;
        let loads = match (self.refreshes(), self.locked && self.calm && keeps_locks) {
            // a miss does not wait for a slow refresh
            (true, _) => Loads::Any,
            (false, true) => Loads::OnePerCluster { calm_for },
            (false, false) => Loads::OnePerProcess { calm_for },
        };
        Rules {
            near_bound: self.near.map(|near| near.bound).unwrap_or_default(),
            // a load reads and takes its time, and the network and a pause may delay its fill
            max_age: self.life() + self.load_timeout + 2 * LONGEST_TRIP + 2 * Self::LONGEST_PAUSE,
            loads,
            answered_within: Duration::from_secs(90),
            // a read that times out on a lock is served stale; the entry may expire in the very moment of the
            // answer
            source_is_sound: !self.unsound_source
                && self.hard_timeout.is_none()
                && !(self.locked && self.if_error.is_some()),
            tags: Arc::new(move |key, version| {
                let of_key = key_tags.then_some(key_tag(key));
                let of_value = version.filter(|_| value_tags).map(value_tag);
                of_key.into_iter().chain(of_value).collect()
            }),
        }
    }
}

impl Setup {
    /// Returns the rules for a history in real time: as [`rules`](Self::rules), without those on durations and
    /// parallel loads. A machine that is slow for a moment would break these.
    ///
    /// # Examples
    /// See [`trace_in_real_time`](super::trace_in_real_time).
    #[must_use]
    pub fn rules_in_real_time(&self) -> Rules {
        let rules = self.rules();
        Rules {
            max_age: Duration::MAX,
            loads: Loads::Any,
            answered_within: Duration::MAX,
            source_is_sound: false,
            ..rules
        }
    }
}

/// Returns the number of the tag that a key carries. Two keys share one.
pub(super) fn key_tag(key: u64) -> u64 {
    100 + key / 2
}

/// Returns the number of the tag that a version carries.
pub(super) fn value_tag(version: u64) -> u64 {
    200 + version % 3
}

/// Returns a tag by its number.
pub(super) fn tag(number: u64) -> Tag {
    Tag::new("n", number)
}

pub(super) fn pick<'a, T>(random: &mut Rng, choices: &'a [T]) -> &'a T {
    &choices[random.usize(..choices.len())]
}

impl Setup {
    /// The simplifications of a configuration, each independent of the others.
    pub(super) const SIMPLER: [fn(&mut Setup); 12] = [
        |setup| setup.near = None,
        |setup| setup.breaker = false,
        |setup| setup.early = None,
        |setup| setup.revalidate = None,
        |setup| setup.if_error = None,
        |setup| setup.hard_timeout = None,
        |setup| setup.locked = false,
        |setup| setup.value_tags = false,
        |setup| setup.key_tags = false,
        |setup| setup.sourcing = Sourcing::Single,
        |setup| setup.capacity = None,
        |setup| setup.unsound_source = false,
    ];
}
