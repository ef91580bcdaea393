//! Cached functions: hits, shared loads, errors, panics, TTLs, tags, and the companions.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use common::{Counter, ShopError, Unique, calls, calls_at, calls_by, minutes};
use larder::clock::ManualClock;
use larder::key::CallKey;
use larder::{Cache, Strategy, cached};
use tokio::sync::{Notify, Semaphore};

static NAMES: LazyLock<Cache<CallKey, String>> = LazyLock::new(calls);

#[tokio::test]
async fn a_second_call_is_a_hit() {
    static RAN: Counter = Counter::new();

    #[cached(cache = NAMES)]
    async fn name(id: u64, lang: &str) -> String {
        RAN.count();
        format!("{lang} {id}")
    }

    assert_eq!(name(7, "en").await, "en 7");
    assert_eq!(name(7, "en").await, "en 7");
    assert_eq!(RAN.get(), 1);
    assert_eq!(name(7, "de").await, "de 7");
    assert_eq!(name(8, "en").await, "en 8");
    assert_eq!(RAN.get(), 3);
}

#[tokio::test]
async fn functions_that_share_a_cache_do_not_share_entries() {
    mod one {
        #[larder::cached(cache = super::NAMES)]
        pub(super) async fn same(id: u64) -> String {
            format!("one {id}")
        }
    }
    mod two {
        #[larder::cached(cache = super::NAMES)]
        pub(super) async fn same(id: u64) -> String {
            format!("two {id}")
        }
    }
    assert_eq!(one::same(7).await, "one 7");
    assert_eq!(two::same(7).await, "two 7");
    assert_eq!(
        one::same_key(7).as_str(),
        "functions::functions_that_share_a_cache_do_not_share_entries::%7B%7Bclosure%7D%7D::one::same(7)"
    );
}

/// By the same name in another function: `module_path!` is the same there.
#[tokio::test]
async fn functions_within_functions_do_not_share_entries() {
    async fn one() -> String {
        #[cached(cache = NAMES)]
        async fn inner() -> String {
            "one".to_owned()
        }
        inner().await
    }
    async fn two() -> String {
        #[cached(cache = NAMES)]
        async fn inner() -> String {
            "two".to_owned()
        }
        inner().await
    }
    assert_eq!((one().await, two().await), ("one".to_owned(), "two".to_owned()));
}

#[cached(cache = NAMES)]
async fn at_the_top(id: u64, words: &[String], lang: Option<&str>) -> String {
    format!("{id} {words:?} {lang:?}")
}

