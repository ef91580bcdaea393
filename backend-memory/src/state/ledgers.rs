//! Tag ledgers: the last invalidation of each tag.

use std::collections::BTreeMap;
use std::time::Duration;

use larder::Tag;
use larder::backend::Entry;
use larder::tag::{LedgerView, Pruned, Stamp};

use super::State;
use crate::mutation;
use crate::push::Push;

#[derive(Debug, Clone, Default)]
pub(super) struct Ledger {
    id: u64,
    count: u64,
    floor: u64,
    /// The longest life of an entry with tags.
    longest: Duration,
    tags: BTreeMap<Tag, u64>,
}

impl State {
    fn ledger(&mut self, namespace: &str) -> &mut Ledger {
        if !self.data.ledgers.contains_key(namespace) {
            let id = self.fresh();
            self.data.ledgers.insert(namespace.to_owned(), Ledger { id, ..Ledger::default() });
        }
        self.data.ledgers.entry(namespace.to_owned()).or_default()
    }

    /// Removes a ledger. Its next use creates another one.
    pub(crate) fn end_ledger(&mut self, namespace: &str) {
        if self.data.ledgers.remove(namespace).is_some() {
            self.push(&Push::LedgerChanged { namespace: namespace.to_owned() });
        }
    }

    pub(crate) fn stamp(&mut self, namespace: &str) -> Stamp {
        let ledger = self.ledger(namespace);
        Stamp::new(ledger.id, ledger.count)
    }

    pub(crate) fn invalidate_tags(&mut self, namespace: &str, tags: &[Tag]) -> Stamp {
        let ledger = self.ledger(namespace);
        ledger.count += 1;
        let count = ledger.count;
        ledger.tags.extend(tags.iter().map(|tag| (tag.clone(), count)));
        let stamp = Stamp::new(ledger.id, count);
        self.push(&Push::LedgerChanged { namespace: namespace.to_owned() });
        stamp
    }

    /// Returns the stamp of the ledger, and each tag that was invalidated after `since` with its count. The tags are
    /// `None` if the ledger no longer knows them all.
    pub(crate) fn tags_since(&mut self, namespace: &str, since: Stamp) -> (Stamp, Option<Vec<(Tag, u64)>>) {
        let ledger = self.ledger(namespace);
        let known = ledger.id == since.ledger() && ledger.floor <= since.count();
        let ended = ledger.tags.iter().filter(|(_, count)| **count > since.count());
        let ended = known.then(|| ended.map(|(tag, count)| (tag.clone(), *count)).collect());
        (Stamp::new(ledger.id, ledger.count), ended)
    }

    pub(crate) fn view(&mut self, namespace: &str, tags: &[Tag]) -> LedgerView {
        let never = mutation::on("a forgotten tag was never invalidated");
        let ledger = self.ledger(namespace);
        let floor = if never { 0 } else { ledger.floor };
        let counts = tags.iter().map(|tag| ledger.tags.get(tag).copied().unwrap_or(floor)).collect();
        LedgerView::new(ledger.id, counts)
    }

    /// Returns `true` if no tag has invalidated this entry.
    pub(crate) fn allows<V>(&mut self, namespace: &str, entry: &Entry<V>) -> bool {
        if mutation::on("any ledger will do") {
            let view = self.view(namespace, entry.tags());
            return view.counts().iter().all(|count| *count <= entry.stamp().count());
        }
        entry.tags().is_empty() || self.view(namespace, entry.tags()).allows(entry.stamp())
    }

    /// Records the life of an entry with tags.
    pub(crate) fn lives(&mut self, namespace: &str, life: Duration) {
        let ledger = self.ledger(namespace);
        ledger.longest = ledger.longest.max(life);
    }

    pub(crate) fn prune(&mut self, namespace: &str, count: u64, longest: Duration) -> Pruned {
        let ledger = self.ledger(namespace);
        if ledger.longest > longest {
            return Pruned::TooEarly(ledger.longest);
        }
        // a floor above the count would invalidate future entries
        let count = count.min(ledger.count);
        let before = ledger.tags.len();
        ledger.floor = ledger.floor.max(count);
        ledger.tags.retain(|_, invalidated| *invalidated > count);
        let pruned = before - ledger.tags.len();
        self.push(&Push::LedgerChanged { namespace: namespace.to_owned() });
        Pruned::Removed(pruned)
    }
}
