//! Properties of a tag ledger.

use std::time::Duration;

use larder::Tag;
use larder::tag::{Pruned, TagLedger};

fn tags() -> [Tag; 3] {
    [Tag::new("kind", "bread"), Tag::new("kind", "cake"), Tag::new("shop", 7)]
}

/// A stamp is valid until one of its tags is invalidated, and no longer.
pub async fn an_invalidation_ends_what_was_stamped_before<L: TagLedger>(ledger: &L) {
    let [bread, cake, _] = tags();
    let before = ledger.stamp().await.expect("the ledger answers");
    assert_eq!(ledger.stamp().await.expect("the ledger answers"), before, "reading changes nothing");
    ledger.invalidate(std::slice::from_ref(&bread)).await.expect("the ledger answers");
    let after = ledger.stamp().await.expect("the ledger answers");
    let view = ledger.view(std::slice::from_ref(&bread)).await.expect("the ledger answers");
    assert!(!view.allows(before), "stamped before the invalidation");
    assert!(view.allows(after), "stamped after it");
    assert!(ledger.view(&[cake]).await.expect("the ledger answers").allows(before), "another tag");
    assert!(ledger.view(&[]).await.expect("the ledger answers").allows(before), "no tag");
}

/// The counts of a view are in the order of the requested tags.
pub async fn a_view_is_aligned<L: TagLedger>(ledger: &L) {
    let [bread, cake, shop] = tags();
    ledger.invalidate(std::slice::from_ref(&cake)).await.expect("the ledger answers");
    ledger.invalidate(std::slice::from_ref(&shop)).await.expect("the ledger answers");
    let view = ledger.view(&[shop.clone(), bread, cake.clone(), shop]).await.expect("the ledger answers");
    let counts = view.counts();
    assert_eq!(counts.len(), 4);
    assert!(counts[0] == counts[3] && counts[0] > counts[2] && counts[2] > counts[1], "{counts:?}");
}

/// Several tags are invalidated in one step.
pub async fn many_tags_are_one_invalidation<L: TagLedger>(ledger: &L) {
    let before = ledger.stamp().await.expect("the ledger answers");
    let after = ledger.invalidate(&tags()).await.expect("the ledger answers");
    assert_eq!(after.count(), before.count() + 1);
    for tag in tags() {
        assert!(!ledger.view(&[tag]).await.expect("the ledger answers").allows(before));
    }
}

/// Pruning forgets old tags and ends the entries that were stamped before them. Later entries are untouched.
pub async fn pruning_raises_the_floor<L: TagLedger>(ledger: &L) {
    let [bread, cake, shop] = tags();
    let oldest = ledger.stamp().await.expect("the ledger answers");
    let pruned_to = ledger.invalidate(std::slice::from_ref(&bread)).await.expect("the ledger answers");
    ledger.invalidate(std::slice::from_ref(&cake)).await.expect("the ledger answers");
    assert_eq!(
        ledger.prune(pruned_to.count(), Duration::MAX).await.expect("the ledger answers"),
        Pruned::Removed(1)
    );
    let view = async |tag: &Tag| ledger.view(std::slice::from_ref(tag)).await;
    assert!(!view(&shop).await.expect("the ledger answers").allows(oldest), "below the floor");
    assert!(view(&bread).await.expect("the ledger answers").allows(pruned_to), "at the floor");
    assert!(!view(&cake).await.expect("the ledger answers").allows(pruned_to), "invalidated later");
}
