//! The placement of keys in the tiers.

/// The tiers in which a key is kept.
///
/// # Examples
/// See [`Tiered::placement`](super::Tiered::placement).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Placement {
    /// In both tiers.
    #[default]
    Both,
    /// Only in this process's memory. Other processes see neither the entry nor its invalidations.
    NearOnly,
    /// Only in the far tier, for large values that are seldom read, or values that must not be stale.
    FarOnly,
}

/// A placement policy: [`BothTiers`], or a closure. It must always return the same placement for a key.
///
/// # Examples
/// See [`Tiered::placement`](super::Tiered::placement).
pub trait PlacementPolicy<K>: Send + Sync + 'static {
    /// Returns the placement of `key`.
    fn place(&self, key: &K) -> Placement;
}

/// The policy that keeps every key in both tiers.
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
