//! Tag ledgers between processes, lost and found.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::time::Duration;

use larder::Tag;
use larder::tag::{Pruned, TagLedger};
use larder_memory::{Fault, MemoryLedger, MemoryServer, OperationKind, Push};

fn world() -> (MemoryServer, MemoryLedger, MemoryLedger) {
    let server = MemoryServer::new();
    let [one, two] = ["one", "two"].map(|name| server.connect(name).ledger("a"));
    (server, one, two)
}

fn tag(name: &str) -> Tag {
    Tag::new("kind", name)
}

#[tokio::test]
async fn an_invalidation_by_one_process_ends_what_another_stamped() {
    let (_, one, two) = world();
    let stamp = one.stamp().await.unwrap();
    let after = two.invalidate(&[tag("bread")]).await.unwrap();
    assert_eq!((after.ledger(), after.count()), (stamp.ledger(), stamp.count() + 1));
    let view = one.view(&[tag("bread"), tag("cake")]).await.unwrap();
    assert_eq!((view.ledger(), view.counts()), (stamp.ledger(), &[1, 0][..]));
    assert!(!view.allows(stamp) && view.allows(after));
}

/// A namespace's name is no prefix of another's.
#[tokio::test]
async fn look_alike_namespaces_have_ledgers_of_their_own() {
    let (server, one, _) = world();
    let mut ids = vec![one.stamp().await.unwrap().ledger()];
    for namespace in ["ab", "a:b", ""] {
        let other = server.connect("one").ledger(namespace);
        assert_eq!(other.invalidate(&[tag("bread")]).await.unwrap().count(), 1);
        ids.push(other.stamp().await.unwrap().ledger());
    }
    assert_eq!(one.stamp().await.unwrap().count(), 0);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4);
}

#[tokio::test]
async fn pruning_raises_the_floor_and_ends_only_what_is_older() {
    let (_, one, two) = world();
    let early = one.stamp().await.unwrap();
    one.invalidate(&[tag("bread")]).await.unwrap();
    let between = one.invalidate(&[tag("cake")]).await.unwrap();
    one.invalidate(&[tag("pie")]).await.unwrap();
    assert_eq!(two.prune(between.count(), Duration::MAX).await.unwrap(), Pruned::Removed(2));
    let view = two.view(&[tag("bread"), tag("cake"), tag("pie"), tag("never named")]).await.unwrap();
    assert_eq!(view.counts(), [2, 2, 3, 2]);
    let unnamed = two.view(&[tag("never named")]).await.unwrap();
    assert!(unnamed.allows(between) && !unnamed.allows(early));
    assert_eq!(two.prune(99, Duration::MAX).await.unwrap(), Pruned::Removed(1));
    let now = two.stamp().await.unwrap();
    assert!(two.view(&[tag("pie")]).await.unwrap().allows(now), "a floor is never above the count");
}

#[tokio::test]
async fn a_ledger_lost_in_any_way_comes_back_as_another() {
    let (server, one, _) = world();
    let ways: [fn(&MemoryServer); 3] =
        [MemoryServer::flush, MemoryServer::restart_empty, |server| server.evict_ledger("a")];
    for lose in ways {
        one.invalidate(&[tag("bread")]).await.unwrap();
        let before = one.stamp().await.unwrap();
        lose(&server);
        let view = one.view(&[tag("cake")]).await.unwrap();
        assert!(view.ledger() != before.ledger() && !view.allows(before));
        assert_eq!(one.stamp().await.unwrap().ledger(), view.ledger(), "the view made it");
        assert_eq!(one.stamp().await.unwrap().count(), 0);
    }
}

#[tokio::test]
async fn an_old_dump_brings_the_old_ledger_back() {
    let (server, one, _) = world();
    let stamp = one.stamp().await.unwrap();
    let dump = server.snapshot();
    one.invalidate(&[tag("bread")]).await.unwrap();
    server.restart_empty();
    one.stamp().await.unwrap();
    server.restart_from(&dump);
    assert!(
        one.view(&[tag("bread")]).await.unwrap().allows(stamp),
        "the invalidation is lost with the new data"
    );
}

#[tokio::test]
async fn changes_are_pushed_and_can_go_wrong() {
    let (server, one, two) = world();
    let mut pushes = server.connect("two").pushes();
    one.stamp().await.unwrap();
    one.view(&[]).await.unwrap();
    one.invalidate(&[tag("bread")]).await.unwrap();
    let changed = Push::LedgerChanged { namespace: "a".into() };
    assert_eq!([pushes.try_next(), pushes.try_next()], [Some(changed.clone()), None], "reading is no change");
    server.evict_ledger("a");
    assert_eq!([pushes.try_next(), pushes.try_next()], [Some(changed), None]);
    server.evict_ledger("a");
    assert_eq!(pushes.try_next(), None, "there was none any more");

    let invalidate = |operation: &larder_memory::Operation| operation.kind == OperationKind::LedgerInvalidate;
    server.faults().times(1, invalidate, Fault::LoseReply);
    let before = one.stamp().await.unwrap();
    assert!(two.invalidate(&[tag("bread")]).await.is_err());
    assert!(!one.view(&[tag("bread")]).await.unwrap().allows(before), "it happened all the same");
    let [.., asked, _] = &server.record()[..] else { panic!("an invalidation and a view") };
    assert_eq!((&*asked.process, &asked.keys[..]), ("two", &["kind:=bread".to_owned()][..]));
}