#[tokio::test]
async fn the_default_key_is_the_path_and_all_arguments() {
    let words = ["a b".to_owned(), "c".to_owned()];
    let key = at_the_top_key(7, &words, Some("en"));
    assert_eq!(key.as_str(), "functions::at_the_top(7,[=a%20b,=c],+=en)");
    assert_eq!(at_the_top(7, &words, Some("en")).await, r#"7 ["a b", "c"] Some("en")"#);
    assert_eq!(at_the_top(7, &words, None).await, r#"7 ["a b", "c"] None"#);
    assert!(NAMES.get_if_present(&key).await.unwrap().is_some());
}

#[tokio::test]
async fn callers_at_the_same_time_share_one_run() {
    static CACHE: LazyLock<Cache<CallKey, String>> = LazyLock::new(calls);
    static RAN: Counter = Counter::new();
    static GATE: Semaphore = Semaphore::const_new(0);

    #[cached(cache = CACHE)]
    async fn slow(id: u64) -> String {
        RAN.count();
        GATE.acquire().await.unwrap().forget();
        id.to_string()
    }

    let callers: Vec<_> = (0..20).map(|_| tokio::spawn(slow(7))).collect();
    while CACHE.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    GATE.add_permits(1);
    for caller in callers {
        assert_eq!(caller.await.unwrap(), "7");
    }
    assert_eq!(RAN.get(), 1);
}

#[tokio::test]
async fn a_caller_that_leaves_strands_nobody() {
    static RAN: Counter = Counter::new();
    static BEGAN: Notify = Notify::const_new();
    static GATE: Semaphore = Semaphore::const_new(0);

    #[cached(cache = NAMES)]
    async fn slow(text: &str) -> String {
        RAN.count();
        BEGAN.notify_one();
        GATE.acquire().await.unwrap().forget();
        text.to_owned()
    }

    {
        // the argument is gone with the caller: the load owns its own
        let text = String::from("bread");
        let leaver = tokio::time::timeout(Duration::ZERO, slow(&text));
        assert!(leaver.await.is_err());
    }
    BEGAN.notified().await;
    let stayer = tokio::spawn(slow("bread"));
    tokio::task::yield_now().await;
    GATE.add_permits(1);
    assert_eq!(stayer.await.unwrap(), "bread");
    assert_eq!(RAN.get(), 1);
}

#[tokio::test]
async fn absence_is_kept_as_the_strategy_says() {
    static RAN: Counter = Counter::new();
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);
    static CACHE: LazyLock<Cache<CallKey, u64>> = LazyLock::new(|| calls_at(&CLOCK));

    #[cached(cache = CACHE, ttl = "1h")]
    async fn maybe(id: u64) -> Option<u64> {
        RAN.count();
        (id > 1).then_some(id)
    }

    assert_eq!((maybe(1).await, maybe(2).await), (None, Some(2)));
    assert_eq!((maybe(1).await, maybe(2).await), (None, Some(2)));
    assert_eq!(RAN.get(), 2);
    CLOCK.advance(Duration::from_secs(2));
    assert_eq!((maybe(1).await, maybe(2).await), (None, Some(2)));
    assert_eq!(RAN.get(), 3, "an hour is the life of values");
}

#[tokio::test]
async fn what_is_shared_is_not_copied() {
    static CACHE: LazyLock<Cache<CallKey, Unique>> = LazyLock::new(calls);

    #[cached(cache = CACHE)]
    async fn shared(id: u64) -> Arc<Unique> {
        Arc::new(Unique(id))
    }
    #[cached(cache = CACHE)]
    async fn maybe(id: u64) -> Option<Arc<Unique>> {
        (id > 1).then(|| Arc::new(Unique(id)))
    }
    #[cached(cache = CACHE)]
    async fn fallible(id: u64) -> Result<Arc<Unique>, ShopError> {
        if id > 1 { Ok(Arc::new(Unique(id))) } else { Err(ShopError::NoSuch(id)) }
    }
    #[cached(cache = CACHE)]
    async fn both(id: u64) -> Result<Option<Arc<Unique>>, ShopError> {
        if id > 1 { Ok(Some(Arc::new(Unique(id)))) } else { Ok(None) }
    }

    assert!(Arc::ptr_eq(&shared(7).await, &shared(7).await));
    assert!(Arc::ptr_eq(&maybe(7).await.unwrap(), &maybe(7).await.unwrap()));
    assert!(Arc::ptr_eq(&fallible(7).await.unwrap(), &fallible(7).await.unwrap()));
    assert!(Arc::ptr_eq(&both(7).await.unwrap().unwrap(), &both(7).await.unwrap().unwrap()));
    assert_eq!(maybe(1).await, None);
    assert_eq!(fallible(1).await, Err(ShopError::NoSuch(1)));
    assert_eq!(both(1).await, Ok(None));
}

/// A `Result` by another name is one all the same.
type Found<T> = Result<Option<T>, ShopError>;

#[tokio::test]
async fn results_and_options_may_have_other_names() {
    #[cached(cache = NAMES)]
    async fn found(id: u64) -> Found<String> {
        match id {
            1 => Ok(None),
            2 => Err(ShopError::NoSuch(2)),
            _ => Ok(Some(id.to_string())),
        }
    }
    assert_eq!(found(1).await, Ok(None));
    assert_eq!(found(2).await, Err(ShopError::NoSuch(2)));
    assert_eq!(found(3).await, Ok(Some("3".to_owned())));
    found_insert(1, Ok(Some("now there".to_owned()))).await.unwrap();
    assert_eq!(found(1).await, Ok(Some("now there".to_owned())));
}

#[tokio::test]
async fn errors_come_back_as_themselves_to_everybody_and_are_not_kept() {
    static RAN: Counter = Counter::new();

    #[cached(cache = NAMES)]
    async fn failing(id: u64) -> Result<String, ShopError> {
        RAN.count();
        tokio::task::yield_now().await;
        Err(ShopError::NoSuch(id))
    }

    let (one, two) = tokio::join!(failing(7), failing(7));
    assert_eq!((one, two), (Err(ShopError::NoSuch(7)), Err(ShopError::NoSuch(7))));
    assert_eq!(RAN.get(), 1);
    assert_eq!(failing(7).await, Err(ShopError::NoSuch(7)));
    assert_eq!(RAN.get(), 2);
}

#[tokio::test]
async fn larders_own_failures_come_as_the_users_error() {
    #[cached(cache = NAMES)]
    async fn panics(id: u64) -> Result<String, ShopError> {
        assert!(id > 1, "no {id}");
        Ok(id.to_string())
    }
    let error = panics(1).await.unwrap_err();
    assert_eq!(error, ShopError::Cache("panicked: the load panicked: no 1".to_owned()));
    assert_eq!(panics(2).await, Ok("2".to_owned()));
}

#[tokio::test]
async fn larders_error_can_be_the_functions_own() {
    #[cached(cache = NAMES)]
    async fn refused(id: u64) -> larder::Result<String> {
        Err(larder::Error::config(format!("no {id}")))
    }
    assert_eq!(refused(1).await.unwrap_err().to_string(), "configuration: no 1");
}

/// An error that is not `Clone`, and one that is not even an `Error`.
#[tokio::test]
async fn errors_can_be_made_from_larders() {
    #[allow(clippy::needless_pass_by_value, reason = "that is how it is called")]
    fn told(error: larder::Error) -> String {
        error.source_as::<std::io::Error>().map_or_else(|| error.to_string(), ToString::to_string)
    }

    #[cached(cache = NAMES, error = std::io::Error::other)]
    async fn reads(id: u64) -> std::io::Result<String> {
        Err(std::io::Error::new(std::io::ErrorKind::NotFound, format!("no {id}")))
    }
    #[cached(cache = NAMES, error = told)]
    async fn tells(id: u64) -> Result<String, String> {
        Err(format!("no {id}"))
    }
    #[cached(cache = NAMES, error = |error| Arc::new(ShopError::from(error)))]
    async fn shared(id: u64) -> Result<String, Arc<ShopError>> {
        Err(Arc::new(ShopError::NoSuch(id)))
    }

    let error = reads(7).await.unwrap_err();
    let larders = error.get_ref().and_then(|inner| inner.downcast_ref::<larder::Error>()).unwrap();
    assert_eq!(larders.source_as::<std::io::Error>().unwrap().kind(), std::io::ErrorKind::NotFound);
    assert_eq!(tells(7).await, Err("source: the load failed".to_owned()));
    assert_eq!(*shared(7).await.unwrap_err(), ShopError::Cache("source: the load failed".to_owned()));
}

#[tokio::test]
async fn a_function_that_cannot_fail_does_not_fail_because_of_its_cache() {
    static CLOSED: LazyLock<Cache<CallKey, String>> = LazyLock::new(calls);
    static RAN: Counter = Counter::new();

    #[cached(cache = CLOSED)]
    async fn name(id: u64, text: String) -> String {
        format!("{text} {id} for the {}. time", RAN.count())
    }

    assert_eq!(name(7, "bread".to_owned()).await, "bread 7 for the 1. time");
    CLOSED.shutdown().await.unwrap();
    assert_eq!(name(7, "bread".to_owned()).await, "bread 7 for the 1. time", "a hit");
    assert_eq!(name(8, "bread".to_owned()).await, "bread 8 for the 2. time", "past the cache");
    assert_eq!(name_refresh(8, "bread".to_owned()).await, "bread 8 for the 3. time");
}

#[tokio::test(start_paused = true)]
async fn a_function_that_cannot_fail_waits_for_its_turn_under_a_limit_on_loads() {
    static CACHE: LazyLock<Cache<CallKey, u64>> = LazyLock::new(|| {
        let strategy = Strategy::aside(minutes(1)).load_timeout(Duration::from_millis(100));
        calls_by(strategy.max_concurrent_loads(4).max_queued_loads(4))
    });
    static RUNNING: AtomicU64 = AtomicU64::new(0);
    static MOST: AtomicU64 = AtomicU64::new(0);

    #[cached(cache = CACHE)]
    async fn square(n: u64) -> u64 {
        MOST.fetch_max(RUNNING.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        n * n
    }

    let calls: Vec<_> = (0..500).map(|n| tokio::spawn(square(n))).collect();
    for (n, call) in (0_u64..).zip(calls) {
        assert_eq!(call.await.unwrap(), n * n);
    }
    assert_eq!(MOST.load(Ordering::SeqCst), 4);
    // 500 loads of 10 ms each, by four at once: those that wait longest have waited for more than their budget
    assert_eq!(CACHE.stats().loads, 500);
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_function_that_cannot_fail_share_the_load_after_a_timeout() {
    static CACHE: LazyLock<Cache<CallKey, String>> =
        LazyLock::new(|| calls_by(Strategy::aside(minutes(1)).load_timeout(Duration::from_secs(1))));
    static RAN: Counter = Counter::new();

    #[cached(cache = CACHE)]
    async fn name(id: u64) -> String {
        let run = RAN.count();
        // the first run hangs, and the second one takes longer than the limit allows
        tokio::time::sleep(Duration::from_secs(if run == 1 { 3_600 } else { 5 })).await;
        format!("{id} {run}")
    }

    let calls: Vec<_> = (0..500).map(|_| tokio::spawn(name(7))).collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), "7 2");
    }
    assert_eq!(RAN.get(), 2);
    let refreshes: Vec<_> = (0..50).map(|_| tokio::spawn(name_refresh(7))).collect();
    for call in refreshes {
        assert_eq!(call.await.unwrap(), "7 4", "one run that timed out, and one that is shared");
    }
    assert_eq!(RAN.get(), 4);
}

