//! The history of keys, from which the reason of a miss is derived; and the last misses.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use larder::cache::{Key, Origin};
use larder::clock::Timestamp;
use larder::observe::MissCause;
use larder::{CachedEntry, Tag};

use crate::why::{Miss, Outcome, Why};

/// The number of tags whose last invalidation is remembered.
const TAGS: usize = 1_000;

/// The last event of a key.
#[derive(Debug, Clone)]
enum Last {
    Kept { until: Timestamp, tags: Arc<[Tag]> },
    NotKept,
    Failed,
    Invalidated,
}

#[derive(Debug, Clone)]
struct Note {
    last: Last,
    at: Moment,
}

/// The history of a key when a read of it began. The reason of a miss comes from it, since a follower finds the
/// leader's notes at the end of its read.
#[derive(Debug)]
pub(crate) struct Before {
    note: Option<Note>,
    began: Moment,
}

/// A moment, with a number that orders moments of the same time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) order: u64,
    pub(crate) at: Timestamp,
}

impl Moment {
    fn until(self, now: Timestamp) -> Duration {
        self.at.until(now)
    }
}

/// A map that forgets entries that were not touched lately. It has two halves: the older one is dropped when the
/// younger is full.
#[derive(Debug)]
struct Memory<K, T> {
    young: HashMap<K, T>,
    old: HashMap<K, T>,
    half: usize,
}

impl<K: Key, T: Clone> Memory<K, T> {
    fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), half: (capacity / 2).max(1) }
    }

    fn get(&self, key: &K) -> Option<&T> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    fn put(&mut self, key: K, value: T) {
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, value);
    }
}

/// A miss, with the moment of its answer.
type Recorded<K> = (Miss<K>, Timestamp);

#[derive(Debug)]
pub(crate) struct Diary<K> {
    notes: Memory<K, Note>,
    tags: Memory<Tag, Moment>,
    cleared: Option<Moment>,
    misses: VecDeque<Recorded<K>>,
    most: usize,
    missed: u64,
    whys: HashMap<&'static str, u64>,
}

impl<K: Key> Diary<K> {
    /// Returns a diary for a number of keys, and a number of last misses.
    pub(crate) fn new(keys: usize, misses: usize) -> Self {
        Self {
            notes: Memory::new(keys),
            tags: Memory::new(TAGS),
            cleared: None,
            misses: VecDeque::new(),
            most: misses.max(1),
            missed: 0,
            whys: HashMap::new(),
        }
    }

    /// Begins a read of `key`.
    pub(crate) fn begin(&self, key: &K, began: Moment) -> Before {
        Before { note: self.notes.get(key).cloned(), began }
    }

    /// Records the end of a read of `key` that was no near hit.
    pub(crate) fn read<V>(
        &mut self,
        key: &K,
        found: &Result<CachedEntry<V>, larder::Error>,
        before: &Before,
        now: Timestamp,
    ) {
        let missed = match found {
            Ok(found) => found.missed,
            Err(_) => Some(MissCause::Absent),
        };
        if let Some(cause) = missed {
            let why = self.why(key, before.note.as_ref(), cause, now);
            *self.whys.entry(why.as_str()).or_default() += 1;
            self.missed += 1;
            let miss = Miss {
                number: self.missed,
                key: key.clone(),
                why,
                outcome: outcome(found),
                tags: found.as_ref().map(|found| found.tags().to_vec()).unwrap_or_default(),
                took: before.began.until(now),
                ago: Duration::ZERO,
            };
            if self.misses.len() == self.most {
                self.misses.pop_front();
            }
            self.misses.push_back((miss, now));
        }
        let last = match found {
            Ok(found) if found.kept => {
                Last::Kept { until: now.saturating_add(found.expires_in()), tags: found.tags().into() }
            }
            Ok(_) => Last::NotKept,
            Err(_) => Last::Failed,
        };
        self.note(key, last, before.began);
    }

    /// Records an event at `at`, unless a later one is known.
    fn note(&mut self, key: &K, last: Last, at: Moment) {
        if self.notes.get(key).is_none_or(|known| known.at.order <= at.order) {
            self.notes.put(key.clone(), Note { last, at });
        }
    }

