//! What a far store tells of its own accord.

use std::fmt::Debug;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::tag::{Stamp, Tag};

/// Is told by a far store what changes in it, by whomever: a near tier, which must not serve what changed.
///
/// A store that takes a watcher ([`CacheBackend::watch`](crate::CacheBackend::watch)) promises:
///
/// 1. It tells of every change of a value: a write, a removal, an eviction. Being told of a change that was none costs a far
///    read and nothing else.
/// 2. When it may have missed a change (a lost connection, a flush, another server in the old one's place), it says
///    [`lost`](Self::lost) before it says [`proven`](Self::proven) again.
/// 3. It says `proven(since)` only when everything that was acknowledged before `since`, a moment read from
///    [`now`](Self::now), has been told. It does so several times in each [`max_staleness`](Self::max_staleness), if it can.
///
/// So a near tier that serves only while the last proof is younger than the bound is never older than the bound, however
/// long messages take and whatever becomes of them.
///
/// The methods are called on tasks of the store: they must not wait.
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
    /// The value of a key changed; `name` is its [`shared_name`](crate::CacheBackend::shared_name).
    fn changed(&self, name: &str);

    /// Entries that carry one of `tags` and were stamped before `at` have ended.
    fn tags_ended(&self, tags: &[Tag], at: Stamp);

    /// Anything may have changed.
    fn lost(&self);

    /// The watcher's own clock, for [`proven`](Self::proven).
    fn now(&self) -> Timestamp;

    /// All changes that were acknowledged before `since` have been told.
    fn proven(&self, since: Timestamp);

    /// How old a proof may become.
    fn max_staleness(&self) -> Duration;
}
