//! Properties of a store that two processes share.

use std::time::Duration;

use larder::backend::{BeginOutcome, FillOutcome, LoadIntent, WriteIntent};
use larder::tag::Pruned;
use larder::{CacheBackend, Tag};

use crate::SharedFixture;
use crate::backend::Bench;

const MINUTE: Duration = Duration::from_secs(60);

macro_rules! two {
    ($one:ident, $two:ident, $fixture:ident) => {
        let [one, two] = $fixture.open_two().await;
        let ($one, $two) = (Bench::new(one, $fixture.time()), Bench::new(two, $fixture.time()));
    };
}

/// An entry that one process stores is read by the other; a removed entry is not.
pub async fn processes_see_each_others_writes<F: SharedFixture>(fixture: F) {
    two!(one, two, fixture);
    one.put("a", one.entry("bread", MINUTE)).await;
    assert_eq!(two.value("a").await.as_deref(), Some("bread"));
    two.remove("a").await;
    assert!(one.get("a").await.is_none());
    one.put("a", one.entry("cake", MINUTE)).await;
    two.backend.clear().await.expect("clear answers");
    assert!(one.get("a").await.is_none());
}

/// A removal by one process revokes the fence that the other was granted before, and not a later one.
pub async fn a_removal_defeats_the_other_processs_load<F: SharedFixture>(fixture: F) {
    two!(one, two, fixture);
    let old = one.fence("a").await;
    two.remove("a").await;
    let young = two.fence("a").await;
    assert_ne!(old.nonce(), young.nonce(), "a nonce is never reused");
    assert_eq!(one.fill("a", old, "old").await, FillOutcome::Refused);
    assert!(one.get("a").await.is_none());
    assert_eq!(two.fill("a", young, "young").await, FillOutcome::Stored);
    assert_eq!(one.value("a").await.as_deref(), Some("young"));
}

/// Loaders of two processes share a valid fence; the first fill is stored.
pub async fn processes_share_a_fence<F: SharedFixture>(fixture: F) {
    two!(one, two, fixture);
    let (first, second) = (one.fence("a").await, two.fence("a").await);
    assert_eq!(first.nonce(), second.nonce());
    assert!(second.is_joined());
    assert_eq!(two.fill("a", second, "second").await, FillOutcome::Stored);
    assert_eq!(one.fill("a", first, "first").await, FillOutcome::Refused);
    assert!(matches!(one.begin("a", LoadIntent::shared(fixture.time().lease())).await, BeginOutcome::Hit(_)));
}

/// An exclusive load intent of one process keeps the other out.
pub async fn an_exclusive_announcement_holds_across_processes<F: SharedFixture>(fixture: F) {
    two!(one, two, fixture);
    one.granted("a", LoadIntent::exclusive(fixture.time().lease())).await;
    assert!(matches!(
        two.begin("a", LoadIntent::exclusive(fixture.time().lease())).await,
        BeginOutcome::Busy(_)
    ));
    fixture.time().advance(fixture.time().lease()).await;
    two.granted("a", LoadIntent::exclusive(fixture.time().lease())).await;
}

/// An entry expires for both processes at its hard TTL.
pub async fn an_entry_ends_for_both<F: SharedFixture>(fixture: F) {
    two!(one, two, fixture);
    let life = fixture.time().lease();
    one.put("a", one.entry("bread", life)).await;
    fixture.time().advance(life).await;
    assert!(one.get("a").await.is_none() && two.get("a").await.is_none());
}

/// A tag that one process invalidates ends the entries and the loads of the other.
pub async fn a_tag_invalidation_reaches_the_other_process<F: SharedFixture>(fixture: F) {
    two!(one, two, fixture);
    one.put("a", one.tagged("bread", &["red"])).await;
    assert_eq!(two.value("a").await.as_deref(), Some("bread"));
    let (announced, other) = (one.fence("b").await, one.fence("c").await);
    two.invalidate_tags(&["red"]).await;
    assert!(one.get("a").await.is_none() && two.get("a").await.is_none());
    assert_eq!(one.fill_entry("b", announced, one.tagged("old", &["red"])).await, FillOutcome::Refused);
    assert_eq!(one.fill_entry("c", other, one.tagged("good", &["blue"])).await, FillOutcome::Stored);
    assert!(two.get("b").await.is_none() && two.get("c").await.is_some());
}

/// A process removes no tag that an entry of the other may carry, although its own entries are all younger.
pub async fn tags_are_kept_for_the_entries_of_the_other_process<F: SharedFixture>(fixture: F) {
    two!(one, two, fixture);
    let fence = one.fence("a").await;
    assert_eq!(one.fill_entry("a", fence, one.tagged("bread", &["red"])).await, FillOutcome::Stored);
    let tags = [Tag::new("suite", "blue")];
    let count = two.backend.invalidate_tags(&tags).await.expect("invalidate_tags answers").count();
    let prune = async |life| two.backend.prune_tags(count, life).await.expect("prune_tags answers");
    let Pruned::TooEarly(life) = prune(MINUTE / 2).await else { panic!("an entry may live for a minute") };
    assert!(life >= MINUTE && life < 2 * MINUTE, "{life:?}");
    assert_eq!(two.value("a").await.as_deref(), Some("bread"));
    assert_eq!(prune(life).await, Pruned::Removed(1));
}

/// While one process writes, the other stores nothing. Several processes may write at once.
pub async fn a_guard_holds_across_processes<F: SharedFixture>(fixture: F) {
    two!(one, two, fixture);
    let [first, second] = [WriteIntent::new(1, 10 * MINUTE), WriteIntent::new(2, 10 * MINUTE)];
    let announced = two.fence("a").await;
    one.guard("a", first).await;
    assert_eq!(two.fill("a", announced, "old").await, FillOutcome::Refused);
    two.guard("a", second).await;
    one.unguard("a", first).await;
    assert!(matches!(
        one.begin("a", LoadIntent::shared(fixture.time().lease())).await,
        BeginOutcome::Guarded
    ));
    two.unguard("a", second).await;
    let fence = one.fence("a").await;
    assert_eq!(one.fill("a", fence, "new").await, FillOutcome::Stored);
}
