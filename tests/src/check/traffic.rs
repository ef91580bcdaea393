//! The running loads, and the holders of locks.

use std::collections::HashMap;
use std::time::Duration;

use super::rules::Loads;

/// The running loads.
#[derive(Debug, Default)]
pub(super) struct Running {
    /// The key, the process and the start of each load.
    loads: HashMap<u64, (u64, u32, Duration)>,
    /// The time of the last event after which a key may be loaded although a load of it runs.
    disturbed: HashMap<u64, Duration>,
    all_disturbed: Option<Duration>,
}

impl Running {
    /// Records that a key, or every key, was invalidated, written or refreshed.
    pub(super) fn disturb(&mut self, key: Option<u64>, at: Duration) {
        match key {
            Some(key) => _ = self.disturbed.insert(key, at),
            None => self.all_disturbed = Some(at),
        }
    }

    /// Records a load. Returns the process of an earlier load of the key that still runs and should be the only one.
    pub(super) fn begin(
        &mut self,
        load: u64,
        key: u64,
        process: u32,
        now: Duration,
        rule: Loads,
    ) -> Option<u32> {
        let (one_per_process, calm_for) = match rule {
            Loads::Any => return None,
            Loads::OnePerProcess { calm_for } => (true, calm_for),
            Loads::OnePerCluster { calm_for } => (false, calm_for),
        };
        let last = self.disturbed.get(&key).copied().max(self.all_disturbed);
        let others = self.loads.values().filter(|(loaded, by, began)| {
            let is_calm = last.is_none_or(|last| last.saturating_add(calm_for) < *began);
            *loaded == key && is_calm && (!one_per_process || *by == process)
        });
        let other = others.map(|(_, by, _)| *by).min();
        self.loads.insert(load, (key, process, now));
        other
    }

    pub(super) fn end(&mut self, load: u64) {
        self.loads.remove(&load);
    }
}

/// The locks.
#[derive(Debug, Default)]
pub(super) struct Holders(HashMap<u64, (u128, u32, Duration)>);

impl Holders {
    /// Records that a lock was taken or renewed. Returns the process that still holds it, if it is another holder.
    pub(super) fn hold(
        &mut self,
        lock: u64,
        token: u128,
        process: u32,
        now: Duration,
        lease: Duration,
    ) -> Option<u32> {
        let before = self.0.insert(lock, (token, process, now.saturating_add(lease)));
        // the server counts in milliseconds
        let stands = |until: Duration| until > now + Duration::from_millis(1);
        before.filter(|(held, _, until)| *held != token && stands(*until)).map(|(_, by, _)| by)
    }

    pub(super) fn free(&mut self, lock: u64, token: u128) {
        if self.0.get(&lock).is_some_and(|(held, _, _)| *held == token) {
            self.0.remove(&lock);
        }
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}