#[tokio::test]
async fn a_panic_of_a_function_that_cannot_fail_is_one_of_its_callers() {
    static CACHE: LazyLock<Cache<CallKey, String>> = LazyLock::new(calls);

    #[cached(cache = CACHE)]
    async fn name(id: u64) -> String {
        assert!(id > 1, "no {id}");
        id.to_string()
    }

    let panic = tokio::spawn(name(1)).await.unwrap_err().into_panic();
    let text = panic.downcast_ref::<String>().unwrap();
    assert!(text.contains("the load panicked: no 1"), "{text}");
    assert_eq!(name(2).await, "2");
    assert_eq!(CACHE.in_flight(), 0);
}

#[tokio::test]
async fn outside_of_a_runtime_a_function_that_cannot_fail_runs_past_its_cache() {
    #[cached(cache = NAMES)]
    async fn name(id: u64) -> String {
        id.to_string()
    }
    let alone = std::thread::spawn(|| {
        let mut call = std::pin::pin!(name(9));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        match call.as_mut().poll(&mut context) {
            std::task::Poll::Ready(name) => name,
            std::task::Poll::Pending => panic!("there is nothing to wait for"),
        }
    });
    assert_eq!(alone.join().unwrap(), "9");
}

/// An entry without a value, kept by another function, is no answer for one that has no word for it.
#[tokio::test]
async fn a_kept_absence_is_no_answer_for_a_function_that_always_has_one() {
    static CLOCK: LazyLock<ManualClock> = LazyLock::new(ManualClock::new);
    static CACHE: LazyLock<Cache<CallKey, u64>> = LazyLock::new(|| calls_at(&CLOCK));

    #[cached(cache = CACHE, prefix = "same")]
    async fn maybe(_id: u64) -> Option<u64> {
        None
    }
    #[cached(cache = CACHE, prefix = "same")]
    async fn always(id: u64) -> u64 {
        id
    }
    assert_eq!(maybe(7).await, None);
    assert_eq!(always(7).await, 7);
}

