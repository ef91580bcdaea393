//! Scenarios of the strategies, over whatever backend: what a reader is given, and how often the source is asked.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use larder::{Cache, CacheBuilder, ErrorKind, Fetched, Loaded, Locking, Origin, Strategy, Tag};

use crate::{CacheFixture, Process, Table, Time};

/// How long anything may take that is expected to end.
const PATIENCE: Duration = Duration::from_secs(20);
const LONG: Duration = Duration::from_secs(3_600);

/// A fixture's processes over one table.
struct World<'a> {
    time: &'a Time,
    table: Table,
    processes: std::vec::IntoIter<Process>,
    /// A TTL that is worth waiting for.
    ttl: Duration,
}

impl<'a> World<'a> {
    async fn new<F: CacheFixture>(fixture: &'a F) -> World<'a> {
        let (time, processes) = (fixture.time(), fixture.open().await.into_iter());
        let table = Table::with([(1, 10), (2, 20), (3, 30), (4, 40)]);
        World { time, table, processes, ttl: time.lease() }
    }

    fn process(&mut self) -> Process {
        self.processes.next().expect("the fixture has a process").clocked(self.time)
    }

    /// A second process, and the locks it shares with the first; `None` when the store has only one.
    fn shared(&mut self) -> Option<[Process; 2]> {
        let one = self.process();
        let two = self.processes.next()?;
        Some([one, two.clocked(self.time)])
    }

    fn cache(&mut self, strategy: impl FnOnce(Strategy<u64>) -> Strategy<u64>) -> Cache<u64, u64> {
        let builder = self.process().builder;
        self.build(builder, strategy)
    }

    fn build(
        &self,
        builder: CacheBuilder<u64, u64>,
        strategy: impl FnOnce(Strategy<u64>) -> Strategy<u64>,
    ) -> Cache<u64, u64> {
        // a clock that is moved by hand outruns the renewals, which are timed by tokio
        let strategy = strategy(Strategy::aside(self.ttl).lease(LONG));
        builder.batch_source(self.table.clone()).strategy(strategy).build().expect("it can be built")
    }

    /// Lets everything that is fresh become stale.
    async fn pass_ttl(&self) {
        self.time.advance(self.ttl + Duration::from_millis(2)).await;
    }
}

async fn fetch(cache: &Cache<u64, u64>, key: u64) -> Fetched<u64> {
    soon(cache.fetch(&key)).await.expect("the read succeeds")
}

async fn get(cache: &Cache<u64, u64>, key: u64) -> Option<u64> {
    fetch(cache, key).await.value.as_deref().copied()
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("nothing hangs")
}

/// Waits for what happens in the background.
async fn eventually<Fut: Future<Output = bool>>(what: &str, mut happened: impl FnMut() -> Fut) {
    let waiting = async {
        while !happened().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, waiting).await;
    assert!(waited.is_ok(), "{what}: not within {PATIENCE:?}");
}

async fn idle(cache: &Cache<u64, u64>) {
    eventually("loads end", async || cache.in_flight() == 0).await;
}

/// A stale value is served at once to all, and loaded anew once.
pub async fn stale_is_served_at_once_and_refreshed_once<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    assert_ne!(fetch(&cache, 1).await.origin, Origin::Stale, "fresh at first");
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    for fetched in join_all((0..10).map(|_| fetch(&cache, 1))).await {
        assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&10), Origin::Stale));
    }
    soon(hold.arrived()).await;
    assert_eq!(world.table.loads(), 2, "one refresh for all");
    hold.release();
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(11));
    assert_ne!(fetch(&cache, 1).await.origin, Origin::Stale);
    assert_eq!(world.table.loads(), 2);
    assert!(cache.stats().stale_served >= 10);
}

/// After the hard TTL a stale value is not served any more.
pub async fn what_is_too_old_is_loaded<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let window = world.ttl;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(window));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.table.set(1, 11);
    world.pass_ttl().await;
    world.pass_ttl().await;
    let fetched = fetch(&cache, 1).await;
    assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&11), Origin::Loaded));
}

