//! A monotonic clock, corrected by the time that the machine was suspended.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, DynamicClockId, Timespec, clock_gettime, clock_gettime_dynamic};

use super::{Clock, Timestamp};

/// The longest running time between two looks at the boot-time clock. With a tick of the coarse clock (10 ms) it is
/// [`CLOCK_LAG`](super::CLOCK_LAG).
const REFRESH: Duration = Duration::from_millis(10);
/// The boot time is good if it was read within this time; a thread that was preempted meanwhile tries again.
const CLOSE: u64 = 100_000;
const TRIES: u32 = 4;

/// The readings of a machine, in nanoseconds. Tests suspend one that does not exist.
pub(super) trait Machine: fmt::Debug + Send + Sync + 'static {
    /// The time that the machine has run.
    fn monotonic(&self) -> u64;

    /// The same as of the last tick.
    fn coarse(&self) -> u64;

    /// The time that the machine has run or was suspended; `None` if the system does not know it.
    fn boottime(&self) -> Option<u64>;

    fn suspended(&self) -> &Suspended;
}

/// The time that a machine was suspended, as of the last look.
///
/// Aligned to a cache line: every hit reads it, so nothing that is often written may be beside it.
#[derive(Debug)]
#[repr(align(64))]
pub(super) struct Suspended {
    total: AtomicU64,
    /// The monotonic reading from which on the total is looked up again.
    due: AtomicU64,
}

impl Suspended {
    pub(super) const fn new() -> Self {
        Self { total: AtomicU64::new(0), due: AtomicU64::new(0) }
    }
}

/// The machine's monotonic clocks plus its suspended time.
///
/// The orderings are relaxed, which costs a hit two loads and no more. The total only grows, and all threads see one
/// order of its values, so no time that a thread reads is before one that it knows of. A thread that sees `due`
/// raised before it sees the new total is late by the time that a store takes to arrive.
#[derive(Debug, Clone)]
pub(super) struct Corrected<M> {
    machine: M,
    origin: u64,
}

impl<M: Machine> Corrected<M> {
    /// A clock whose origin is one hour ago.
    pub(super) fn new(machine: M) -> Self {
        let now = Self { machine, origin: 0 };
        let origin = now.now().as_nanos().saturating_sub(3_600_000_000_000);
        Self { origin, ..now }
    }

    #[inline]
    fn since_origin(&self, monotonic: u64) -> Timestamp {
        let suspended = self.machine.suspended();
        if monotonic >= suspended.due.load(Ordering::Relaxed) {
            return self.refreshed(monotonic);
        }
        self.corrected(monotonic, suspended.total.load(Ordering::Relaxed))
    }

    #[inline]
    fn corrected(&self, monotonic: u64, suspended: u64) -> Timestamp {
        // no reading is before the origin: a coarse one lags by milliseconds, none is below zero, the total only
        // grows
        Timestamp(monotonic.wrapping_add(suspended).wrapping_sub(self.origin))
    }

    /// The rest of `since_origin` with another look at the boot-time clock. It takes the rest of the work with it, so
    /// that a hit keeps no more in registers.
    #[cold]
    #[inline(never)]
    fn refreshed(&self, monotonic: u64) -> Timestamp {
        let suspended = self.machine.suspended();
        let mut last = self.machine.monotonic();
        for _ in 0..TRIES {
            let Some(boottime) = self.machine.boottime() else { break };
            let before = std::mem::replace(&mut last, self.machine.monotonic());
            // The monotonic clock is read last: prevents a difference that is too large, which would be kept for
            // ever.
            suspended.total.fetch_max(boottime.saturating_sub(last), Ordering::Relaxed);
            if last.saturating_sub(before) < CLOSE {
                break;
            }
        }
        // after the total, so that no reading relies on a look that another thread has not finished
        suspended.due.store(last.saturating_add(REFRESH.as_nanos() as u64), Ordering::Relaxed);
        self.corrected(monotonic, suspended.total.load(Ordering::Relaxed))
    }
}

