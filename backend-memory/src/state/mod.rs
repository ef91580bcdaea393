//! The data of the server, and its commands. Each command is one step, like a script in Redis.

mod eviction;
mod fences;
mod guards;
mod ledgers;
mod links;
mod locks;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use larder::clock::Timestamp;
use larder::key::StoreKey;

pub(crate) use fences::Grant;
use fences::Standing;
use guards::Guarded;
use ledgers::Ledger;
use links::Link;
use locks::Lock;

use crate::mutation;
use crate::push::{Push, Subscriber};
use crate::record::{Observer, Operation};

/// Milliseconds of the server's clock. The largest value means never.
pub(crate) type Millis = u64;
pub(crate) const NEVER: Millis = u64::MAX;

/// Returns the whole milliseconds of a time of the server's clock.
pub(crate) fn millis(at: Timestamp) -> Millis {
    at.as_nanos() / 1_000_000
}

/// Returns the whole milliseconds of a duration, rounded up, so that a lease of less than a millisecond is not zero.
pub(crate) fn millis_up(duration: Duration) -> Millis {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(NEVER)
}

/// A namespace and a key. They are not joined into one string, so that different pairs are never equal.
pub(crate) type Name = (String, String);

pub(crate) fn name(namespace: &str, key: &StoreKey) -> Name {
    (namespace.to_owned(), key.as_str().to_owned())
}

#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) bytes: Bytes,
    pub(crate) expires: Millis,
    touched: u64,
}

/// The data that a restart can restore.
#[derive(Debug, Clone, Default)]
pub(crate) struct Data {
    values: BTreeMap<Name, Stored>,
    fences: BTreeMap<Name, Standing>,
    guards: BTreeMap<Name, Vec<Guarded>>,
    locks: BTreeMap<String, Lock>,
    ledgers: BTreeMap<String, Ledger>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) data: Data,
    pub(crate) capacity: Option<usize>,
    links: BTreeMap<String, Link>,
    network: Link,
    subscribers: Vec<Subscriber>,
    pub(crate) record: Vec<Operation>,
    recorded: u64,
    pub(crate) observer: Option<Observer>,
    /// `true` if the pushes of the running command are lost.
    pub(crate) drop_pushes: bool,
    seed: u64,
    drawn: u64,
    ticks: u64,
}

impl State {
    pub(crate) fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Returns a number that never repeats: a counter, mixed by SplitMix64 (a bijection) with the seed.
    fn fresh(&mut self) -> u64 {
        self.drawn += 1;
        let mut mixed = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number that a client chooses.
    pub(crate) fn nonce(&mut self) -> u128 {
        u128::from(self.fresh()) << 64 | u128::from(self.drawn)
    }

    /// Returns the client's part of a fence's name.
    pub(crate) fn client_nonce(&mut self) -> u64 {
        self.fresh()
    }

    /// Returns the name of the fence that this execution creates. Prevents: a request that is executed again, late,
    /// makes a fence valid that an invalidation has revoked.
    pub(crate) fn fence_name(&mut self, client: u64) -> u128 {
        if mutation::on("a fence is named by its client") {
            return u128::from(client) << 64;
        }
        self.drawn += 1;
        u128::from(client) << 64 | u128::from(self.drawn)
    }

    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    /// Appends an operation to the record.
    pub(crate) fn note(&mut self, operation: Operation) {
        self.recorded += 1;
        let operation = Operation { sequence: self.recorded, ..operation };
        if let Some(Observer(observe)) = &self.observer {
            observe(&operation);
        }
        self.record.push(operation);
    }

    fn changed(&mut self, (namespace, key): &Name, by: Option<u64>) {
        self.push_unless(&Push::Changed { namespace: namespace.clone(), key: key.clone() }, by);
    }

    pub(crate) fn get(&mut self, name: &Name, now: Millis) -> Option<Stored> {
        let touched = self.tick();
        let stored = self.data.values.get_mut(name)?;
        if stored.expires <= now && stored.expires != NEVER {
            self.remove_value(name);
            return None;
        }
        stored.touched = touched;
        Some(stored.clone())
    }

    /// Stores a value, and notifies all subscribers except `by`, which stores it.
    pub(crate) fn set(&mut self, name: &Name, bytes: Bytes, expires: Millis, now: Millis, by: Option<u64>) {
        let touched = self.tick();
        self.data.values.insert(name.clone(), Stored { bytes, expires, touched });
        self.changed(name, by);
        self.make_room(now);
    }

    pub(crate) fn remove_value(&mut self, name: &Name) {
        if self.data.values.remove(name).is_some() {
            self.changed(name, None);
        }
    }

    pub(crate) fn remove(&mut self, name: &Name) {
        self.remove_value(name);
        if mutation::on("a tombstone stands for the nonce") {
            return self.bury(name);
        }
        if !mutation::on("a removal leaves the fence") {
            self.data.fences.remove(name);
        }
    }

    pub(crate) fn clear(&mut self, namespace: &str) {
        if !mutation::on("clear leaves the fences") {
            self.data.fences.retain(|(owner, _), _| owner != namespace);
        }
        let names: Vec<Name> =
            self.data.values.keys().filter(|(owner, _)| owner == namespace).cloned().collect();
        names.iter().for_each(|name| self.remove_value(name));
    }

    pub(crate) fn names(&self) -> Vec<Name> {
        self.data.values.keys().cloned().collect()
    }

    pub(crate) fn replace(&mut self, data: Data) {
        self.data = data;
        if !mutation::on("a flush is not pushed") {
            self.push(&Push::Flushed);
        }
    }
}