/// An invalidation wins over a refresh under way, and nothing stale is served after it.
pub async fn an_invalidation_wins_over_a_refresh<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG).stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.set(1, 12);
    cache.invalidate(&1).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(12), "neither the stale value nor the refresh's");
    hold.release();
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(12));
    cache.invalidate(&1).await.expect("acknowledged");
    world.table.fail(Some("down"));
    assert!(cache.get(&1).await.is_err(), "what was invalidated is not served even when the source fails");
}

/// A source that fails is asked again only after the back-off; readers are served meanwhile.
pub async fn a_failed_refresh_waits_for_its_backoff<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let (first, longest) = (world.ttl, world.ttl * 2);
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG).backoff(first, longest));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    for round in 2..=3 {
        for _ in 0..20 {
            assert_eq!(get(&cache, 1).await, Some(10));
            idle(&cache).await;
        }
        assert_eq!(world.table.loads(), round, "one try in each pause");
        world.time.advance(longest + Duration::from_millis(2)).await;
    }
    world.table.fail(None);
    world.table.set(1, 11);
    assert_eq!(get(&cache, 1).await, Some(10));
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(11), "it has recovered");
}

/// Who needs the value joins the refresh under way, and is given what it loads.
pub async fn a_miss_joins_a_refresh<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let window = world.ttl;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(window));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.pass_ttl().await;
    let (fetched, ()) = tokio::join!(fetch(&cache, 1), async {
        tokio::task::yield_now().await;
        hold.release();
    });
    assert_eq!((fetched.value.as_deref(), world.table.loads()), (Some(&11), 2));
}

/// A refresh that hangs does not keep a reader who needs the value from loading it.
pub async fn a_hung_refresh_blocks_no_miss<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let window = world.ttl;
    let Process { builder, locking, .. } = world.process();
    let cache = world.build(builder, |strategy| {
        let strategy = strategy.stale_while_revalidate(window);
        match locking {
            Some(locking) => strategy.locked(locking.wait(LONG)),
            None => strategy,
        }
    });
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.set(1, 12);
    world.pass_ttl().await;
    let began = tokio::time::Instant::now();
    assert_eq!(get(&cache, 1).await, Some(12));
    assert!(began.elapsed() < Duration::from_secs(5), "after {:?}", began.elapsed());
    hold.release();
    idle(&cache).await;
    let value = get(&cache, 1).await;
    assert_eq!(value, Some(12), "the hung load's old value is not stored over the new one");
}

/// When the source fails, the expired value is served and the source left alone for a while.
pub async fn a_failing_source_is_stood_in_for<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let pause = world.ttl;
    let cache = world.cache(|strategy| strategy.stale_if_error(LONG).backoff(pause, pause));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    for _ in 0..20 {
        let fetched = fetch(&cache, 1).await;
        assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&10), Origin::Stale));
    }
    assert_eq!(world.table.loads(), 2, "asked once, then left alone");
    let error = soon(cache.get(&2)).await.expect_err("there is nothing to serve");
    assert_eq!(error.kind(), ErrorKind::Source);
    world.table.fail(None);
    world.table.set(1, 11);
    world.time.advance(pause + Duration::from_millis(2)).await;
    assert_eq!(get(&cache, 1).await, Some(11), "without stale_while_revalidate an expired value is loaded");
}