impl<M: Machine> Clock for Corrected<M> {
    fn now(&self) -> Timestamp {
        self.since_origin(self.machine.monotonic())
    }

    #[inline]
    fn recent(&self) -> Timestamp {
        self.since_origin(self.machine.coarse())
    }
}

/// The machine that this process runs on.
#[derive(Debug, Clone)]
pub(super) struct Linux;

static SUSPENDED: Suspended = Suspended::new();

#[inline]
fn nanos(time: Timespec) -> u64 {
    // these clocks count from the machine's start: never below zero, and 584 years are too few to reach the end
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

impl Machine for Linux {
    fn monotonic(&self) -> u64 {
        nanos(clock_gettime(ClockId::Monotonic))
    }

    #[inline]
    fn coarse(&self) -> u64 {
        nanos(clock_gettime(ClockId::MonotonicCoarse))
    }

    fn boottime(&self) -> Option<u64> {
        // a sandbox may refuse this clock, and `clock_gettime` panics then
        clock_gettime_dynamic(DynamicClockId::Boottime).ok().map(nanos)
    }

    #[inline]
    fn suspended(&self) -> &Suspended {
        &SUSPENDED
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::backend::Entry;
    use crate::clock::CLOCK_LAG;

    const SECOND: Duration = Duration::from_secs(1);
    const TICK: u64 = 4_000_000;

    /// A machine that runs and is suspended when a test says so.
    #[derive(Debug, Clone)]
    struct Laptop(Arc<Readings>);

    #[derive(Debug)]
    struct Readings {
        ran: AtomicU64,
        slept: AtomicU64,
        has_boottime: bool,
        suspended: Suspended,
    }

    impl Laptop {
        fn new(ran: Duration, slept: Duration, has_boottime: bool) -> Self {
            let [ran, slept] = [ran, slept].map(|time| AtomicU64::new(time.as_nanos() as u64));
            Self(Arc::new(Readings { ran, slept, has_boottime, suspended: Suspended::new() }))
        }

        fn run(&self, time: Duration) {
            self.0.ran.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
        }

        fn suspend(&self, time: Duration) {
            self.0.slept.fetch_add(time.as_nanos() as u64, Ordering::SeqCst);
        }
    }

    impl Machine for Laptop {
        fn monotonic(&self) -> u64 {
            self.0.ran.load(Ordering::SeqCst)
        }

        fn coarse(&self) -> u64 {
            self.monotonic() / TICK * TICK
        }

        fn boottime(&self) -> Option<u64> {
            self.0.has_boottime.then(|| self.monotonic() + self.0.slept.load(Ordering::SeqCst))
        }

        fn suspended(&self) -> &Suspended {
            &self.0.suspended
        }
    }

    #[test]
    fn a_suspend_ages_what_is_kept() {
        let laptop = Laptop::new(1_000 * SECOND, Duration::ZERO, true);
        let clock = Corrected::new(laptop.clone());
        let entry = Entry::new(Some(Arc::new(7)), clock.now(), SECOND);
        laptop.suspend(5 * SECOND);
        laptop.run(CLOCK_LAG);
        // the hit path alone notices: nothing asks for the precise time while all reads are hits
        assert!(!entry.is_alive(clock.recent()), "at {:?}: 5 s old with a life of 1 s", clock.recent());
        assert_eq!(entry.age(clock.now()), 5 * SECOND + CLOCK_LAG);
    }

    #[cfg(feature = "quick")]
    #[tokio::test]
    async fn a_suspend_counts_for_the_bound_of_the_near_tier() {
        use crate::cache::Origin;
        use crate::{Cache, Quick, Strategy, Tiered, source_fn};

        let laptop = Laptop::new(1_000 * SECOND, Duration::ZERO, true);
        let source = source_fn(|key: u64| async move { Ok::<_, std::convert::Infallible>(Some(key)) });
        let cache = Cache::builder()
            .backend(Tiered::new(Quick::new(10), Quick::new(10)).max_staleness(SECOND))
            .source(source)
            .strategy(Strategy::aside(3_600 * SECOND))
            .clock(Corrected::new(laptop.clone()))
            .build()
            .expect("the parts fit together");
        cache.get(&7).await.expect("the source answers");
        let mut origins = vec![];
        for suspended in [0, 0, 5] {
            laptop.suspend(suspended * SECOND);
            laptop.run(CLOCK_LAG);
            origins.push(cache.get_entry(&7).await.expect("it is there").origin);
        }
        assert_eq!(origins[1..], [Origin::Near, Origin::Far]);
    }

    #[test]
    fn precise_readings_notice_as_soon() {
        let laptop = Laptop::new(1_000 * SECOND, Duration::ZERO, true);
        let clock = Corrected::new(laptop.clone());
        let before = clock.now();
        laptop.suspend(5 * SECOND);
        laptop.run(REFRESH);
        assert_eq!(before.until(clock.now()), 5 * SECOND + REFRESH);
    }

    #[test]
    fn what_was_suspended_before_the_start_is_no_age() {
        let laptop = Laptop::new(10 * SECOND, 86_400 * SECOND, true);
        let hour = Timestamp::ORIGIN.saturating_add(3_600 * SECOND);
        assert_eq!(Corrected::new(laptop.clone()).now(), hour);
        // one that is made later agrees
        laptop.suspend(SECOND);
        laptop.run(SECOND);
        assert_eq!(Corrected::new(laptop).now(), hour);
    }

    #[test]
    fn without_a_boot_time_clock_the_running_time_counts() {
        let laptop = Laptop::new(1_000 * SECOND, Duration::ZERO, false);
        let clock = Corrected::new(laptop.clone());
        let before = clock.now();
        laptop.suspend(5 * SECOND);
        laptop.run(SECOND);
        assert_eq!(before.until(clock.now()), SECOND);
    }

    #[test]
    fn no_reading_goes_back_or_ahead() {
        let mut random = fastrand::Rng::with_seed(7);
        let laptop = Laptop::new(SECOND, Duration::ZERO, true);
        let clock = Corrected::new(laptop.clone());
        let (mut last_recent, mut last_now) = (clock.recent(), clock.now());
        let (began, mut passed, mut awake) = (last_now, Duration::ZERO, CLOCK_LAG);
        for _ in 0..10_000 {
            let step = Duration::from_micros(random.u64(..8_000));
            match random.u8(..10) {
                0 => {
                    laptop.suspend(100 * step);
                    awake = Duration::ZERO;
                }
                _ => {
                    laptop.run(step);
                    awake += step;
                }
            }
            passed = Duration::from_nanos(
                laptop.0.ran.load(Ordering::SeqCst) - 1_000_000_000 + laptop.0.slept.load(Ordering::SeqCst),
            );
            let (recent, now) = (clock.recent(), clock.now());
            assert!(last_recent <= recent && last_now <= now && recent <= now);
            if awake >= CLOCK_LAG {
                assert!(recent.until(now) <= CLOCK_LAG, "{recent:?} lags behind {now:?}");
            }
            assert!(began.until(now) <= passed, "{now:?} is ahead");
            (last_recent, last_now) = (recent, now);
        }
        laptop.run(REFRESH);
        assert_eq!(began.until(clock.now()), passed + REFRESH);
    }

    #[test]
    fn threads_agree_on_the_machines_clock() {
        let clock = Corrected::new(Linux);
        for _ in 0..100 {
            let (sent, received) = std::sync::mpsc::channel();
            let mine = clock.clone();
            std::thread::scope(|scope| {
                scope.spawn(move || sent.send(mine.now()));
                let theirs = received.recv().expect("the thread reads the clock");
                assert!(theirs <= clock.now());
            });
        }
    }
}
