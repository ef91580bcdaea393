//! A near tier in the process before a far tier that processes share.

mod backend;
mod ended;
mod generations;
mod placement;
mod view;

use std::fmt;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use self::backend::TieredBackend;
pub use self::placement::{BothTiers, Placement, PlacementPolicy};
use self::view::View;
use super::{BackendContext, IntoBackend};
use crate::{Error, Result};

/// Two tiers: reads are answered `near` when they can be, and `far` is the truth.
///
/// - A read takes note of its key's *generation* before it asks far; whatever changes the key raises the generation. A near
///   entry is served only while its generation is still the current one, so a value read before an invalidation and placed
///   after it is never served, whichever of the two happens to come last.
/// - After an invalidation by this process a near read is not old at all. After one by *another* it is at most
///   [`max_staleness`](Self::max_staleness) (1 s by default) old, whatever happens to the messages: a store that tells of changes
///   ([`CacheBackend::watch`](crate::CacheBackend::watch)) also proves all the time that it has told everything, and near entries are served only while
///   its last proof is younger than the bound. Meanwhile, and for a store that tells nothing, a near entry lives no longer
///   than the bound.
/// - A near entry never outlives the far one, nor [`near_ttl`](Self::near_ttl).
/// - Removal goes far first, then near; a removal that far does not acknowledge is an error.
///
/// As the far tier of a third, tiers tell nothing: each adds its bound.
///
/// # Examples
/// ```no_run
/// # use larder::backend::IntoBackend;
/// # use larder::Tiered;
/// # fn with<N: IntoBackend<u64, String>, F: IntoBackend<u64, String>>(quick: N, redis: F) {
/// let tiers = Tiered::new(quick, redis).max_staleness(std::time::Duration::from_millis(500));
/// # let _ = tiers;
/// # }
/// ```
#[derive(Clone)]
pub struct Tiered<N, F, R = BothTiers> {
    near: N,
    far: F,
    near_ttl: Option<Duration>,
    bound: Duration,
    placement: R,
}

impl<N: fmt::Debug, F: fmt::Debug, R> fmt::Debug for Tiered<N, F, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        debug(f, "Tiered", &self.near, &self.far)
    }
}

fn debug(f: &mut fmt::Formatter<'_>, name: &str, near: &dyn fmt::Debug, far: &dyn fmt::Debug) -> fmt::Result {
    f.debug_struct(name).field("near", near).field("far", far).finish_non_exhaustive()
}

impl<N, F> Tiered<N, F> {
    /// `near` before `far`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::{Quick, Tiered};
    /// let tiers = Tiered::new(Quick::new(10_000), redis);
    /// # let _ = tiers;
    /// ```
    pub fn new(near: N, far: F) -> Self {
        Self { near, far, near_ttl: None, bound: Duration::from_secs(1), placement: BothTiers }
    }
}

impl<N, F, R> Tiered<N, F, R> {
    /// The longest life of a near entry. Default: as long as the far one's. Zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::{Quick, Tiered};
    /// let tiers = Tiered::new(Quick::new(10_000), redis).near_ttl(Duration::from_secs(30));
    /// # let _ = tiers;
    /// ```
    #[must_use]
    pub fn near_ttl(mut self, near_ttl: Duration) -> Self {
        self.near_ttl = Some(near_ttl);
        self
    }

    /// The longest that another process's invalidation can go unnoticed here. Default 1 s. Changes are normally noticed in
    /// less than a millisecond: this is for when messages are late or lost. The far store is asked for a proof three times
    /// in each bound. Zero is refused by `build()`.
    ///
    /// # Examples
    /// ```
    /// # use std::time::Duration;
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::{Quick, Tiered};
    /// let tiers = Tiered::new(Quick::new(10_000), redis).max_staleness(Duration::from_millis(200));
    /// # let _ = tiers;
    /// ```
    #[must_use]
    pub fn max_staleness(mut self, bound: Duration) -> Self {
        self.bound = bound;
        self
    }

    /// Which keys are kept in which tier. Default: all in both.
    ///
    /// # Examples
    /// ```
    /// # let redis = larder::Quick::new(1_000);
    /// use larder::backend::Placement;
    /// use larder::{Quick, Tiered};
    /// let tiers = Tiered::new(Quick::new(10_000), redis).placement(|key: &u64| match key {
    ///     0..100 => Placement::NearOnly,
    ///     1_000_000.. => Placement::FarOnly,
    ///     _ => Placement::Both,
    /// });
    /// # let _ = tiers;
    /// ```
    #[must_use]
    pub fn placement<K, Q: Fn(&K) -> Placement + Send + Sync + 'static>(
        self,
        placement: Q,
    ) -> Tiered<N, F, Q> {
        let Self { near, far, near_ttl, bound, placement: _ } = self;
        Tiered { near, far, near_ttl, bound, placement }
    }
}

impl<K, V, N, F, R> IntoBackend<K, V> for Tiered<N, F, R>
where
    K: Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    N: IntoBackend<K, V>,
    F: IntoBackend<K, V>,
    R: PlacementPolicy<K>,
{
    type Backend = TieredBackend<N::Backend, F::Backend, R>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        let Self { near, far, near_ttl, bound, placement } = self;
        if near_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(Error::config(
                "`near_ttl` of zero keeps nothing near: leave out the near tier instead",
            ));
        }
        if bound.is_zero() {
            return Err(Error::config(
                "`max_staleness` of zero serves nothing near: leave out the near tier, or give at least 10 ms",
            ));
        }
        let (near, far) = (near.into_backend(scope)?, far.into_backend(scope)?);
        let view = Arc::new(View::new(bound, scope.clone()));
        Ok(TieredBackend {
            near,
            far,
            near_ttl,
            placement,
            view,
            watching: OnceLock::new(),
            near_tags: AtomicU64::new(0),
        })
    }
}
