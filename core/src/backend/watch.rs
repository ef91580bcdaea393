//! Change notifications of a far tier (L2).

use std::fmt::Debug;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::tag::{Stamp, Tag};

/// A receiver of a far tier's change notifications: a near tier, which must not serve changed entries.
///
/// A store that takes a watcher ([`CacheBackend::watch`](crate::CacheBackend::watch)) promises:
///
/// 1. It notifies of every change of a value by any process: a write, a removal, an eviction. A notification without
///    a change costs one read of the far tier.
/// 2. If it may have missed a change (a lost connection, a flush, another server in place of the old one), it calls
///    [`lost`](Self::lost) before it calls [`proven`](Self::proven) again.
/// 3. It calls `proven(since)`, the heartbeat, only after it has sent every change that was acknowledged before
///    `since`, a moment read from [`now`](Self::now). It does so several times in each
///    [`max_staleness`](Self::max_staleness) if it can.
///
/// So a near tier is never older than `max_staleness` if it serves entries only while the last heartbeat is younger.
/// This also holds if notifications are late or lost.
///
/// The methods are called on tasks of the store and must not block.
///
/// # Examples
/// ```
/// use std::{sync::{Arc, Weak}, time::Duration};
/// use larder::backend::Watcher;
/// use larder::clock::Timestamp;
/// use larder::tag::Stamp;
/// use larder::{CacheBackend, Tag};
///
/// #[derive(Debug)]
/// struct Printing;
///
/// impl Watcher for Printing {
///     fn changed(&self, name: &str) { println!("{name} changed") }
///     fn tags_ended(&self, tags: &[Tag], _at: Stamp) { println!("{tags:?} were invalidated") }
///     fn lost(&self) { println!("anything may have changed") }
///     fn now(&self) -> Timestamp { Timestamp::ORIGIN }
///     fn proven(&self, _since: Timestamp) {}
///     fn max_staleness(&self) -> Duration { Duration::from_secs(1) }
/// }
///
/// fn print_changes<B: CacheBackend<u64, String>>(far: &B, printing: &Arc<Printing>) -> bool {
///     let watcher: Arc<dyn Watcher> = Arc::clone(printing) as _;
///     far.watch(Arc::downgrade(&watcher))
/// }
/// ```
pub trait Watcher: Debug + Send + Sync + 'static {
    /// Records that the value of a key has changed; `name` is its [`shared_name`](crate::CacheBackend::shared_name).
    fn changed(&self, name: &str);

    /// Records that entries that carry one of `tags` and were stamped before `at` are invalidated.
    fn tags_ended(&self, tags: &[Tag], at: Stamp);

    /// Records that any entry may have changed.
    fn lost(&self);

    /// Returns the time of the watcher's own clock, for [`proven`](Self::proven).
    fn now(&self) -> Timestamp;

    /// Records a heartbeat: all changes that were acknowledged before `since` have been sent.
    fn proven(&self, since: Timestamp);

    /// Returns the maximum age of a heartbeat.
    fn max_staleness(&self) -> Duration;
}