/// Reads of many leave a failing source alone too, and a success ends the pause at once.
pub async fn a_success_ends_the_pause<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_if_error(LONG).backoff(LONG / 2, LONG / 2));
    soon(cache.get_many(&[1, 2])).await.expect("loaded");
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    for _ in 0..5 {
        let values = soon(cache.get_many(&[1, 2])).await.expect("stood in for");
        assert_eq!(
            values.iter().map(|value| value.as_deref().copied()).collect::<Vec<_>>(),
            [Some(10), Some(20)]
        );
    }
    assert_eq!(world.table.queries(), 2, "asked once");
    world.table.fail(None);
    world.table.set(1, 11);
    assert_eq!(get(&cache, 1).await, Some(10), "left alone");
    assert_eq!(soon(cache.refresh(&1)).await.expect("loaded").as_deref(), Some(&11));
    world.pass_ttl().await;
    world.table.set(1, 12);
    assert_eq!(get(&cache, 1).await, Some(12), "asked again");
}

/// What is invalidated while its load fails is not served in place of the error.
pub async fn what_is_invalidated_meanwhile_does_not_stand_in<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    let hold = world.table.hold();
    let early = tokio::spawn({
        let cache = cache.clone();
        async move { cache.get(&1).await }
    });
    soon(hold.arrived()).await;
    cache.invalidate(&1).await.expect("acknowledged");
    hold.release();
    assert!(soon(early).await.expect("no panic").is_err());
}

/// Who needs the value and joins a refresh that fails tries for itself.
pub async fn a_failed_refresh_is_no_answer_to_a_miss<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let window = world.ttl;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(window));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.fail(None);
    world.pass_ttl().await;
    let (value, many, ()) = tokio::join!(get(&cache, 1), cache.get_many(&[1]), async {
        tokio::task::yield_now().await;
        hold.release();
    });
    assert_eq!(value, Some(10));
    assert_eq!(many.expect("loaded")[0].as_deref(), Some(&10));
}

/// Without fail-safe an error is an error, whatever is expired.
pub async fn without_fail_safe_errors_are_errors<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy);
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    assert!(soon(cache.get(&1)).await.is_err());
    assert!(soon(cache.get(&1)).await.is_err());
    assert_eq!(world.table.loads(), 3, "and the source is asked each time");
}

/// What the source no longer has is not served stale for ever.
pub async fn what_was_deleted_is_not_served_stale<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG).stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.delete(1);
    assert_eq!(get(&cache, 1).await, Some(10), "it is not known yet");
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, None);
    world.table.fail(Some("down"));
    assert!(soon(cache.get(&1)).await.is_err(), "there is nothing to stand in");
}

/// A reader who can be served stale waits no longer than it is told to; the load goes on and fills.
pub async fn a_slow_load_is_not_waited_for<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| {
        strategy
            .stale_if_error(LONG)
            .soft_timeout(Duration::from_millis(20))
            .hard_timeout(Duration::from_millis(300))
    });
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    let began = tokio::time::Instant::now();
    let fetched = fetch(&cache, 1).await;
    assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&10), Origin::Stale));
    assert!(began.elapsed() < Duration::from_millis(300), "after {:?}", began.elapsed());
    let error = soon(cache.get(&2)).await.expect_err("there is nothing stale of this one");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Timeout, true));
    hold.release();
    idle(&cache).await;
    assert_eq!((get(&cache, 1).await, get(&cache, 2).await), (Some(11), Some(20)));
    assert_eq!(world.table.loads(), 3, "the loads that nobody waited for have filled");
}

/// An entry is refreshed before it is stale, behind its reader.
pub async fn an_eager_refresh_comes_before_the_end<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    // a busy machine must not be late for the first third
    world.ttl *= 4;
    let cache = world.cache(|strategy| strategy.eager_refresh(0.3));
    assert_eq!((get(&cache, 1).await, get(&cache, 1).await), (Some(10), Some(10)));
    assert_eq!(world.table.loads(), 1, "young");
    world.table.set(1, 11);
    world.time.advance(world.ttl.mul_f64(0.4)).await;
    let fetched = fetch(&cache, 1).await;
    assert_eq!(fetched.value.as_deref(), Some(&10));
    assert_ne!(fetched.origin, Origin::Stale, "it is fresh");
    idle(&cache).await;
    assert_eq!((get(&cache, 1).await, world.table.loads()), (Some(11), 2));
}

