//! Write guards that have not ended.

use larder::backend::WriteIntent;

use crate::mutation;

use super::{Millis, Name, State, millis_up};

#[derive(Debug, Clone, Copy)]
pub(super) struct Guarded {
    nonce: u128,
    until: Millis,
}

impl State {
    /// Returns `true` if a write guard of this key is in force.
    pub(crate) fn is_guarded(&self, name: &Name, now: Millis) -> bool {
        if mutation::on("a guard stops no announcement") {
            return false;
        }
        self.data.guards.get(name).is_some_and(|guards| guards.iter().any(|guard| guard.until > now))
    }

    pub(crate) fn guard(&mut self, name: &Name, guard: WriteIntent, now: Millis) {
        self.remove(name);
        let guards = self.data.guards.entry(name.clone()).or_default();
        guards.retain(|standing| standing.until > now && !mutation::on("a guard has one slot"));
        let until = now.saturating_add(millis_up(guard.life()));
        guards.push(Guarded { nonce: guard.nonce(), until });
    }

    pub(crate) fn unguard(&mut self, name: &Name, guard: WriteIntent) {
        self.remove(name);
        if let Some(guards) = self.data.guards.get_mut(name) {
            guards.retain(|standing| standing.nonce != guard.nonce());
            if guards.is_empty() {
                self.data.guards.remove(name);
            }
        }
    }
}
