//! Keys, values and the order in which they are asked for: the same for all.

use std::borrow::Cow;
use std::fmt::Display;
use std::hash::Hash;

use rand::{Rng, SeedableRng, rngs::SmallRng};

/// The cached value: 200 bytes.
pub type Value = String;

pub const VALUE_BYTES: usize = 200;

pub fn value(key: impl Display) -> Value {
    format!("{key:0>width$}", width = VALUE_BYTES)
}

/// A key: a number, or a string as it comes from outside.
pub trait Key: Hash + Eq + Clone + Display + oxcache::CacheKey + Send + Sync + 'static {
    const NAME: &'static str;
    fn numbered(number: u64) -> Self;
    /// Returns the key that a cache of strings is asked for.
    fn text(&self) -> Cow<'_, str>;
}

impl Key for u64 {
    const NAME: &'static str = "u64 keys";
    fn numbered(number: u64) -> Self {
        number
    }
    fn text(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_string())
    }
}

impl Key for String {
    const NAME: &'static str = "string keys";
    fn numbered(number: u64) -> Self {
        format!("product:{number}")
    }
    fn text(&self) -> Cow<'_, str> {
        Cow::Borrowed(self)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skew {
    /// As what people ask for is spread: few keys take most.
    Zipf,
    Uniform,
}

impl Skew {
    pub fn name(self) -> &'static str {
        match self {
            Self::Zipf => "Zipf 0.99",
            Self::Uniform => "uniform",
        }
    }
}

/// Draws numbers below a count.
#[derive(Debug, Clone)]
pub struct Draw {
    edges: Vec<f64>,
    count: u64,
    random: SmallRng,
}

impl Draw {
    pub fn new(skew: Skew, count: u64, seed: u64) -> Self {
        let mut sum = 0.0;
        let edge = |rank: u64| {
            sum += 1.0 / (rank as f64).powf(0.99);
            sum
        };
        let edges = if skew == Skew::Zipf { (1..=count).map(edge).collect() } else { vec![] };
        Self { edges, count, random: SmallRng::seed_from_u64(seed) }
    }

    pub fn next(&mut self) -> u64 {
        match self.edges.last() {
            Some(&sum) => {
                let at = self.random.random::<f64>() * sum;
                self.edges.partition_point(|&edge| edge < at) as u64
            }
            None => self.random.random_range(0..self.count),
        }
    }

    pub fn chance(&mut self, part: f64) -> bool {
        self.random.random_bool(part)
    }
}

/// Keys in the order in which they are read. Ranks are scattered over the numbers, so that popular keys are no neighbours.
pub fn reads<K: Key>(skew: Skew, keys: u64, count: usize) -> Vec<K> {
    let mut draw = Draw::new(skew, keys, 7);
    (0..count).map(|_| K::numbered(draw.next() * 7_919 % keys)).collect()
}
