//! A connection that is made again after a loss.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use tokio::time::Instant;

use super::{Failure, FailureKind};

/// The first pause after a failed connection attempt.
const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// The time after which a timeout is forgotten, if answers do not clear it.
const REMEMBERED: Duration = Duration::from_secs(5);

type Dialing<C> = Shared<BoxFuture<'static, Result<Live<C>, Failure>>>;
type Dialer<C> = Box<dyn Fn() -> BoxFuture<'static, Result<C, Failure>> + Send + Sync>;

/// A connection, and its number.
#[derive(Clone)]
pub(super) struct Live<C> {
    pub(super) connection: C,
    number: u64,
    since: Instant,
    timeouts: Arc<Timeouts>,
}

/// The commands that were not answered in time.
#[derive(Default)]
struct Timeouts {
    count: AtomicU32,
    /// The time of the last timeout, in milliseconds since the link was made.
    last: AtomicU64,
}

/// The signs by which a connection counts as lost.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tolerance {
    /// The number of timeouts after which the connection is replaced. A black hole looks like this, and only a new
    /// connection can tell.
    pub(super) timeouts: u32,
    /// `true` if an answer clears the timeouts. In a cluster it does not, since it may come from another node.
    /// There they are forgotten after a while without a timeout.
    pub(super) forgives: bool,
    /// `true` if an error of kind [`FailureKind::Lost`] ends the connection; `false` if the client reconnects by
    /// itself.
    pub(super) losses: bool,
}

/// A connection that is dialed on demand, once for all callers that wait for it. After a failure, calls fail at
/// once until a pause is over. Pauses double up to a limit and are jittered. Prevents: a thousand processes that
/// reconnect in step.
pub(super) struct Link<C>(Arc<Inner<C>>);

struct Inner<C> {
    dial: Dialer<C>,
    longest_pause: Duration,
    tolerance: Tolerance,
    made: Instant,
    state: Mutex<State<C>>,
}

struct State<C> {
    dialed: u64,
    /// The number of connections in a row that were lost soon after they were made.
    short: u32,
    stage: Stage<C>,
}

enum Stage<C> {
    Up(Live<C>),
    Dialing(Dialing<C>),
    Down { failures: u32, until: Instant, failure: Failure },
}