    /// Returns the reason of a miss, from the history of its key when the read began.
    fn why(&self, key: &K, before: Option<&Note>, cause: MissCause, now: Timestamp) -> Why {
        match (cause, before) {
            (MissCause::Unacknowledged, _) => Why::Unacknowledged,
            (MissCause::Unreachable, _) => Why::StoreFailed,
            (_, Some(Note { last: Last::Invalidated, at })) => Why::Invalidated(at.until(now)),
            (_, Some(Note { last: Last::Kept { until, tags }, at })) => match self.ended(tags, *at, now) {
                Some(why) => why,
                None if cause == MissCause::Expired || *until <= now => Why::Expired(until.until(now)),
                None => self.gone(key, now),
            },
            (MissCause::Expired, _) => Why::Expired(Duration::ZERO),
            (_, Some(Note { last: Last::NotKept, .. })) => Why::NotKept,
            (_, Some(Note { last: Last::Failed, .. })) => Why::LoadFailed,
            (_, None) => Why::FirstRead,
        }
    }

    /// Returns the invalidation of a tag or of the whole cache after `at`, if there was one.
    fn ended(&self, tags: &[Tag], at: Moment, now: Timestamp) -> Option<Why> {
        if let Some(cleared) = self.cleared.filter(|cleared| cleared.order > at.order) {
            return Some(Why::Cleared(cleared.until(now)));
        }
        tags.iter().find_map(|tag| {
            let ended = self.tags.get(tag).filter(|ended| ended.order > at.order)?;
            Some(Why::TagEnded(tag.clone(), ended.until(now)))
        })
    }

    /// Returns the reason if the entry was stored when the read began, as far as is known. It was invalidated
    /// during the read, or is gone for an unknown reason.
    fn gone(&self, key: &K, now: Timestamp) -> Why {
        match self.notes.get(key) {
            Some(Note { last: Last::Invalidated, at }) => Why::Invalidated(at.until(now)),
            _ => Why::Gone,
        }
    }

    pub(crate) fn invalidated(&mut self, keys: &[K], now: Moment) {
        for key in keys {
            self.note(key, Last::Invalidated, now);
        }
    }

    pub(crate) fn tags_ended(&mut self, tags: &[Tag], now: Moment) {
        for tag in tags {
            self.tags.put(tag.clone(), now);
        }
    }

    pub(crate) fn cleared(&mut self, now: Moment) {
        self.cleared = Some(now);
    }

    /// Returns the last misses after the one with this number, the oldest first.
    pub(crate) fn misses_after(&self, number: u64, now: Timestamp) -> Vec<Miss<K>> {
        let after = self.misses.iter().filter(|(miss, _)| miss.number > number);
        after.map(|(miss, at)| Miss { ago: at.until(now), ..miss.clone() }).collect()
    }

    /// Returns the number of misses for each reason, the largest first.
    pub(crate) fn whys(&self) -> Vec<(&'static str, u64)> {
        let mut whys: Vec<_> = self.whys.iter().map(|(why, count)| (*why, *count)).collect();
        whys.sort_by_key(|(why, count)| (std::cmp::Reverse(*count), *why));
        whys
    }
}

fn outcome<V>(found: &Result<CachedEntry<V>, larder::Error>) -> Outcome {
    match found {
        Err(error) => Outcome::Failed(with_causes(error)),
        Ok(found) if found.value.is_none() => Outcome::None,
        Ok(found) => match found.origin {
            Origin::Joined => Outcome::Joined,
            Origin::Near | Origin::Far => Outcome::FoundFar,
            Origin::Stale => Outcome::Stale,
            _ => Outcome::Loaded,
        },
    }
}

/// Formats an error with its causes.
fn with_causes(error: &larder::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(because) = cause {
        text += &format!(": {because}");
        cause = because.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_of_keys_is_bounded_and_keeps_what_is_touched() {
        let mut memory = Memory::new(100);
        for key in 0..10_000u64 {
            memory.put(key, key);
            memory.put(7, 7);
        }
        assert!(memory.young.len() + memory.old.len() <= 100);
        assert!(memory.get(&7).is_some() && memory.get(&9_999).is_some() && memory.get(&0).is_none());
    }
}
