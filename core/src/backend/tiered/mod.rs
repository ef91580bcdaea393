//! A near tier (L1) in this process in front of a far tier (L2) that processes share.

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

/// Two tiers: a near tier (L1) in this process answers reads if it can, and the far tier (L2) is authoritative.
///
/// - A read notes its key's *generation* before it asks the far tier. Each change of the key raises the generation. A
///   near entry is served only while its generation is current. A value that was read before an invalidation and
///   placed after it is therefore never served.
/// - After an invalidation by this process, near reads see it at once. After one by *another* process they are at
///   most [`max_staleness`](Self::max_staleness) (1 s by default) old, also if notifications are late or lost. A
///   store with change notifications ([`CacheBackend::watch`](crate::CacheBackend::watch)) also sends heartbeats,
///   which confirm that no notification was missed. Near entries are served only while the last heartbeat is younger
///   than `max_staleness`. Without heartbeats a near entry lives for at most `max_staleness`.
/// - A near entry never outlives the far one, nor [`near_ttl`](Self::near_ttl).
/// - A removal goes to the far tier first, then to the near tier. If the far tier does not acknowledge it, it is an
///   error.
///
/// As the far tier of another tiered backend, it sends no notifications: each adds its `max_staleness`.
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
    /// Puts the near tier (L1) `near` in front of the far tier (L2) `far`.
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
    /// Sets the maximum life of a near entry. Default: as long as the far one's. Zero is refused by `build()`.
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

    /// Sets the maximum time for which another process's invalidation can go unnoticed here.
    ///
    /// Default: 1 s. Zero is refused by `build()`.
    ///
    /// Changes are normally noticed in less than a millisecond: this limit is for late or lost notifications. The far
    /// store is asked for a heartbeat three times in each `max_staleness`.
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

    /// Sets the tiers in which each key is kept. Default: all keys in both.
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