impl<C: Clone + Send + Sync + 'static> Link<C> {
    pub(super) fn new(
        longest_pause: Duration,
        tolerance: Tolerance,
        dial: impl Fn() -> BoxFuture<'static, Result<C, Failure>> + Send + Sync + 'static,
    ) -> Self {
        let failure = Failure::new(FailureKind::Lost, "not connected yet");
        let stage = Stage::Down { failures: 0, until: Instant::now(), failure };
        let state = Mutex::new(State { dialed: 0, short: 0, stage });
        let made = Instant::now();
        Self(Arc::new(Inner { dial: Box::new(dial), longest_pause, tolerance, made, state }))
    }

    fn state(&self) -> MutexGuard<'_, State<C>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the connection, and makes it if there is none.
    pub(super) async fn live(&self) -> Result<Live<C>, Failure> {
        let dialing = {
            let mut state = self.state();
            match &state.stage {
                Stage::Up(live) => return Ok(live.clone()),
                Stage::Down { until, failure, .. } if Instant::now() < *until => return Err(failure.clone()),
                Stage::Dialing(dialing) => dialing.clone(),
                Stage::Down { failures, .. } => {
                    let dialing = self.start(*failures);
                    state.stage = Stage::Dialing(dialing.clone());
                    dialing
                }
            }
        };
        let dialed = dialing.clone().await;
        if dialed.is_err() {
            self.abandoned(&dialing);
        }
        dialed
    }

    /// Dials on a separate task. Prevents: a caller that is dropped ends the attempt of the other callers.
    fn start(&self, failures: u32) -> Dialing<C> {
        let link = Self(Arc::clone(&self.0));
        let task = tokio::spawn(async move {
            let dialed = (link.0.dial)().await;
            link.dialed(dialed, failures)
        });
        let given_up = || Failure::new(FailureKind::Lost, "the runtime that was connecting has shut down");
        async move { task.await.unwrap_or_else(|_| Err(given_up())) }.boxed().shared()
    }

    fn dialed(&self, dialed: Result<C, Failure>, failures: u32) -> Result<Live<C>, Failure> {
        let mut state = self.state();
        match dialed {
            Ok(connection) => {
                state.dialed += 1;
                let live = Live {
                    connection,
                    number: state.dialed,
                    since: Instant::now(),
                    timeouts: Arc::default(),
                };
                state.stage = Stage::Up(live.clone());
                Ok(live)
            }
            Err(failure) => {
                let pause = self.pause(failures);
                tracing::debug!(%failure, ?pause, "no connection to Redis");
                let failures = failures.saturating_add(1);
                state.stage =
                    Stage::Down { failures, until: Instant::now() + pause, failure: failure.clone() };
                Err(failure)
            }
        }
    }

    /// The jittered pause after `failures` earlier failures and one more.
    fn pause(&self, failures: u32) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << failures.min(16)).min(self.0.longest_pause);
        longest.mul_f64(0.5 + fastrand::f64() / 2.0)
    }

    /// Allows a new attempt if the task of this one was dropped with its runtime, and therefore reported no
    /// outcome.
    fn abandoned(&self, dialing: &Dialing<C>) {
        let mut state = self.state();
        if matches!(&state.stage, Stage::Dialing(standing) if standing.ptr_eq(dialing)) {
            let failure = Failure::new(FailureKind::Lost, "the connection attempt was abandoned");
            state.stage = Stage::Down { failures: 0, until: Instant::now(), failure };
        }
    }

    /// Runs `run` on the connection, which is made first if there is none. Records the outcome for the connection.
    pub(super) async fn within<T>(
        &self,
        timeout: Duration,
        run: impl AsyncFnOnce(C) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut used = None;
        let asked = tokio::time::timeout(timeout, async {
            let live = self.live().await?;
            used = Some(live.clone());
            run(live.connection).await
        });
        let elapsed = |_| Err(Failure::new(FailureKind::Timeout, format!("no answer within {timeout:?}")));
        let answer = asked.await.unwrap_or_else(elapsed);
        if let Some(live) = used {
            self.judge(&live, answer.as_ref().err());
        }
        answer
    }

    /// Updates the state of a connection by the outcome of a command.
    fn judge(&self, live: &Live<C>, failure: Option<&Failure>) {
        let Tolerance { timeouts, forgives, losses } = self.0.tolerance;
        match failure {
            Some(failure) if failure.kind == FailureKind::Timeout => {
                let now = self.0.made.elapsed();
                let millis = u64::try_from(now.as_millis()).unwrap_or(u64::MAX);
                let last = Duration::from_millis(live.timeouts.last.swap(millis, Ordering::Relaxed));
                if !forgives && now.saturating_sub(last) > REMEMBERED {
                    live.timeouts.count.store(0, Ordering::Relaxed);
                }
                if live.timeouts.count.fetch_add(1, Ordering::Relaxed) + 1 >= timeouts {
                    self.lost(live, failure);
                }
            }
            Some(failure) if failure.kind == FailureKind::Lost => {
                if losses {
                    self.lost(live, failure);
                }
            }
            _ if !forgives || live.timeouts.count.load(Ordering::Relaxed) == 0 => {}
            _ => live.timeouts.count.store(0, Ordering::Relaxed),
        }
    }

    /// Marks a connection as lost. The next command dials, unless another one has. If connections are lost soon
    /// after they were made, the second one in a row and all later ones are followed by a pause. Prevents: a
    /// reconnect for each command to a primary that became a replica in place.
    fn lost(&self, live: &Live<C>, failure: &Failure) {
        let mut state = self.state();
        if matches!(&state.stage, Stage::Up(up) if up.number == live.number) {
            let is_short = live.since.elapsed() < self.0.longest_pause;
            state.short = if is_short { state.short.saturating_add(1) } else { 0 };
            let pause = state.short.checked_sub(2).map_or(Duration::ZERO, |more| self.pause(more));
            tracing::debug!(%failure, ?pause, "the connection to Redis was lost");
            let until = Instant::now() + pause;
            state.stage = Stage::Down { failures: 0, until, failure: failure.clone() };
        }
    }
}

