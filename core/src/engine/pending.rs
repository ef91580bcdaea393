//! Pending invalidations: those that the backend has not acknowledged.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::Arc;

use super::Key;
use crate::backend::Entry;
use crate::clock::Timestamp;
use crate::mutation;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, lock};
use crate::tag::Tag;

/// The maximum of pending tags that reads look up. Above it, all tagged entries count as invalidated.
/// Otherwise each read would cost a copy of all pending tags.
const MOST_DOUBTS: usize = 16_384;

/// The subject of an invalidation.
#[derive(Debug, Clone)]
pub(super) enum Scope<K> {
    Keys(Vec<K>),
    Tags(Vec<Tag>),
    All,
}

impl<K> Scope<K> {
    /// Returns the number of keys or tags; 1 for everything.
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Keys(keys) => keys.len() as u64,
            Self::Tags(tags) => tags.len() as u64,
            Self::All => 1,
        }
    }

    /// Splits the scope into one for each key or tag.
    pub(super) fn singly(self) -> Vec<Self> {
        match self {
            Self::Keys(keys) => keys.into_iter().map(|key| Self::Keys(vec![key])).collect(),
            Self::Tags(tags) => tags.into_iter().map(|tag| Self::Tags(vec![tag])).collect(),
            Self::All => vec![Self::All],
        }
    }
}

/// The order of an invalidation among the others. One that succeeds settles those that failed before it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch(u64);

/// The tags that were pending when the backend was asked.
///
/// The backend's answer may be older than the acknowledgement of their invalidation, even if that arrives first.
#[derive(Debug, Clone, Default)]
pub(super) enum Doubts {
    #[default]
    None,
    Of(Arc<HashSet<Tag>>),
    AllTags,
}

impl Doubts {
    /// Returns `true` if an entry carries one of the tags.
    pub(super) fn end<V>(&self, entry: &Entry<V>) -> bool {
        match self {
            Self::None => false,
            Self::Of(tags) => entry.tags().iter().any(|tag| tags.contains(tag)),
            Self::AllTags => !entry.tags().is_empty(),
        }
    }
}

/// Keys and tags that bypass the cache, because their invalidation may not have reached it.
#[derive(Debug)]
pub(super) struct Pending<K> {
    any: AtomicBool,
    next: AtomicU64,
    marks: Mutex<Marks<K>>,
}

#[derive(Debug)]
struct Marks<K> {
    keys: Marked<K>,
    tags: Marked<Tag>,
    all: Option<Epoch>,
    /// The tags at the last read; `None` if they have changed since.
    doubts: Option<Doubts>,
    retrying: Option<Turn>,
    turns: u64,
}

/// The turn of the retrying task: its number, and the time until which it counts as running.
#[derive(Debug)]
struct Turn {
    number: u64,
    until: Timestamp,
}

impl<K> Marks<K> {
    fn is_empty(&self) -> bool {
        self.keys.epochs.is_empty() && self.tags.epochs.is_empty() && self.all.is_none()
    }
}

/// Keys or tags with the epochs of their failures.
#[derive(Debug)]
struct Marked<T> {
    epochs: HashMap<T, Epoch>,
    latest: Epoch,
    /// The order of the retries. May name subjects that are settled, and may name one twice.
    queue: VecDeque<T>,
}

impl<T> Default for Marked<T> {
    fn default() -> Self {
        Self { epochs: HashMap::new(), latest: Epoch::default(), queue: VecDeque::new() }
    }
}

impl<T: Hash + Eq + Clone> Marked<T> {
    fn mark(&mut self, subjects: &[T], epoch: Epoch) {
        self.latest = epoch;
        for subject in subjects {
            if self.epochs.insert(subject.clone(), epoch).is_none() {
                self.queue.push_back(subject.clone());
            }
        }
        // Prevents: marks and settlements of one key in alternation grow the queue without bound
        if self.queue.len() > 2 * self.epochs.len() + 64 {
            self.queue = self.epochs.keys().cloned().collect();
        }
    }

    fn settle(&mut self, settled: &[T], began: Epoch) {
        for subject in settled {
            if self.epochs.get(subject).is_some_and(|marked| *marked < began) {
                self.epochs.remove(subject);
            }
        }
    }

