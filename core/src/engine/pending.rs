//! Invalidations that the backend has not acknowledged.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::PoisonError;

use super::Key;
use crate::entry::Entry;
use crate::mutation;
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard};
use crate::tag::Tag;

/// What an invalidation covers.
#[derive(Debug, Clone)]
pub(super) enum Scope<K> {
    Keys(Vec<K>),
    Tags(Vec<Tag>),
    All,
}

impl<K> Scope<K> {
    pub(super) fn count(&self) -> u64 {
        match self {
            Self::Keys(keys) => keys.len() as u64,
            Self::Tags(tags) => tags.len() as u64,
            Self::All => 1,
        }
    }
}

/// The order of an invalidation among the others: one that succeeds settles those that failed before it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Epoch(u64);

/// The tags that were in doubt when the backend was asked: what it answers may be older than their acknowledgement, even if
/// that comes first.
#[derive(Debug, Default)]
pub(super) struct Doubts(Vec<Tag>);

impl Doubts {
    /// Whether an entry carries one of them.
    pub(super) fn end<V>(&self, entry: &Entry<V>) -> bool {
        !self.0.is_empty() && entry.tags().iter().any(|tag| self.0.contains(tag))
    }
}

/// Keys that are not served from the cache, because their invalidation may not have reached it.
#[derive(Debug)]
pub(super) struct Pending<K> {
    any: AtomicBool,
    next: AtomicU64,
    marks: Mutex<Marks<K>>,
}

#[derive(Debug)]
struct Marks<K> {
    keys: HashMap<K, Epoch>,
    tags: HashMap<Tag, Epoch>,
    all: Option<Epoch>,
    /// Whether a task is trying them again.
    retried: bool,
}

impl<K> Marks<K> {
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && self.tags.is_empty() && self.all.is_none()
    }
}

impl<K: Key> Pending<K> {
    pub(super) fn new() -> Self {
        let marks = Marks { keys: HashMap::new(), tags: HashMap::new(), all: None, retried: false };
        Self { any: AtomicBool::new(false), next: AtomicU64::new(1), marks: Mutex::new(marks) }
    }

    fn marks(&self) -> MutexGuard<'_, Marks<K>> {
        self.marks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is any at all: the one look that the hit path takes.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Acquire)
    }

    pub(super) fn holds(&self, key: &K) -> bool {
        self.any() && {
            let marks = self.marks();
            marks.all.is_some() || marks.keys.contains_key(key)
        }
    }

    /// Whether an entry carries a tag whose invalidation may not have reached the backend.
    pub(super) fn ends<V>(&self, entry: &Entry<V>) -> bool {
        self.any() && !entry.tags().is_empty() && {
            let marks = self.marks();
            entry.tags().iter().any(|tag| marks.tags.contains_key(tag))
        }
    }

    /// The tags in doubt: to be taken before the backend is asked.
    pub(super) fn doubts(&self) -> Doubts {
        match self.any() {
            true => Doubts(self.marks().tags.keys().cloned().collect()),
            false => Doubts::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        let marks = self.marks();
        marks.keys.len() + marks.tags.len() + usize::from(marks.all.is_some())
    }

    /// To be taken before an invalidation is sent.
    pub(super) fn epoch(&self) -> Epoch {
        Epoch(self.next.fetch_add(1, Ordering::SeqCst))
    }

    /// Notes an invalidation that was not acknowledged.
    pub(super) fn mark(&self, scope: &Scope<K>) {
        if mutation::on("a failed invalidation is forgotten") {
            return;
        }
        let mut marks = self.marks();
        let epoch = self.epoch();
        match scope {
            Scope::All => marks.all = Some(epoch),
            Scope::Keys(keys) => marks.keys.extend(keys.iter().map(|key| (key.clone(), epoch))),
            Scope::Tags(tags) => marks.tags.extend(tags.iter().map(|tag| (tag.clone(), epoch))),
        }
        self.any.store(true, Ordering::Release);
    }

    /// Settles what was marked before `began`, the epoch of an invalidation that has been acknowledged.
    pub(super) fn settle(&self, scope: &Scope<K>, began: Epoch) {
        if !self.any() {
            return;
        }
        let late = mutation::on("a success settles what failed after it began");
        let began = if late { Epoch(u64::MAX) } else { began };
        let mut marks = self.marks();
        match scope {
            Scope::All => {
                marks.keys.retain(|_, marked| *marked > began);
                marks.tags.retain(|_, marked| *marked > began);
                marks.all = marks.all.filter(|marked| *marked > began);
            }
            Scope::Keys(keys) => settle(&mut marks.keys, keys, began),
            Scope::Tags(tags) => settle(&mut marks.tags, tags, began),
        }
        self.any.store(!marks.is_empty(), Ordering::Release);
    }

    /// What is to be tried next: everything, or up to `most` keys; `None` when nothing is left.
    pub(super) fn next(&self, most: usize) -> Option<Scope<K>> {
        let marks = self.marks();
        match marks.all {
            Some(_) => Some(Scope::All),
            None if !marks.tags.is_empty() => {
                Some(Scope::Tags(marks.tags.keys().take(most).cloned().collect()))
            }
            None if marks.keys.is_empty() => None,
            None => Some(Scope::Keys(marks.keys.keys().take(most).cloned().collect())),
        }
    }

    /// Whether the caller is to start the task that tries them again; it must call [`Self::rest`] when it ends.
    pub(super) fn start_retrying(&self) -> bool {
        !std::mem::replace(&mut self.marks().retried, true)
    }

    /// The retrying task ends, unless there is something left to do.
    pub(super) fn rest(&self) -> bool {
        let mut marks = self.marks();
        let done = marks.is_empty();
        marks.retried = !done;
        done
    }

    /// The retrying task ends whatever is left.
    pub(super) fn stop_retrying(&self) {
        self.marks().retried = false;
    }
}

fn settle<T: Hash + Eq>(marks: &mut HashMap<T, Epoch>, settled: &[T], began: Epoch) {
    for subject in settled {
        if marks.get(subject).is_some_and(|marked| *marked < began) {
            marks.remove(subject);
        }
    }
}