/// With an enormous beta every hit refreshes; with a tiny one none does until the end.
pub async fn an_early_refresh_goes_by_cost<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.early_refresh(1e-9));
    for _ in 0..50 {
        assert_eq!(get(&cache, 1).await, Some(10));
    }
    idle(&cache).await;
    assert_eq!(world.table.loads(), 1);
}

fn parity(value: &u64) -> [Tag; 1] {
    [Tag::new("tens", value / 10 % 2)]
}

/// An invalidated tag ends what carries it, from value, key and loader, and nothing else.
pub async fn an_invalidated_tag_ends_all_that_carry_it<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let builder = world.process().builder.tag_keys(|key| [Tag::new("key", *key)]);
    let cache = world.build(builder, |strategy| strategy.tagged(parity));
    soon(cache.get_many(&[1, 2, 3, 4])).await.expect("loaded");
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    world.table.set(1, 11);
    assert!(
        cache.lookup(&3).await.expect("answered").is_none()
            && cache.lookup(&2).await.expect("answered").is_some()
    );
    assert_eq!(get(&cache, 1).await, Some(11));
    cache.invalidate_tag(&Tag::new("key", 2)).await.expect("acknowledged");
    assert!(
        cache.lookup(&2).await.expect("answered").is_none()
            && cache.lookup(&4).await.expect("answered").is_some()
    );
    let tagged =
        || async { Ok::<_, std::io::Error>(Loaded::new(99).tags([Tag::new("given", "at the call")])) };
    soon(cache.get_or_load(&9, tagged)).await.expect("loaded");
    cache.insert(&8, Loaded::new(88).tags([Tag::new("given", "at the call")])).await.expect("stored");
    assert!(
        cache.lookup(&9).await.expect("answered").is_some()
            && cache.lookup(&8).await.expect("answered").is_some()
    );
    cache.invalidate_tag(&Tag::new("given", "at the call")).await.expect("acknowledged");
    assert!(
        cache.lookup(&9).await.expect("answered").is_none()
            && cache.lookup(&8).await.expect("answered").is_none()
    );
    cache.clear().await.expect("acknowledged");
    assert!(cache.lookup(&4).await.expect("answered").is_none());
}

/// The invalidation of a tag reaches a load under way, and readers after it are not given what that one loads.
pub async fn a_tag_invalidation_reaches_a_load<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.tagged(parity));
    let hold = world.table.hold();
    let early = tokio::spawn({
        let cache = cache.clone();
        async move { get(&cache, 1).await }
    });
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.set(1, 12);
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    let (late, ()) = tokio::join!(get(&cache, 1), async {
        tokio::task::yield_now().await;
        hold.release();
    });
    assert_eq!(late, Some(12));
    assert_eq!(soon(early).await.expect("no panic"), Some(10), "it overlapped the invalidation");
    assert_eq!(get(&cache, 1).await, Some(12));
}

/// A value that moves from one tag to another is ended by either of them.
pub async fn tags_change_with_the_value<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.tagged(parity));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.table.set(1, 20);
    cache.invalidate_tags(&[Tag::new("tens", 1), Tag::new("tens", 0)]).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(20));
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    assert!(cache.lookup(&1).await.expect("answered").is_some(), "the old tag is no longer its own");
    cache.invalidate_tag(&Tag::new("tens", 0)).await.expect("acknowledged");
    assert!(cache.lookup(&1).await.expect("answered").is_none());
}

/// A tag ends what is stale too: it is neither served while refreshed nor in place of an error.
pub async fn a_tag_ends_the_stale<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache =
        world.cache(|strategy| strategy.tagged(parity).stale_while_revalidate(LONG).stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10), "served stale");
    soon(hold.arrived()).await;
    world.table.unhold();
    world.table.set(1, 12);
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(12));
    hold.release();
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(12), "the refresh that began before is not stored");
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    world.table.fail(Some("down"));
    assert!(soon(cache.get(&1)).await.is_err());
}

