//! Fences of loads.

use std::time::Duration;

use larder::backend::LoadIntent;

use crate::mutation;

use super::{Millis, Name, State, millis_up};

#[derive(Debug, Clone, Copy)]
pub(super) struct Standing {
    nonce: u128,
    exclusive: bool,
    pub(super) until: Millis,
    pub(super) touched: u64,
}

/// The answer to a request for a fence.
pub(crate) enum Grant {
    Created(u128),
    Joined(u128),
    Busy(Duration),
}

impl State {
    fn standing(&self, name: &Name, now: Millis) -> Option<Standing> {
        self.data.fences.get(name).copied().filter(|standing| standing.until > now)
    }

    /// Grants a fence. `nonce` names a new one, with the client's part in its upper half.
    pub(crate) fn grant(&mut self, name: &Name, announce: LoadIntent, nonce: u128, now: Millis) -> Grant {
        let until = now.saturating_add(millis_up(announce.lease()));
        let touched = self.tick();
        if let Some(standing) = self.standing(name, now) {
            if standing.nonce >> 64 == nonce >> 64 {
                // the same request, executed twice: an exclusive one must not wait for itself
                let until = standing.until.max(until);
                self.data.fences.insert(name.clone(), Standing { until, touched, ..standing });
                return Grant::Created(standing.nonce);
            }
            if announce.is_exclusive() || standing.exclusive {
                return Grant::Busy(Duration::from_millis(standing.until - now));
            }
            let until = standing.until.max(until);
            self.data.fences.insert(name.clone(), Standing { until, touched, ..standing });
            return Grant::Joined(standing.nonce);
        }
        if mutation::on("a tombstone stands for the nonce") {
            return Grant::Created(nonce);
        }
        let exclusive = announce.is_exclusive();
        self.data.fences.insert(name.clone(), Standing { nonce, exclusive, until, touched });
        self.make_room(now);
        Grant::Created(nonce)
    }

    /// Returns `true` if this fence is valid.
    pub(crate) fn holds(&self, name: &Name, nonce: u128, now: Millis) -> bool {
        if mutation::on("a fill needs no fence") {
            return true;
        }
        if mutation::on("a tombstone stands for the nonce") {
            return !self.data.fences.contains_key(name);
        }
        self.standing(name, now).is_some_and(|standing| standing.nonce == nonce)
    }

    pub(crate) fn renew(&mut self, name: &Name, nonce: u128, lease: Duration, now: Millis) -> bool {
        let held = self.holds(name, nonce, now);
        if let Some(standing) = self.data.fences.get_mut(name).filter(|_| held) {
            standing.until = standing.until.max(now.saturating_add(millis_up(lease)));
        }
        held
    }

    pub(crate) fn release(&mut self, name: &Name, nonce: u128, now: Millis) -> bool {
        let held = self.holds(name, nonce, now);
        if held {
            self.data.fences.remove(name);
        }
        held
    }

    /// Leaves a tombstone, which refuses every fill while it exists.
    pub(crate) fn bury(&mut self, name: &Name) {
        let touched = self.tick();
        self.data.fences.insert(name.clone(), Standing { nonce: 0, exclusive: false, until: 0, touched });
    }

    pub(crate) fn end_fence(&mut self, name: &Name) {
        self.data.fences.remove(name);
    }

    pub(crate) fn fences(&self, now: Millis) -> usize {
        self.data.fences.values().filter(|standing| standing.until > now).count()
    }
}
