//! What the server holds, and its commands: each is one step, as a script in Redis is.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use larder::{Acquired, Announce, LedgerView, LockToken, Stamp, StoreKey, Tag};
use tokio::sync::mpsc;

use crate::push::{Push, Subscriber};
use crate::record::Operation;

/// Milliseconds of the server's clock; the largest means never.
pub(crate) type Millis = u64;
pub(crate) const NEVER: Millis = u64::MAX;

/// The whole milliseconds of a duration, rounded up, so that a lease of less than one stands at all.
pub(crate) fn millis_up(duration: Duration) -> Millis {
    u64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(NEVER)
}

/// Namespace and key: never glued together, so that look-alikes stay apart.
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

#[derive(Debug, Clone, Copy)]
struct Standing {
    nonce: u128,
    exclusive: bool,
    until: Millis,
    touched: u64,
}

#[derive(Debug, Clone, Copy)]
struct Lock {
    token: u128,
    until: Millis,
}

#[derive(Debug, Clone, Default)]
struct Ledger {
    id: u64,
    count: u64,
    floor: u64,
    tags: BTreeMap<Tag, u64>,
}

/// What a restart can bring back.
#[derive(Debug, Clone, Default)]
pub(crate) struct Data {
    values: BTreeMap<Name, Stored>,
    fences: BTreeMap<Name, Standing>,
    locks: BTreeMap<String, Lock>,
    ledgers: BTreeMap<String, Ledger>,
}

#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) data: Data,
    pub(crate) capacity: Option<usize>,
    pub(crate) disconnected: Vec<String>,
    pub(crate) subscribers: Vec<Subscriber>,
    pub(crate) record: Vec<Operation>,
    /// Whether the running command's pushes are lost.
    pub(crate) drop_pushes: bool,
    seed: u64,
    drawn: u64,
    ticks: u64,
}

/// The answer to the announcement of a load.
pub(crate) enum Grant {
    Created(u128),
    Joined(u128),
    Busy(Duration),
}

