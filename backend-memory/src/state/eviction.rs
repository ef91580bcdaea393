//! Eviction, for capacity or on request.

use super::{Millis, State};

impl State {
    fn held(&self) -> usize {
        self.data.values.len() + self.data.fences.len()
    }

    /// Evicts the least recently used values and fences, as `allkeys-lru` does.
    pub(super) fn make_room(&mut self, now: Millis) {
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

    /// Evicts up to `count` values and fences, chosen by the seed. Returns the number of evicted ones.
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
}