/// "Not modified" keeps the value for another TTL, with its tags.
pub async fn what_is_not_modified_is_kept<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let strategy = Strategy::aside(world.ttl).stale_while_revalidate(LONG).tagged(parity);
    let builder = world.process().builder.conditional_source(world.table.clone());
    let cache = builder.strategy(strategy).build().expect("it can be built");
    let first = soon(cache.get(&1)).await.expect("loaded");
    world.pass_ttl().await;
    assert_eq!(fetch(&cache, 1).await.origin, Origin::Stale);
    idle(&cache).await;
    assert_eq!(world.table.loads(), 2);
    let fetched = fetch(&cache, 1).await;
    assert_ne!(fetched.origin, Origin::Stale, "fresh again");
    assert_eq!(fetched.value, first);
    cache.invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    assert!(cache.lookup(&1).await.expect("answered").is_none(), "the tags were kept too");
    assert_eq!(get(&cache, 1).await, Some(10));
    world.table.set(1, 11);
    assert_eq!(soon(cache.refresh(&1)).await.expect("loaded").as_deref(), Some(&11));
    assert_eq!(get(&cache, 1).await, Some(11), "what is modified is loaded");
    let extra = Tag::new("given", "by a writer");
    cache.insert(&1, Loaded::new(11).tags([extra.clone()]).validator("11")).await.expect("stored");
    let loads = world.table.loads();
    assert_eq!(soon(cache.refresh(&1)).await.expect("loaded").as_deref(), Some(&11));
    assert_eq!(world.table.loads(), loads + 1);
    cache.invalidate_tag(&extra).await.expect("acknowledged");
    assert!(
        cache.lookup(&1).await.expect("answered").is_none(),
        "tags that were given are kept with the value"
    );
}

/// Many keys: what is fresh or stale is answered at once, what is due is loaded by one query behind.
pub async fn many_are_served_stale_and_refreshed_together<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG));
    soon(cache.get_many(&[1, 2])).await.expect("loaded");
    world.pass_ttl().await;
    soon(cache.get_many(&[3])).await.expect("loaded");
    (1..=4).for_each(|key| world.table.set(key, 100 + key));
    let queries = world.table.queries();
    let values = soon(cache.get_many(&[1, 2, 3, 4, 1])).await.expect("answered");
    let values: Vec<_> = values.iter().map(|value| value.as_deref().copied()).collect();
    assert_eq!(values, [Some(10), Some(20), Some(30), Some(104), Some(10)]);
    idle(&cache).await;
    assert_eq!(world.table.queries() - queries, 2, "one for the missing key, one for the two that were due");
    assert_eq!((get(&cache, 1).await, get(&cache, 2).await), (Some(101), Some(102)));
}

/// Many keys of a failing source: what is expired stands in, and only what is not there fails, by name.
pub async fn many_are_stood_in_for<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_if_error(LONG));
    soon(cache.get_many(&[1, 2])).await.expect("loaded");
    world.pass_ttl().await;
    world.table.fail(Some("down"));
    let answers = soon(cache.get_each(&[1, 3, 2])).await.expect("answered");
    let values: Vec<_> = answers
        .iter()
        .map(|answer| answer.as_ref().ok().and_then(|value| value.as_deref().copied()))
        .collect();
    assert_eq!(values, [Some(10), None, Some(20)]);
    let error = soon(cache.get_many(&[1, 3, 2])).await.expect_err("one key cannot be had");
    assert!(error.to_string().contains("1 of 3 keys failed, at 1"), "{error}");
    assert_eq!(error.source_as::<std::io::Error>().map(ToString::to_string).as_deref(), Some("down"));
}

