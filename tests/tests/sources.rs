//! Sources made of others: what each does alone, for one key and for many, and behind a cache.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use larder::source::{
    BatchResults, BatchSource, BothFailed, Fallback, Retry, SourceLimit, SourceTimeout, SourceTimeoutError,
};
use larder::{Cache, ErrorKind, Quick, Source, Strategy};
use tokio::time::Instant;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Broken(&'static str);

/// Answers each key with `key + plus`, and fails and waits as told.
#[derive(Clone, Default)]
struct Scripted(Arc<Script>);

#[derive(Default)]
struct Script {
    plus: u64,
    /// The number of further calls that fail as a whole.
    failures: AtomicUsize,
    /// Keys that fail by themselves, once each.
    bad: Mutex<HashSet<u64>>,
    /// The keys of each call, in order.
    calls: Mutex<Vec<Vec<u64>>>,
    takes: Duration,
    at_once: AtomicUsize,
    most_at_once: AtomicUsize,
}

impl Scripted {
    fn plus(plus: u64) -> Self {
        Self(Arc::new(Script { plus, ..Script::default() }))
    }
    fn taking(takes: Duration) -> Self {
        Self(Arc::new(Script { takes, ..Script::default() }))
    }
    fn failing(self, times: usize) -> Self {
        self.0.failures.store(times, Ordering::SeqCst);
        self
    }
    fn bad(self, keys: &[u64]) -> Self {
        self.0.bad.lock().unwrap().extend(keys);
        self
    }
    fn calls(&self) -> Vec<Vec<u64>> {
        self.0.calls.lock().unwrap().clone()
    }

    async fn call(&self, keys: &[u64]) -> Result<BatchResults<u64, Broken>, Broken> {
        self.0.calls.lock().unwrap().push(keys.to_vec());
        let now = self.0.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_at_once.fetch_max(now, Ordering::SeqCst);
        tokio::time::sleep(self.0.takes).await;
        self.0.at_once.fetch_sub(1, Ordering::SeqCst);
        if self
            .0
            .failures
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
            .is_ok()
        {
            return Err(Broken("all"));
        }
        let answer = |key: &u64| match self.0.bad.lock().unwrap().remove(key) {
            true => Err(Broken("one")),
            false => Ok((*key < 1_000).then(|| key + self.0.plus)),
        };
        Ok(keys.iter().map(answer).collect())
    }
}

impl Source<u64> for Scripted {
    type Value = u64;
    type Error = Broken;
    async fn load(&self, key: &u64) -> Result<Option<u64>, Broken> {
        self.call(&[*key]).await?.remove(0)
    }
}

impl BatchSource<u64> for Scripted {
    async fn load_many(&self, keys: &[u64]) -> Result<Vec<Option<u64>>, Broken> {
        self.call(keys).await?.into_iter().collect()
    }
    async fn load_each(&self, keys: &[u64]) -> Result<BatchResults<u64, Broken>, Broken> {
        self.call(keys).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_asks_again_with_pauses_that_double() {
    let source = Scripted::default().failing(3);
    let began = Instant::now();
    assert_eq!(Retry::new(source.clone(), 4).load(&7).await, Ok(Some(7)));
    assert_eq!(source.calls().len(), 4);
    let waited = began.elapsed();
    let (least, most) = (Duration::from_millis(25 + 50 + 100), Duration::from_millis(50 + 100 + 200 + 3));
    assert!((least..=most).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_gives_up_with_the_last_error_and_after_its_attempts() {
    let source = Scripted::default().failing(9);
    assert_eq!(Retry::new(source.clone(), 3).load(&7).await, Err(Broken("all")));
    assert_eq!(source.calls().len(), 3);
    let never = Retry::new(source.clone(), 3).when(|_: &Broken| false);
    assert_eq!(never.load(&7).await, Err(Broken("all")));
    assert_eq!(source.calls().len(), 4, "what is not worth it is not tried again");
    // no such thing is an answer
    assert_eq!(Retry::new(Scripted::default(), 3).load(&5_000).await, Ok(None));
}

#[tokio::test(start_paused = true)]
async fn pauses_stop_growing() {
    let source = Scripted::default().failing(9);
    let began = Instant::now();
    let retry = Retry::new(source, 10)
        .min_backoff(Duration::from_millis(100))
        .max_backoff(Duration::from_millis(200));
    assert_eq!(retry.load(&7).await, Ok(Some(7)));
    assert!(began.elapsed() <= Duration::from_millis(100 + 8 * 200 + 10), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_a_batch_asks_for_the_failed_keys_only() {
    let source = Scripted::default().bad(&[2, 4]);
    let answers = Retry::new(source.clone(), 3).load_each(&[1, 2, 3, 4, 5_000]).await.unwrap();
    assert_eq!(answers, [Ok(Some(1)), Ok(Some(2)), Ok(Some(3)), Ok(Some(4)), Ok(None)]);
    assert_eq!(source.calls(), [vec![1, 2, 3, 4, 5_000], vec![2, 4]]);
    // a second round that fails as a whole leaves the errors they had, and is followed by a third
    let source = Scripted::default().bad(&[2]);
    let retry = Retry::new(source.clone(), 2);
    source.0.failures.store(0, Ordering::SeqCst);
    let first = source.load_each(&[1]).await.unwrap();
    assert_eq!(first, [Ok(Some(1))]);
    assert_eq!(retry.load_many(&[1, 3]).await, Ok(vec![Some(1), Some(3)]));
}

#[tokio::test(start_paused = true)]
async fn a_timeout_gives_up_and_passes_the_sources_own_error_on() {
    let bounded = SourceTimeout::new(Scripted::taking(Duration::from_secs(5)), Duration::from_secs(1));
    let began = Instant::now();
    let limit = Duration::from_secs(1);
    assert_eq!(bounded.load(&7).await, Err(SourceTimeoutError::Elapsed { limit }));
    assert_eq!(bounded.load_many(&[7]).await, Err(SourceTimeoutError::Elapsed { limit }));
    assert!(began.elapsed() < Duration::from_millis(2_010));
    let quick = SourceTimeout::new(Scripted::default().bad(&[2]), limit);
    let answers = quick.load_each(&[1, 2]).await.unwrap();
    assert_eq!(answers, [Ok(Some(1)), Err(SourceTimeoutError::Source(Broken("one")))]);
}

#[tokio::test(start_paused = true)]
async fn a_limit_holds_for_all_that_share_it() {
    let source = Scripted::taking(Duration::from_millis(100));
    let one = SourceLimit::new(source.clone(), 3);
    let other = one.beside(source.clone());
    let began = Instant::now();
    let (singles, batches) = tokio::join!(
        futures_util::future::join_all((0..6).map(|key| {
            let one = &one;
            async move { one.load(&key).await }
        })),
        futures_util::future::join_all((0..6).map(|key| {
            let other = &other;
            async move { other.load_many(&[key, key + 1]).await }
        })),
    );
    assert!(singles.iter().all(Result::is_ok) && batches.iter().all(Result::is_ok));
    assert_eq!(source.0.most_at_once.load(Ordering::SeqCst), 3);
    assert_eq!(began.elapsed().as_millis() / 100, 4, "12 calls, 3 at once");
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_what_the_first_could_not() {
    let (first, second) = (Scripted::plus(0), Scripted::plus(100));
    let source = Fallback::new(first.clone(), second.clone());
    assert_eq!(source.load(&7).await.unwrap(), Some(7));
    assert_eq!(source.load(&5_000).await.unwrap(), None);
    assert!(second.calls().is_empty(), "an absence is an answer");
    let _ = first.clone().failing(1);
    assert_eq!(source.load(&7).await.unwrap(), Some(107));
    let _ = first.clone().bad(&[2]);
    let answers = source.load_each(&[1, 2, 3]).await.unwrap();
    assert_eq!(answers.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [Some(1), Some(102), Some(3)]);
    assert_eq!(second.calls(), [vec![7], vec![2]]);
    let _ = (first.clone().failing(1), second.clone().failing(1));
    let error = larder::Error::from_source(source.load_many(&[1]).await.unwrap_err());
    assert!(error.source_as::<BothFailed>().unwrap().to_string().ends_with("its fallback: all"));
    assert_eq!(error.source_as::<Broken>(), Some(&Broken("all")));
    // one key fails at both, the others do not suffer
    let _ = (first.bad(&[2, 3]), second.bad(&[2]));
    let answers = source.load_each(&[1, 2, 3]).await.unwrap();
    assert_eq!(
        answers.iter().map(|answer| answer.as_ref().ok()).collect::<Vec<_>>(),
        [Some(&Some(1)), None, Some(&Some(103))]
    );
}

/// The whole tower, in both forms, behind a cache.
#[tokio::test(start_paused = true)]
async fn they_stand_in_each_other() {
    let primary = Scripted::plus(0).failing(2);
    let replica = Scripted::plus(100);
    let bounded = SourceTimeout::new(primary.clone(), Duration::from_secs(1));
    let tower = SourceLimit::new(Fallback::new(Retry::new(bounded, 2), replica), 8);
    let cache: Cache<u64, u64> = Cache::builder()
        .backend(Quick::new(100))
        .batch_source(tower)
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()
        .unwrap();
    assert_eq!(cache.get(&1).await.unwrap().as_deref(), Some(&101), "two attempts failed");
    assert_eq!(cache.get(&2).await.unwrap().as_deref(), Some(&2));
    let found = cache.get_many(&[3, 4, 5]).await.unwrap();
    assert_eq!(found.into_iter().map(|value| *value.unwrap()).collect::<Vec<_>>(), [3, 4, 5]);
    assert_eq!(primary.calls(), [vec![1], vec![1], vec![2], vec![3, 4, 5]]);
}

/// A replica that lags: after the write was invalidated, its value is given to who waits, and is not kept.
#[tokio::test(start_paused = true)]
async fn what_a_fallback_gives_is_not_kept_by_a_cache_that_was_told_so() {
    let (first, lagging) = (Scripted::plus(1), Scripted::plus(0));
    let build = |kept: bool| {
        let source = Fallback::new(first.clone(), lagging.clone());
        let builder = Cache::<u64, u64>::builder()
            .backend(Quick::new(100))
            .strategy(Strategy::aside(Duration::from_secs(60)));
        if kept { builder.source(source) } else { builder.conditional_source(source) }.build().unwrap()
    };
    let cache = build(false);
    let _ = first.clone().failing(1);
    assert_eq!(cache.get(&7).await.unwrap().as_deref(), Some(&7), "as old as the replica");
    assert_eq!(cache.get(&7).await.unwrap().as_deref(), Some(&8), "current as soon as the primary is back");
    // this is what the documentation warns of
    let cache = build(true);
    let _ = first.clone().failing(1);
    assert_eq!(cache.get(&7).await.unwrap().as_deref(), Some(&7));
    assert_eq!(cache.get(&7).await.unwrap().as_deref(), Some(&7), "kept, for a whole TTL");
}

#[test]
fn what_cannot_work_is_refused_by_build() {
    fn refused<S: Source<u64, Value = u64>>(source: S) -> String {
        let built = Cache::builder()
            .backend(Quick::new(10))
            .source(source)
            .strategy(Strategy::aside(Duration::from_secs(60)))
            .build();
        let error = built.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.to_string()
    }
    let source = Scripted::default;
    assert!(refused(SourceTimeout::new(source(), Duration::ZERO)).contains("give at least 1 ms"));
    assert!(refused(SourceLimit::new(source(), 0)).contains("give at least 1"));
    assert!(refused(Retry::new(source(), 0)).contains("give at least 1 attempt"));
    // from within
    let deep = Retry::new(SourceLimit::new(SourceTimeout::new(source(), Duration::ZERO), 1), 1);
    assert!(refused(Fallback::new(source(), deep)).contains("give at least 1 ms"));
}

/// A caller that leaves does not keep its turn.
#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_gives_its_turn_back() {
    static BEGUN: AtomicBool = AtomicBool::new(false);
    let hanging = larder::source_fn(|_key: u64| async {
        BEGUN.store(true, Ordering::SeqCst);
        std::future::pending::<Result<Option<u64>, Broken>>().await
    });
    let limited = SourceLimit::new(hanging, 1);
    let beside = limited.beside(Scripted::default());
    assert!(tokio::time::timeout(Duration::from_millis(10), limited.load(&1)).await.is_err());
    assert!(BEGUN.load(Ordering::SeqCst));
    assert_eq!(beside.load(&2).await, Ok(Some(2)));
}