    /// Settles all subjects marked before `began`. Returns those that the caller drops after it has released the
    /// lock.
    fn settle_all(&mut self, began: Epoch) -> Option<Self> {
        if self.latest < began {
            return Some(std::mem::take(self));
        }
        self.epochs.retain(|_, marked| *marked > began);
        None
    }

    /// Returns the next subjects in turn, at most `most`. They move to the end of the queue, after all others.
    fn next(&mut self, most: usize) -> Vec<T> {
        let (mut next, mut left) = (Vec::new(), self.queue.len());
        // (settled names are dropped on the way; each was paid for when it was added)
        while left > 0 && next.len() < most {
            left -= 1;
            let Some(subject) = self.queue.pop_front().filter(|first| self.epochs.contains_key(first)) else {
                continue;
            };
            self.queue.push_back(subject.clone());
            next.push(subject);
        }
        next
    }
}

impl<K: Key> Pending<K> {
    pub(super) fn new() -> Self {
        let marks = Marks {
            keys: Marked::default(),
            tags: Marked::default(),
            all: None,
            doubts: None,
            retrying: None,
            turns: 0,
        };
        Self { any: AtomicBool::new(false), next: AtomicU64::new(1), marks: Mutex::new(marks) }
    }

    fn marks(&self) -> MutexGuard<'_, Marks<K>> {
        lock(&self.marks)
    }

    /// Returns `true` if any invalidation is pending. This is the only check of the hit path.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    /// Returns `true` if an invalidation of `key`, or of everything, is pending.
    pub(super) fn holds(&self, key: &K) -> bool {
        self.any() && {
            let marks = self.marks();
            marks.all.is_some() || marks.keys.epochs.contains_key(key)
        }
    }

    /// Returns `true` if an entry carries a tag with a pending invalidation.
    pub(super) fn ends<V>(&self, entry: &Entry<V>) -> bool {
        self.any() && !entry.tags().is_empty() && {
            let marks = self.marks();
            entry.tags().iter().any(|tag| marks.tags.epochs.contains_key(tag))
        }
    }

    /// Returns the pending tags. To be taken before the backend is asked.
    pub(super) fn doubts(&self) -> Doubts {
        if !self.any() {
            return Doubts::None;
        }
        let mut marks = self.marks();
        if let Some(doubts) = &marks.doubts {
            return doubts.clone();
        }
        let doubts = match marks.tags.epochs.len() {
            0 => Doubts::None,
            count if count > MOST_DOUBTS => Doubts::AllTags,
            _ => Doubts::Of(Arc::new(marks.tags.epochs.keys().cloned().collect())),
        };
        marks.doubts = Some(doubts.clone());
        doubts
    }

    /// Returns the number of pending keys and tags. A pending invalidation of everything counts as one.
    pub(super) fn len(&self) -> usize {
        let marks = self.marks();
        marks.keys.epochs.len() + marks.tags.epochs.len() + usize::from(marks.all.is_some())
    }

    /// Returns a new epoch. To be taken before an invalidation is sent.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.next.fetch_add(1, Ordering::SeqCst))
    }

    /// Records an invalidation that was not acknowledged.
    pub(super) fn mark(&self, scope: &Scope<K>) {
        if mutation::on("a failed invalidation is forgotten") {
            return;
        }
        let mut marks = self.marks();
        // the epoch of the failure: only an invalidation that begins later settles it.
        // Prevents: a success that was under way already settles it, and the old entry is served
        let epoch = self.epoch();
        match scope {
            Scope::All => marks.all = Some(epoch),
            Scope::Keys(keys) => marks.keys.mark(keys, epoch),
            Scope::Tags(tags) => {
                marks.tags.mark(tags, epoch);
                marks.doubts = None;
            }
        }
        self.any.store(true, Ordering::Release);
    }

    /// Settles the marks from before `began`, the epoch of an invalidation that has been acknowledged.
    pub(super) fn settle(&self, scope: &Scope<K>, began: Epoch) {
        if !self.any() {
            return;
        }
        let late = mutation::on("a success settles what failed after it began");
        let began = if late { Epoch(u64::MAX) } else { began };
        let mut marks = self.marks();
        let mut settled = None;
        match scope {
            Scope::All => {
                settled = Some((marks.keys.settle_all(began), marks.tags.settle_all(began)));
                marks.all = marks.all.filter(|marked| *marked > began);
                marks.doubts = None;
            }
            Scope::Keys(keys) => marks.keys.settle(keys, began),
            Scope::Tags(tags) => {
                marks.tags.settle(tags, began);
                marks.doubts = None;
            }
        }
        // under the lock. Prevents: a mark made after this check is hidden from the hit path
        self.any.store(!marks.is_empty(), Ordering::Release);
        drop(marks);
        drop(settled);
    }

    /// Returns the next subjects to retry: everything (if pending), up to `most` tags and up to `most` keys.
    pub(super) fn next(&self, most: usize) -> Vec<Scope<K>> {
        let mut marks = self.marks();
        let (tags, keys) = (marks.tags.next(most), marks.keys.next(most));
        let all = marks.all.map(|_| Scope::All);
        let tags = Some(tags).filter(|tags| !tags.is_empty()).map(Scope::Tags);
        let keys = Some(keys).filter(|keys| !keys.is_empty()).map(Scope::Keys);
        [all, tags, keys].into_iter().flatten().collect()
    }

    /// Makes the caller the retrying task until `until`, and returns the number of its turn.
    ///
    /// Returns `None` if nothing is pending, or if another task's turn has not passed. The number is to be given to
    /// [`Self::stop_retrying`] when the task ends.
    pub(super) fn start_retrying(&self, now: Timestamp, until: Timestamp) -> Option<u64> {
        let mut marks = self.marks();
        // Prevents: a task whose runtime is not driven any more keeps its turn for ever, and nothing is retried
        if marks.is_empty() || marks.retrying.as_ref().is_some_and(|turn| now < turn.until) {
            return None;
        }
        marks.turns += 1;
        marks.retrying = Some(Turn { number: marks.turns, until });
        Some(marks.turns)
    }

    /// Extends the turn of the task with this number to `until`. Returns `false` if the task has to end.
    /// It ends if nothing is pending, or if another task has taken over.
    pub(super) fn keep_retrying(&self, number: u64, until: Timestamp) -> bool {
        let mut marks = self.marks();
        // the check and the end of the turn are under one lock. Prevents: a failure marked between them has no task
        let is_done = marks.is_empty();
        match &mut marks.retrying {
            Some(turn) if turn.number == number && !is_done => {
                turn.until = until;
                true
            }
            Some(turn) if turn.number == number => {
                marks.retrying = None;
                false
            }
            _ => false,
        }
    }

    /// Ends the turn of the task with this number, even if subjects are still pending.
    pub(super) fn stop_retrying(&self, number: u64) {
        let mut marks = self.marks();
        if marks.retrying.as_ref().is_some_and(|turn| turn.number == number) {
            marks.retrying = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_again_is_behind_all_others() {
        let pending = Pending::<u64>::new();
        pending.mark(&Scope::Keys((0..10).collect()));
        let mut tried = HashSet::new();
        for _ in 0..5 {
            for scope in pending.next(2) {
                let Scope::Keys(keys) = scope else { panic!("only keys are pending") };
                tried.extend(keys);
            }
        }
        assert_eq!(tried.len(), 10, "each has had its turn before any has a second");
    }

    #[test]
    fn marks_and_settlements_of_one_key_do_not_pile_up() {
        let pending = Pending::<u64>::new();
        for _ in 0..10_000 {
            pending.mark(&Scope::Keys(vec![7]));
            pending.settle(&Scope::Keys(vec![7]), pending.epoch());
        }
        assert!(pending.marks().keys.queue.len() <= 66);
        assert!(pending.next(1_000).is_empty() && !pending.any());
    }

    #[test]
    fn a_task_that_stands_still_is_replaced() {
        let pending = Pending::<u64>::new();
        let at = |seconds| Timestamp::ORIGIN.saturating_add(std::time::Duration::from_secs(seconds));
        assert_eq!(pending.start_retrying(at(0), at(10)), None, "nothing is pending");
        pending.mark(&Scope::Keys(vec![7]));
        let first = pending.start_retrying(at(0), at(10)).unwrap();
        assert_eq!(pending.start_retrying(at(9), at(19)), None);
        let second = pending.start_retrying(at(10), at(20)).unwrap();
        assert!(!pending.keep_retrying(first, at(30)) && pending.keep_retrying(second, at(30)));
        pending.stop_retrying(first);
        assert_eq!(pending.start_retrying(at(29), at(39)), None, "the first has no turn to end");
        pending.stop_retrying(second);
        assert!(pending.start_retrying(at(29), at(39)).is_some());
    }
}
