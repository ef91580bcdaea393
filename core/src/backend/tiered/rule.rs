//! Which keys are kept in which tier.

/// Where a key is kept.
///
/// # Examples
/// See [`Tiered::rule`](super::Tiered::rule).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Place {
    /// In both tiers.
    #[default]
    Both,
    /// Only in this process's memory: other processes do not see it, nor its invalidations.
    NearOnly,
    /// Only in the far tier: large values that are seldom read, or such as must not be a moment old.
    FarOnly,
}

/// Says where each key is kept: [`BothTiers`], or what a closure says. Must always say the same of a key.
///
/// # Examples
/// See [`Tiered::rule`](super::Tiered::rule).
pub trait PlaceRule<K>: Send + Sync + 'static {
    /// Where `key` is kept.
    fn place(&self, key: &K) -> Place;
}

/// Every key is kept in both tiers.
///
/// # Examples
/// ```
/// use larder::{BothTiers, Place, PlaceRule};
/// assert_eq!(BothTiers.place(&7), Place::Both);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct BothTiers;

impl<K> PlaceRule<K> for BothTiers {
    fn place(&self, _key: &K) -> Place {
        Place::Both
    }
}

impl<K, F: Fn(&K) -> Place + Send + Sync + 'static> PlaceRule<K> for F {
    fn place(&self, key: &K) -> Place {
        self(key)
    }
}