impl<C> fmt::Debug for Link<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(
        answers: impl Fn(u32) -> Result<u32, Failure> + Send + Sync + 'static,
    ) -> (Link<u32>, Arc<AtomicU32>) {
        let dials = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&dials);
        let tolerance = Tolerance { timeouts: 2, forgives: true, losses: true };
        let link = Link::new(Duration::from_secs(1), tolerance, move || {
            let answer = answers(counted.fetch_add(1, Ordering::SeqCst));
            async move {
                tokio::task::yield_now().await;
                answer
            }
            .boxed()
        });
        (link, dials)
    }

    fn down() -> Failure {
        Failure::new(FailureKind::Lost, "refused")
    }

    #[tokio::test]
    async fn all_who_ask_at_once_share_one_dial() {
        let (link, dials) = link(Ok);
        let lives = futures_util::future::join_all((0..100).map(|_| link.live())).await;
        assert!(lives.iter().all(|live| live.as_ref().is_ok_and(|live| live.connection == 0)));
        assert_eq!(dials.load(Ordering::SeqCst), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_pause_longer_and_longer_and_nobody_waits_meanwhile() {
        let (link, dials) = link(|dial| if dial < 12 { Err(down()) } else { Ok(dial) });
        let began = Instant::now();
        while link.live().await.is_err() {
            let asked = Instant::now();
            assert!(link.live().await.is_err());
            assert_eq!(asked.elapsed(), Duration::ZERO, "fails at once while it pauses");
            tokio::time::advance(Duration::from_millis(5)).await;
            assert!(began.elapsed() < Duration::from_secs(60));
        }
        assert_eq!(dials.load(Ordering::SeqCst), 13);
        // 20, 40, .. 640 ms, then six of 1 s; jitter shortens each to between a half and the whole
        let whole = began.elapsed();
        assert!(whole > Duration::from_secs(3) && whole < Duration::from_millis(7_500), "{whole:?}");
    }

    #[tokio::test]
    async fn a_loss_is_noted_once() {
        let (link, dials) = link(Ok);
        let first = link.live().await.unwrap_or_else(|failure| panic!("{failure}"));
        link.lost(&first, &down());
        let second = link.live().await.unwrap_or_else(|failure| panic!("{failure}"));
        link.lost(&first, &down());
        assert_eq!(second.connection, 1);
        assert!(
            link.live().await.is_ok_and(|live| live.connection == 1),
            "the old one's loss ends no new one"
        );
        assert_eq!(dials.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_ends_a_connection_when_it_lasts() {
        let (link, _) = link(Ok);
        let limit = Duration::from_millis(100);
        let silent = async |_: u32| std::future::pending::<Result<(), Failure>>().await;
        assert!(link.within(limit, silent).await.is_err_and(|failure| failure.kind == FailureKind::Timeout));
        assert!(
            link.within(limit, async |number| Ok(number)).await.is_ok_and(|number| number == 0),
            "one is forgiven"
        );
        for _ in 0..2 {
            assert!(link.within(limit, silent).await.is_err());
        }
        assert!(
            link.within(limit, async |number| Ok(number)).await.is_ok_and(|number| number == 1),
            "two are not"
        );
    }

    /// A primary that became a replica in place accepts connections, answers reads, and refuses each write.
    #[tokio::test(start_paused = true)]
    async fn a_connection_of_no_use_is_made_anew_with_pauses() {
        let (link, dials) = link(Ok);
        let limit = Duration::from_millis(100);
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(60) {
            _ = link.within(limit, async |number| Ok(number)).await;
            let refused = async |_: u32| Err::<(), _>(Failure::said("READONLY You can't write"));
            assert!(link.within(limit, refused).await.is_err());
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        let dialed = dials.load(Ordering::SeqCst);
        assert!((30..140).contains(&dialed), "dialed {dialed} times in 60 s");
        // a connection that was lost after long use is replaced at once
        tokio::time::advance(Duration::from_secs(1)).await;
        let live = link.live().await.unwrap_or_else(|failure| panic!("{failure}"));
        tokio::time::advance(Duration::from_secs(2)).await;
        link.lost(&live, &down());
        assert!(link.live().await.is_ok());
    }

    #[tokio::test]
    async fn a_caller_that_gives_up_takes_nothing_with_it() {
        let (link, dials) = link(Ok);
        assert!(Box::pin(link.live()).now_or_never().is_none());
        assert!(link.live().await.is_ok());
        assert_eq!(dials.load(Ordering::SeqCst), 1);
    }
}
