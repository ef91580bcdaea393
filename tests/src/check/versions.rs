//! The versions in the source, with their times.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The moment of an event: its number, and the time.
pub(super) type Moment = (usize, Duration);

/// One version of a row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Version {
    pub(super) number: Option<u64>,
    /// The moment at which the next version replaced it.
    pub(super) replaced: Option<Moment>,
    absent: bool,
}

/// The versions of one key, in the order of their commits. Before the first there was no row.
#[derive(Debug)]
pub(super) struct Row {
    versions: Vec<Version>,
    places: HashMap<u64, usize>,
    /// Versions that were put into the cache while another was committed, or may have been. Nothing is guaranteed
    /// of them.
    excused: HashSet<u64>,
}

impl Default for Row {
    fn default() -> Self {
        let none = Version { number: None, replaced: None, absent: true };
        Self { versions: vec![none], places: HashMap::new(), excused: HashSet::new() }
    }
}

impl Row {
    pub(super) fn commit(&mut self, version: u64, absent: bool, moment: Moment) {
        if let Some(last) = self.versions.last_mut() {
            last.replaced = Some(moment);
        }
        self.places.insert(version, self.versions.len());
        self.versions.push(Version { number: Some(version), replaced: None, absent });
    }

    pub(super) fn version(&self, number: u64) -> Option<Version> {
        self.places.get(&number).map(|&place| self.versions[place]).filter(|version| !version.absent)
    }

    /// The last version that is an absence of the row. If it may not be read, no earlier absence may.
    pub(super) fn absence(&self) -> Option<Version> {
        self.versions.iter().rfind(|version| version.absent).copied()
    }

    pub(super) fn is_current(&self, number: u64) -> bool {
        self.versions.last().is_some_and(|last| last.number == Some(number))
    }

    pub(super) fn excuse(&mut self, number: u64) {
        self.excused.insert(number);
    }

    pub(super) fn blame(&mut self, number: u64) {
        self.excused.remove(&number);
    }

    pub(super) fn is_excused(&self, version: Version) -> bool {
        version.number.is_some_and(|number| self.excused.contains(&number))
    }
}