#[tokio::test]
async fn a_function_may_call_itself_with_other_arguments() {
    static SUMS: LazyLock<Cache<CallKey, u64>> = LazyLock::new(calls);
    static RAN: Counter = Counter::new();

    #[cached(cache = SUMS)]
    async fn sum(n: u64) -> u64 {
        RAN.count();
        if n == 0 { 0 } else { n + again(n - 1).await }
    }
    // a type that does not depend on itself
    fn again(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
        Box::pin(sum(n))
    }
    assert_eq!(sum(10).await, 55);
    assert_eq!(sum(11).await, 66);
    assert_eq!(RAN.get(), 12);
}

#[tokio::test]
async fn a_function_that_asks_for_itself_is_told_so() {
    #[cached(cache = NAMES)]
    async fn forever(id: u64) -> Result<String, ShopError> {
        again(id).await
    }
    fn again(id: u64) -> Pin<Box<dyn Future<Output = Result<String, ShopError>> + Send>> {
        Box::pin(forever(id))
    }
    let error = forever(7).await.unwrap_err();
    assert!(error.to_string().contains("re-entrant load"), "{error}");
}

/// A fault of ordinary decorators: a run that read before a write is kept after the invalidation.
#[tokio::test]
async fn an_invalidation_reaches_a_run_under_way() {
    static ROW: AtomicU64 = AtomicU64::new(1);
    static READ: Notify = Notify::const_new();
    static GATE: Semaphore = Semaphore::const_new(0);
    static CACHE: LazyLock<Cache<CallKey, u64>> = LazyLock::new(calls);

    #[cached(cache = CACHE)]
    async fn row(id: u64) -> u64 {
        let value = ROW.load(Ordering::SeqCst) + id;
        READ.notify_one();
        GATE.acquire().await.unwrap().forget();
        value
    }

    let slow = tokio::spawn(row(0));
    READ.notified().await;
    ROW.store(2, Ordering::SeqCst); // the write is committed
    row_invalidate(0).await.unwrap();
    GATE.add_permits(10);
    assert_eq!(row(0).await, 2, "this call began after the invalidation");
    assert_eq!(slow.await.unwrap(), 1, "this one overlapped it");
    assert_eq!(row(0).await, 2);
}

#[tokio::test]
async fn a_refresh_does_not_take_the_result_of_a_run_from_before_it() {
    static ROW: AtomicU64 = AtomicU64::new(1);
    static READ: Notify = Notify::const_new();
    static GATE: Semaphore = Semaphore::const_new(0);
    static CACHE: LazyLock<Cache<CallKey, u64>> = LazyLock::new(calls);

    #[cached(cache = CACHE)]
    async fn row(id: u64) -> u64 {
        let value = ROW.load(Ordering::SeqCst) + id;
        READ.notify_one();
        GATE.acquire().await.unwrap().forget();
        value
    }

    let slow = tokio::spawn(row(0));
    READ.notified().await;
    ROW.store(2, Ordering::SeqCst);
    let refreshed = tokio::spawn(row_refresh(0));
    tokio::task::yield_now().await;
    GATE.add_permits(10);
    assert_eq!(refreshed.await.unwrap(), 2);
    assert_eq!(slow.await.unwrap(), 1);
    assert_eq!(row(0).await, 2);
}
