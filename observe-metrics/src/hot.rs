//! The keys that are read most, in bounded memory.

use std::collections::HashMap;

use larder::cache::Key;
use larder::clock::Timestamp;

/// The half-life of a read in seconds: after this time it counts half.
const HALF_LIFE: f64 = 60.0;
/// The interval in seconds at which counts fade.
const STEP: f64 = 1.0;

/// The keys that are read most, by the space-saving algorithm (Metwally, Agrawal, El Abbadi: Efficient Computation
/// of Frequent and Top-k Elements in Data Streams, 2005) over counts that fade.
///
/// It contains any key that has more than one in `capacity` of all reads. A new key replaces the one with the
/// lowest count and inherits its count, which is the error.
#[derive(Debug)]
pub(crate) struct HotKeys<K> {
    capacity: usize,
    slots: Vec<Slot<K>>,
    places: HashMap<K, usize>,
    born: Timestamp,
    faded: Timestamp,
}

#[derive(Debug)]
struct Slot<K> {
    key: K,
    count: f64,
    error: f64,
    hits: f64,
    misses: f64,
}

/// A hot key: one that is read often.
///
/// # Examples
/// See [`Watched::hot_keys`](crate::Watched::hot_keys).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HotKey<K> {
    /// The key.
    pub key: K,
    /// Reads per second, over about the last minute. An estimate, and never far below the true rate.
    pub per_second: f64,
    /// The part of `per_second` that may belong to other keys.
    pub error: f64,
    /// The share of its reads that were hits, from 0 to 1.
    pub hit_rate: f64,
}

impl<K: Key> HotKeys<K> {
    pub(crate) fn new(capacity: usize, now: Timestamp) -> Self {
        Self { capacity: capacity.max(1), slots: vec![], places: HashMap::new(), born: now, faded: now }
    }

    /// Counts reads of a key.
    pub(crate) fn note(&mut self, key: &K, hits: f64, misses: f64, now: Timestamp) {
        self.fade(now);
        let place = match self.places.get(key) {
            Some(&place) => place,
            None => self.place(key),
        };
        let slot = &mut self.slots[place];
        slot.count += hits + misses;
        slot.hits += hits;
        slot.misses += misses;
    }

    /// Returns a place for a new key.
    fn place(&mut self, key: &K) -> usize {
        let fresh = |key: &K, error| Slot { key: key.clone(), count: error, error, hits: 0.0, misses: 0.0 };
        let place = if self.slots.len() < self.capacity {
            self.slots.push(fresh(key, 0.0));
            self.slots.len() - 1
        } else {
            let least = self.slots.iter().enumerate().min_by(|(_, a), (_, b)| a.count.total_cmp(&b.count));
            let place = least.map_or(0, |(place, _)| place);
            let inherited = self.slots[place].count;
            let left = std::mem::replace(&mut self.slots[place], fresh(key, inherited));
            self.places.remove(&left.key);
            place
        };
        self.places.insert(key.clone(), place);
        place
    }

    fn fade(&mut self, now: Timestamp) {
        let passed = self.faded.until(now).as_secs_f64();
        if passed < STEP {
            return;
        }
        self.faded = now;
        let factor = 0.5f64.powf(passed / HALF_LIFE);
        for slot in &mut self.slots {
            for figure in [&mut slot.count, &mut slot.error, &mut slot.hits, &mut slot.misses] {
                *figure *= factor;
            }
        }
    }

    /// Returns the keys that are read most, the hottest first.
    pub(crate) fn top(&mut self, count: usize, now: Timestamp) -> Vec<HotKey<K>> {
        self.fade(now);
        // the faded count of one read per second after the watched time
        let watched = self.born.until(now).as_secs_f64().max(STEP);
        let steady = HALF_LIFE / std::f64::consts::LN_2 * (1.0 - 0.5f64.powf(watched / HALF_LIFE));
        let mut top: Vec<HotKey<K>> = (self.slots.iter())
            .map(|slot| HotKey {
                key: slot.key.clone(),
                per_second: slot.count / steady,
                error: slot.error / steady,
                hit_rate: slot.hits / (slot.hits + slot.misses).max(f64::MIN_POSITIVE),
            })
            .collect();
        top.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
        top.truncate(count);
        top
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_nanos(0).saturating_add(Duration::from_secs(seconds))
    }

    #[test]
    fn a_skewed_stream_of_many_keys_leaves_its_hottest() {
        let mut hot = HotKeys::new(50, at(0));
        let mut random = fastrand::Rng::with_seed(7);
        for _ in 0..100_000 {
            // a tenth of the reads for each of three keys, the rest for 100,000 others
            let key = match random.u32(..10) {
                choice @ 0..3 => u64::from(choice),
                _ => random.u64(1_000..101_000),
            };
            hot.note(&key, 1.0, 0.0, at(1));
        }
        let top = hot.top(3, at(1));
        let mut keys: Vec<u64> = top.iter().map(|hot| hot.key).collect();
        keys.sort_unstable();
        assert_eq!(keys, [0, 1, 2], "{top:?}");
        for hot in top {
            let least = hot.per_second - hot.error;
            assert!(least <= 11_000.0 && hot.per_second >= 9_000.0, "{hot:?}");
        }
        assert!(hot.slots.len() <= 50 && hot.places.len() <= 50);
    }

    #[test]
    fn rates_are_of_the_last_while_and_fade() {
        let mut hot = HotKeys::new(10, at(0));
        for second in 1..=120 {
            hot.note(&1, 8.0, 2.0, at(second));
        }
        let before = &hot.top(1, at(120))[0];
        assert!((before.per_second - 10.0).abs() < 0.5 && (before.hit_rate - 0.8).abs() < 1e-9, "{before:?}");
        let after = &hot.top(1, at(180))[0];
        assert!(after.per_second < before.per_second * 0.6, "{after:?}");
    }

    #[test]
    fn who_takes_a_place_says_how_wrong_its_count_may_be() {
        let mut hot = HotKeys::new(2, at(0));
        for (key, hits) in [(1, 5.0), (2, 3.0), (3, 1.0)] {
            hot.note(&key, hits, 0.0, at(0));
        }
        let top = hot.top(2, at(1));
        assert_eq!(top.iter().map(|hot| hot.key).collect::<Vec<_>>(), [1, 3]);
        assert!((top[1].error / top[1].per_second - 0.75).abs() < 1e-9, "{top:?}");
        assert!(top[0].error == 0.0);
    }
}
