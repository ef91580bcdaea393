//! Which keys are kept in which tier.

/// Where a key is kept.
///
/// # Examples
/// See [`Tiered::placement`](super::Tiered::placement).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Placement {
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
/// See [`Tiered::placement`](super::Tiered::placement).
pub trait PlacementPolicy<K>: Send + Sync + 'static {
    /// Where `key` is kept.
    fn place(&self, key: &K) -> Placement;
}

/// Every key is kept in both tiers.
///
/// # Examples
/// ```
/// use larder::backend::{BothTiers, Placement, PlacementPolicy};
/// assert_eq!(BothTiers.place(&7), Placement::Both);
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct BothTiers;

impl<K> PlacementPolicy<K> for BothTiers {
    fn place(&self, _key: &K) -> Placement {
        Placement::Both
    }
}

impl<K, F: Fn(&K) -> Placement + Send + Sync + 'static> PlacementPolicy<K> for F {
    fn place(&self, key: &K) -> Placement {
        self(key)
    }
}