/// Single misses at one time are one query.
pub async fn single_misses_are_gathered<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.gather(Duration::from_millis(50), 100));
    let gets = join_all([1, 2, 3, 1].map(|key| get(&cache, key)));
    assert_eq!(gets.await, [Some(10), Some(20), Some(30), Some(10)]);
    assert_eq!((world.table.queries(), world.table.loads()), (1, 3));
    assert_eq!(get(&cache, 1).await, Some(10));
    assert_eq!(world.table.queries(), 1, "a hit waits for nobody");
}

/// A batch that is full does not wait for its window.
pub async fn a_full_batch_goes_at_once<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.gather(PATIENCE, 2));
    let gets = soon(join_all([1, 2, 3, 4].map(|key| get(&cache, key)))).await;
    assert_eq!(gets, [Some(10), Some(20), Some(30), Some(40)]);
    assert_eq!(world.table.queries(), 2);
}

/// Too many loads at once: some wait, the others fail at once or are served stale.
pub async fn an_overload_fails_fast_or_is_served_stale<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.limit_loads(1, 1).stale_if_error(LONG));
    assert_eq!(get(&cache, 4).await, Some(40));
    world.pass_ttl().await;
    let hold = world.table.hold();
    let spawn = |key| {
        tokio::spawn({
            let cache = cache.clone();
            async move { get(&cache, key).await }
        })
    };
    let one = spawn(1);
    soon(hold.arrived()).await;
    let two = spawn(2);
    eventually("the second waits", async || cache.in_flight() == 2).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let error = soon(cache.get(&3)).await.expect_err("there is no room");
    assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Overloaded, true));
    assert_eq!(fetch(&cache, 4).await.origin, Origin::Stale, "what is expired is better than nothing");
    hold.release();
    assert_eq!(
        (soon(one).await.expect("no panic"), soon(two).await.expect("no panic")),
        (Some(10), Some(20))
    );
    assert_eq!(get(&cache, 3).await, Some(30));
    assert!(cache.stats().overloaded >= 2);
}

/// Warming loads what is missing, in batches, and goes on when keys fail.
pub async fn warming_fills_the_cache<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy);
    assert_eq!(get(&cache, 1).await, Some(10));
    let report = soon(cache.warm([1, 2, 3, 4, 5]).batch(2).concurrency(2).run()).await;
    assert_eq!((report.ready, report.failed.len()), (5, 0));
    assert_eq!(world.table.queries(), 4, "one get and three batches");
    assert!(cache.lookup(&4).await.expect("answered").is_some());
    world.table.fail(Some("down"));
    let report = soon(cache.warm([4, 6, 7]).batch(1).retries(2).run()).await;
    assert_eq!((report.ready, report.failed.len()), (1, 2));
    world.table.fail(None);
    world.table.set(6, 60);
    let again = report.failed.into_iter().map(|(key, _)| key);
    assert_eq!(soon(cache.warm(again).run()).await.ready, 2);
    assert_eq!(cache.lookup(&6).await.expect("answered").and_then(|found| found.value).as_deref(), Some(&60));
}

/// While a write is announced nothing is stored; after its end the new value is.
pub async fn a_write_guard_survives_its_writer<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG).stale_if_error(LONG));
    assert_eq!(get(&cache, 1).await, Some(10));
    let guard = cache.write_guard(&[1, 2], LONG).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(10), "before the commit the old value is right");
    assert!(cache.lookup(&1).await.expect("answered").is_none(), "and is not kept");
    world.table.set(1, 11);
    assert_eq!(get(&cache, 1).await, Some(11), "from the commit on the new one is");
    guard.finish().await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(11));
    assert!(cache.lookup(&1).await.expect("answered").is_some());
    // a writer that dies between commit and end
    let life = world.ttl;
    let lost = cache.write_guard(&[1], life).await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(11));
    world.table.set(1, 12);
    drop(lost);
    assert_eq!(get(&cache, 1).await, Some(12));
    world.time.advance(life + Duration::from_millis(2)).await;
    assert_eq!(get(&cache, 1).await, Some(12));
    assert!(cache.lookup(&1).await.expect("answered").is_some(), "the guard has ended by itself");
}