impl State {
    pub(crate) fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// A number that never repeats: a counter, spread by SplitMix64 (a bijection) from the seed.
    fn fresh(&mut self) -> u64 {
        self.drawn += 1;
        let mut mixed = self.seed.wrapping_add(self.drawn.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    pub(crate) fn push(&mut self, push: &Push) {
        if self.drop_pushes {
            return;
        }
        let disconnected = &self.disconnected;
        self.subscribers.retain(|subscriber| {
            disconnected.contains(&subscriber.process) || subscriber.sender.send(push.clone()).is_ok()
        });
    }

    pub(crate) fn subscribe(&mut self, process: &str) -> mpsc::UnboundedReceiver<Push> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.subscribers.push(Subscriber { process: process.to_owned(), sender });
        receiver
    }

    fn changed(&mut self, (namespace, key): &Name) {
        self.push(&Push::Changed { namespace: namespace.clone(), key: key.clone() });
    }

    // ---- values

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

    pub(crate) fn set(&mut self, name: &Name, bytes: Bytes, expires: Millis, now: Millis) {
        let touched = self.tick();
        self.data.values.insert(name.clone(), Stored { bytes, expires, touched });
        self.changed(name);
        self.make_room(now);
    }

    pub(crate) fn remove_value(&mut self, name: &Name) {
        if self.data.values.remove(name).is_some() {
            self.changed(name);
        }
    }

    pub(crate) fn remove(&mut self, name: &Name) {
        self.remove_value(name);
        self.data.fences.remove(name);
    }

    pub(crate) fn clear(&mut self, namespace: &str) {
        self.data.fences.retain(|(owner, _), _| owner != namespace);
        let names: Vec<Name> =
            self.data.values.keys().filter(|(owner, _)| owner == namespace).cloned().collect();
        names.iter().for_each(|name| self.remove_value(name));
    }

    // ---- fences

    fn standing(&self, name: &Name, now: Millis) -> Option<Standing> {
        self.data.fences.get(name).copied().filter(|standing| standing.until > now)
    }

    pub(crate) fn grant(&mut self, name: &Name, announce: Announce, now: Millis) -> Grant {
        let until = now.saturating_add(millis_up(announce.lease()));
        let touched = self.tick();
        if let Some(standing) = self.standing(name, now) {
            if announce.is_exclusive() || standing.exclusive {
                return Grant::Busy(Duration::from_millis(standing.until - now));
            }
            let until = standing.until.max(until);
            self.data.fences.insert(name.clone(), Standing { until, touched, ..standing });
            return Grant::Joined(standing.nonce);
        }
        let nonce = u128::from(self.fresh()) << 64 | u128::from(self.drawn);
        let exclusive = announce.is_exclusive();
        self.data.fences.insert(name.clone(), Standing { nonce, exclusive, until, touched });
        self.make_room(now);
        Grant::Created(nonce)
    }

    /// Whether this fence stands.
    pub(crate) fn holds(&self, name: &Name, nonce: u128, now: Millis) -> bool {
        self.standing(name, now).is_some_and(|standing| standing.nonce == nonce)
    }

    pub(crate) fn renew(&mut self, name: &Name, nonce: u128, lease: Duration, now: Millis) -> bool {
        let held = self.holds(name, nonce, now);
        if let Some(standing) = self.data.fences.get_mut(name).filter(|_| held) {
            standing.until = standing.until.max(now.saturating_add(millis_up(lease)));
        }
        held
    }

    pub(crate) fn release(&mut self, name: &Name, nonce: u128, now: Millis) {
        if self.holds(name, nonce, now) {
            self.data.fences.remove(name);
        }
    }

    pub(crate) fn end_fence(&mut self, name: &Name) {
        self.data.fences.remove(name);
    }

    pub(crate) fn fences(&self, now: Millis) -> usize {
        self.data.fences.values().filter(|standing| standing.until > now).count()
    }

    // ---- memory

    fn held(&self) -> usize {
        self.data.values.len() + self.data.fences.len()
    }

    /// Evicts the least recently touched values and fences alike, as `allkeys-lru` does.
    fn make_room(&mut self, now: Millis) {
        let Some(capacity) = self.capacity else { return };
        if self.held() <= capacity {
            return;
        }
        self.data.fences.retain(|_, standing| standing.until > now);
        while self.held() > capacity {
            let value = self.data.values.iter().min_by_key(|(_, stored)| stored.touched);
            let fence = self.data.fences.iter().min_by_key(|(_, standing)| standing.touched);
            match (value, fence) {
                (Some((name, stored)), fence) if fence.is_none_or(|(_, f)| stored.touched < f.touched) => {
                    let name = name.clone();
                    self.remove_value(&name);
                }
                (_, Some((name, _))) => {
                    let name = name.clone();
                    self.data.fences.remove(&name);
                }
                _ => return,
            }
        }
    }

    /// Evicts `count` values and fences drawn from the seed.
    pub(crate) fn evict_some(&mut self, count: usize) -> usize {
        let mut evicted = 0;
        while evicted < count && self.held() > 0 {
            let drawn = (self.fresh() % self.held() as u64) as usize;
            let values = self.data.values.len();
            if drawn < values {
                let name = self.data.values.keys().nth(drawn).cloned();
                name.iter().for_each(|name| self.remove_value(name));
            } else {
                let name = self.data.fences.keys().nth(drawn - values).cloned();
                name.iter().for_each(|name| self.end_fence(name));
            }
            evicted += 1;
        }
        evicted
    }

    pub(crate) fn names(&self) -> Vec<Name> {
        self.data.values.keys().cloned().collect()
    }

    pub(crate) fn replace(&mut self, data: Data) {
        self.data = data;
        self.push(&Push::Flushed);
    }

    // ---- locks

    pub(crate) fn lock(&mut self, lock: &str, lease: Duration, now: Millis) -> Acquired {
        if let Some(held) = self.data.locks.get(lock).filter(|held| held.until > now) {
            return Acquired::Busy(Duration::from_millis(held.until - now));
        }
        let token = u128::from(self.fresh()) << 64 | u128::from(self.drawn);
        let until = now.saturating_add(millis_up(lease));
        self.data.locks.insert(lock.to_owned(), Lock { token, until });
        Acquired::Held(LockToken::new(token))
    }

    fn holds_lock(&self, lock: &str, token: LockToken, now: Millis) -> bool {
        self.data.locks.get(lock).is_some_and(|held| held.token == token.get() && held.until > now)
    }

    pub(crate) fn renew_lock(&mut self, lock: &str, token: LockToken, lease: Duration, now: Millis) -> bool {
        let held = self.holds_lock(lock, token, now);
        if held {
            let until = now.saturating_add(millis_up(lease));
            self.data.locks.insert(lock.to_owned(), Lock { token: token.get(), until });
        }
        held
    }

    pub(crate) fn unlock(&mut self, lock: &str, token: LockToken, now: Millis) -> bool {
        let held = self.holds_lock(lock, token, now);
        if held {
            self.data.locks.remove(lock);
        }
        held
    }

    /// How long the lock is still held; `None` when it is free.
    pub(crate) fn locked_for(&self, lock: &str, now: Millis) -> Option<Duration> {
        let held = self.data.locks.get(lock).filter(|held| held.until > now)?;
        Some(Duration::from_millis(held.until - now))
    }

    // ---- ledgers

    fn ledger(&mut self, namespace: &str) -> &mut Ledger {
        if !self.data.ledgers.contains_key(namespace) {
            let id = self.fresh();
            self.data.ledgers.insert(namespace.to_owned(), Ledger { id, ..Ledger::default() });
        }
        self.data.ledgers.entry(namespace.to_owned()).or_default()
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

    pub(crate) fn view(&mut self, namespace: &str, tags: &[Tag]) -> LedgerView {
        let ledger = self.ledger(namespace);
        let counts = tags.iter().map(|tag| ledger.tags.get(tag).copied().unwrap_or(ledger.floor)).collect();
        LedgerView::new(ledger.id, counts)
    }

    pub(crate) fn prune(&mut self, namespace: &str, count: u64) -> usize {
        let ledger = self.ledger(namespace);
        // a floor above the count would end entries that are yet to come
        let count = count.min(ledger.count);
        let before = ledger.tags.len();
        ledger.floor = ledger.floor.max(count);
        ledger.tags.retain(|_, invalidated| *invalidated > count);
        let pruned = before - ledger.tags.len();
        self.push(&Push::LedgerChanged { namespace: namespace.to_owned() });
        pruned
    }
}
