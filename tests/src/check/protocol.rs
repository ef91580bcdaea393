//! Checks the requests that the shared store has executed, in its order, as steps of the protocol: fences, fills and removals.
//!
//! Each recorded step must be possible after those before it, with the recorded answer. The store may lose values and fences at any time.
//! What it would answer must be no older than what was acknowledged. A deviation is found also if no read has shown it.

use std::collections::{HashMap, HashSet};

use super::history::Step;
use super::versions::Row;

/// The protocol's state of all keys.
#[derive(Debug, Default)]
pub(super) struct Protocol {
    keys: HashMap<u64, Slot>,
    /// The store went back to older data, of which nothing is known.
    forgotten: bool,
}

/// The protocol's state of one key.
#[derive(Debug, Default)]
struct Slot {
    /// The valid fence, and the event that created it.
    fence: Known<(u128, usize)>,
    /// The version of the value, `None` for the absence of a row.
    value: Known<Option<u64>>,
    /// The names of all fences.
    names: HashSet<u128>,
    /// The event at which the newest acknowledged invalidation was requested.
    floor: usize,
}

/// A part of the state.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Known<T> {
    /// It is as it was before the record, or before the store went back to older data.
    Unknown,
    #[default]
    Nothing,
    Is(T),
}

impl<T: PartialEq> Known<T> {
    fn allows(&self, part: &T) -> bool {
        match self {
            Self::Unknown => true,
            Self::Nothing => false,
            Self::Is(known) => known == part,
        }
    }
}

impl Protocol {
    fn slot(&mut self, key: u64) -> &mut Slot {
        let unknown = Slot { fence: Known::Unknown, value: Known::Unknown, ..Slot::default() };
        let new = if self.forgotten { unknown } else { Slot::default() };
        self.keys.entry(key).or_insert(new)
    }

    /// Takes a step. Returns an explanation if it is not one of the protocol.
    pub(super) fn take(&mut self, number: usize, key: u64, step: &Step, row: &Row) -> Result<(), String> {
        let slot = self.slot(key);
        match *step {
            Step::Granted { fence, joined: true } => match slot.fence {
                Known::Unknown => slot.fence = Known::Is((fence, 0)),
                Known::Is((valid, _)) if valid == fence => {}
                _ => return Err(format!("a load joined fence {fence:x}, which is not valid")),
            },
            Step::Granted { fence, joined: false } => match slot.fence {
                // the request was executed twice
                Known::Is((valid, _)) if valid == fence => {}
                _ if !slot.names.insert(fence) => return Err(format!("fence {fence:x} was granted before")),
                _ => slot.fence = Known::Is((fence, number)),
            },
            Step::Found { version } => match slot.value.allows(&version) {
                true => slot.value = Known::Is(version),
                false => return Err(format!("version {version:?} was found, and is not stored")),
            },
            Step::Filled { fence, version } => {
                let created = match slot.fence {
                    Known::Unknown => 0,
                    Known::Is((valid, created)) if valid == fence => created,
                    _ => return Err(format!("a fill was accepted with fence {fence:x}, which is not valid")),
                };
                (slot.fence, slot.value) = (Known::Nothing, Known::Is(version));
                if slot.is_older(row, created) {
                    return Err(format!("version {version:?} was replaced before its fence was granted"));
                }
                return slot.is_fresh(row);
            }
            Step::Ended { fence } => {
                let ends = matches!(slot.fence, Known::Is((valid, _)) if valid == fence);
                slot.fence = if ends { Known::Nothing } else { slot.fence };
            }
            Step::Removed => (slot.fence, slot.value) = (Known::Nothing, Known::Nothing),
            Step::Put => return Err("a value was stored without a fence".to_owned()),
        }
        Ok(())
    }

    /// Records that everything was removed.
    pub(super) fn emptied(&mut self) {
        self.forgotten = false;
        self.keys.values_mut().for_each(|slot| (slot.fence, slot.value) = (Known::Nothing, Known::Nothing));
    }

    /// Records that the store went back to older data. What was acknowledged before is not promised any more.
    pub(super) fn rolled_back(&mut self) {
        (self.keys, self.forgotten) = (HashMap::new(), true);
    }

    /// Records the acknowledgement of an invalidation of `key` that was requested at event `asked`.
    pub(super) fn acknowledged(&mut self, key: u64, asked: usize, row: &Row) -> Result<(), String> {
        let slot = self.slot(key);
        slot.floor = slot.floor.max(asked);
        slot.is_fresh(row)
    }
}

impl Slot {
    /// Returns `true` if the stored version was replaced before event `moment`.
    fn is_older(&self, row: &Row, moment: usize) -> bool {
        let Known::Is(Some(version)) = self.value else { return false };
        let Some(version) = row.version(version).filter(|version| !row.is_excused(*version)) else {
            return false;
        };
        version.replaced.is_some_and(|(replaced, _)| replaced < moment)
    }

    fn is_fresh(&self, row: &Row) -> Result<(), String> {
        let stale = self.is_older(row, self.floor);
        if stale {
            Err(format!("the store holds {:?}, whose invalidation was acknowledged", self.value))
        } else {
            Ok(())
        }
    }
}