/// A refresh that was under way when a write was announced stores nothing, nor does one that begins meanwhile.
pub async fn a_guard_wins_over_a_refresh<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let cache = world.cache(|strategy| strategy.stale_while_revalidate(LONG).tagged(parity));
    assert_eq!(get(&cache, 1).await, Some(10));
    world.pass_ttl().await;
    let hold = world.table.hold();
    assert_eq!(get(&cache, 1).await, Some(10));
    soon(hold.arrived()).await;
    world.table.unhold();
    let guard = cache.write_guard(&[1], LONG).await.expect("acknowledged");
    world.table.set(1, 11);
    hold.release();
    idle(&cache).await;
    assert_eq!(get(&cache, 1).await, Some(11));
    guard.finish().await.expect("acknowledged");
    assert_eq!(get(&cache, 1).await, Some(11));
}

/// Among processes with locks, one refreshes what all serve stale.
pub async fn one_process_refreshes_for_all<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let Some(processes) = world.shared() else { return };
    let caches = processes.map(|Process { builder, locking, .. }| {
        let locking = locking.expect("processes that share a store share locks");
        world.build(builder, |strategy| strategy.stale_while_revalidate(LONG).locked(locking))
    });
    assert_eq!((get(&caches[0], 1).await, get(&caches[1], 1).await), (Some(10), Some(10)));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    for cache in caches.iter().chain(&caches) {
        assert_eq!(get(cache, 1).await, Some(10));
    }
    soon(hold.arrived()).await;
    hold.release();
    idle(&caches[0]).await;
    idle(&caches[1]).await;
    assert_eq!(world.table.loads(), 2, "one load at first, one refresh");
    assert_eq!((get(&caches[0], 1).await, get(&caches[1], 1).await), (Some(11), Some(11)));
}

/// Waiting in vain for another process: what is expired is served.
pub async fn waiting_in_vain_is_served_stale<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let Some(processes) = world.shared() else { return };
    let wait = Duration::from_millis(100);
    let caches = processes.map(|Process { builder, locking, .. }| {
        let locking: Locking = locking.expect("processes that share a store share locks").wait(wait);
        world.build(builder, |strategy| strategy.stale_if_error(LONG).locked(locking))
    });
    assert_eq!(get(&caches[0], 1).await, Some(10));
    world.pass_ttl().await;
    world.table.set(1, 11);
    let hold = world.table.hold();
    let slow = tokio::spawn({
        let cache = caches[0].clone();
        async move { get(&cache, 1).await }
    });
    soon(hold.arrived()).await;
    let fetched = fetch(&caches[1], 1).await;
    assert_eq!((fetched.value.as_deref(), fetched.origin), (Some(&10), Origin::Stale));
    assert_eq!(world.table.loads(), 2, "and nobody else has loaded");
    hold.release();
    assert_eq!(soon(slow).await.expect("no panic"), Some(11));
}

/// A tag that one process invalidates ends what the other reads, loads and serves stale.
pub async fn a_tag_reaches_the_other_process<F: CacheFixture>(fixture: F) {
    let mut world = World::new(&fixture).await;
    let Some(processes) = world.shared() else { return };
    let caches = processes.map(|Process { builder, .. }| {
        world.build(builder, |strategy| strategy.tagged(parity).stale_while_revalidate(LONG))
    });
    assert_eq!((get(&caches[0], 1).await, get(&caches[1], 1).await), (Some(10), Some(10)));
    world.table.set(1, 12);
    caches[0].invalidate_tag(&Tag::new("tens", 1)).await.expect("acknowledged");
    assert_eq!(get(&caches[0], 1).await, Some(12), "at once where it was invalidated");
    // with a near tier, within its bound elsewhere
    eventually("the other process sees it", async || {
        world.time.advance(Duration::from_millis(50)).await;
        get(&caches[1], 1).await == Some(12)
    })
    .await;
}
