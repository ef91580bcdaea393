//! The contract between the engine and a place that keeps entries.

mod breaker;
mod context;
mod encoded;
pub(crate) mod entry;
mod erased;
mod fence;
mod frame;
mod local;
mod prefix;
#[cfg(feature = "quick")]
mod quick;
mod tiered;
mod timeout;
mod watch;

use std::fmt::Debug;
use std::future::Future;
use std::sync::Weak;
use std::time::Duration;

pub use breaker::{Breaker, BreakerBackend};
pub use context::BackendContext;
pub use encoded::{Encoded, EncodedBackend, Payload};
pub use entry::Entry;
pub use erased::Erased;
pub(crate) use erased::Seen;
pub use fence::{BeginOutcome, Fence, FillOutcome, LoadIntent, WriteIntent};
pub use frame::{Frame, FrameError};
pub use local::{Displaced, EntryCount, Local, LocalStore, Recency, Weigher, weight_of};
pub use prefix::Prefix;
#[cfg(feature = "quick")]
pub use quick::{Quick, QuickStore};
pub use tiered::{BothTiers, Placement, PlacementPolicy, Tiered, TieredBackend};
pub use timeout::{Timeout, TimeoutBackend};
pub use watch::Watcher;

use crate::Result;
use crate::clock::Timestamp;
use crate::tag::{Pruned, Stamp, Tag};

/// A place that keeps entries: a process's memory, Redis, two tiers of them.
///
/// Time is an argument: a backend owns no clock and no strategy. It promises the following, and the conformance suite
/// of `larder-testkit` checks it:
///
/// 1. An entry that has expired at `now` is never returned.
/// 2. A [`fill`](Self::fill) is stored only while its own fence, granted by [`begin`](Self::begin), is valid. A fence
///    is valid until its lease ends, a fill with it was stored, it was released, or its key was [`put`](Self::put),
///    [`remove`](Self::remove)d or cleared.
/// 3. A lost fence refuses the fill, and never becomes valid again. So the store names the fence at each execution of
///    `begin`: if a request is executed twice, the second execution makes another fence, or finds its own still valid
///    and answers that name. A name that the caller chooses would be valid again.
/// 4. Once `remove` or [`clear`](Self::clear) returned `Ok`, no read that starts later sees an entry stored before,
///    nor one filled under a fence granted before.
/// 5. Value and expiry are stored in one step, and an overwrite leaves nothing of the old entry.
/// 6. Answers of the `_many` operations are aligned with their keys.
///
/// Implementors write plain `async fn`. All methods are required, so that a decorator cannot lose an inner fast path.
///
/// # Cancellation safety
/// Any of the futures may be dropped at any point; the operation may then have happened or not, and must not have
/// happened in part.
///
/// # Examples
/// A typed, in-process store is easier written as a [`LocalStore`]. A whole backend is shown by `larder-memory`; here
/// is a user of one:
/// ```
/// use larder::backend::{BeginOutcome, Entry, LoadIntent};
/// use larder::clock::Timestamp;
/// use larder::{CacheBackend, Result};
/// use std::{sync::Arc, time::Duration};
///
/// async fn load_through<B: CacheBackend<u64, String>>(backend: &B, now: Timestamp) -> Result<()> {
///     if let BeginOutcome::Granted(fence) = backend.begin(&7, LoadIntent::shared(Duration::from_secs(10)), now).await? {
///         let loaded = Entry::new(Some(Arc::new("bread".to_owned())), now, Duration::from_secs(60));
///         backend.fill(&7, fence, loaded, now).await?;
///     }
///     Ok(())
/// }
/// ```
pub trait CacheBackend<K, V>: Debug + Send + Sync + 'static {
    /// Set if every call has its answer at the first poll, as in a store in this process.
    #[doc(hidden)]
    const IS_IMMEDIATE: bool = false;

    /// Calls `look` with the entry of `key` if this process holds one. Performs no I/O.
    ///
    /// `None` means "not known here" (or that `look` returned it), never "absent". `recency` says if this counts as a
    /// use of the key.
    ///
    /// Never suspends and, for a typed local store, never allocates: this is the hit path. The entry is borrowed,
    /// because moving it through the layers of a backend costs as much as finding it.
    fn look<T>(
        &self,
        key: &K,
        now: Timestamp,
        recency: Recency,
        look: impl FnOnce(&mut Entry<V>) -> Option<T>,
    ) -> Option<T>;

    /// Returns the entry that [`look`](Self::look) finds. Does not count as a use of `key`.
    fn peek(&self, key: &K, now: Timestamp) -> Option<Entry<V>> {
        self.look(key, now, Recency::Keep, |entry| Some(entry.take()))
    }

    /// Returns the name by which all processes of a shared store know `key`. A
    /// [`LockProvider`](crate::LockProvider) locks it.
    /// `None` if only this process sees the store.
    fn shared_name(&self, key: &K) -> Option<String>;

    /// Returns `true` if every call ends in bounded time, because it never waits or has its own timeouts. The cache
    /// then needs no timer around each call.
    fn is_bounded(&self) -> bool;

    /// Registers `watcher` for change notifications until it is dropped. Returns `false` if this store sends none.
    ///
    /// Changes by all processes are sent. Called from within a tokio runtime.
    fn watch(&self, watcher: Weak<dyn Watcher>) -> bool;

    /// Returns the entry of `key`, from any tier.
    fn get(&self, key: &K, now: Timestamp) -> impl Future<Output = Result<Option<Entry<V>>>> + Send;

    /// Returns the entries of `keys`, aligned with them, in one round trip if the store supports it.
    fn get_many(
        &self,
        keys: &[K],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Option<Entry<V>>>>> + Send;

    /// Requests a fence for a load of `key`.
    ///
    /// Looks for an entry in the same step. Prevents: a value that was filled meanwhile is loaded again.
    fn begin(
        &self,
        key: &K,
        announce: LoadIntent,
        now: Timestamp,
    ) -> impl Future<Output = Result<BeginOutcome<V>>> + Send;

    /// Stores a loaded entry if `fence` is still valid, and ends the fence.
    fn fill(
        &self,
        key: &K,
        fence: Fence,
        entry: Entry<V>,
        now: Timestamp,
    ) -> impl Future<Output = Result<FillOutcome>> + Send;

    /// Extends `fence` to `lease` from now. Returns `false` if it is no longer valid.
    fn renew(
        &self,
        key: &K,
        fence: Fence,
        lease: Duration,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Ends `fence` without storing an entry, because the load failed.
    fn release(&self, key: &K, fence: Fence, now: Timestamp) -> impl Future<Output = Result<()>> + Send;

    /// Stores an entry unconditionally, and revokes the fences of the key.
    fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> impl Future<Output = Result<()>> + Send;

    /// Removes the entry of `key`, and revokes the fences of the key.
    fn remove(&self, key: &K) -> impl Future<Output = Result<()>> + Send;

    /// Removes the entries of `keys`, and revokes their fences, in one round trip if the store supports it.
    fn remove_many(&self, keys: &[K]) -> impl Future<Output = Result<()>> + Send;

    /// Removes all entries of this namespace, and revokes all its fences.
    fn clear(&self) -> impl Future<Output = Result<()>> + Send;

    /// Invalidates every entry that carries one of `tags` and whose load began before. Returns the state of the tag
    /// ledger after it.
    ///
    /// The cost does not depend on the number of entries.
    ///
    /// A store checks its own entries: [`peek`](Self::peek), [`get`](Self::get), [`get_many`](Self::get_many) and
    /// [`begin`](Self::begin) never return one that a tag has invalidated, and a [`fill`](Self::fill) of one is
    /// refused. For that it stamps entries with the state of its ledger: a filled one with that of [`Fence::stamp`],
    /// a [`put`](Self::put) one with the current one, unless it bears a stamp already (of a far tier, which checks
    /// it).
    fn invalidate_tags(&self, tags: &[Tag]) -> impl Future<Output = Result<Stamp>> + Send;

    /// Removes the tags that were invalidated at or before `count` from the ledger.
    ///
    /// Entries with tags that are stamped below `count` are then invalid. `longest` is the longest life of an entry
    /// that the caller knows of: if an entry of another process may live longer, nothing is removed.
    fn prune_tags(&self, count: u64, longest: Duration) -> impl Future<Output = Result<Pruned>> + Send;

    /// Places a write guard on `key`: removes its entry, and stores none while `guard` is in place.
    /// Several guards may be in place at once.
    fn guard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> impl Future<Output = Result<()>> + Send;

    /// Ends `guard`: removes the entry of the key. It can be stored again if no other guard is in place.
    fn unguard(&self, key: &K, guard: WriteIntent, now: Timestamp)
    -> impl Future<Output = Result<()>> + Send;
}

/// A configured store that becomes a [`CacheBackend`] once the cache's [`BackendContext`] is known.
/// [`CacheBuilder::backend`](crate::CacheBuilder::backend) takes it.
///
/// Stores implement it to learn the namespace and to report evictions. Decorators such as [`Tiered`] pass the context
/// on. A [`CacheBackend`] that needs neither is passed as [`Direct`].
///
/// # Examples
/// ```
/// use larder::backend::{BackendContext, IntoBackend};
/// use larder::{CacheBackend, Result};
///
/// fn open<K, V, B: IntoBackend<K, V>>(store: B) -> Result<impl CacheBackend<K, V>> {
///     store.into_backend(&BackendContext::new("product")?)
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot keep `{V}` under the key `{K}`",
    label = "not a backend for these keys and values",
    note = "a store of bytes (Redis, memory) needs a codec: `store.encoded(Json)`, whose key type has `CacheKey` and whose value type has serde's traits",
    note = "a `CacheBackend` of your own is given as `Direct(backend)`, a `LocalStore` as `Local::new(store)`"
)]
pub trait IntoBackend<K, V> {
    /// The opened backend.
    type Backend: CacheBackend<K, V>;

    /// Opens the store for one cache.
    ///
    /// # Errors
    /// If the configuration cannot work. The message says what to write instead.
    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend>;
}

/// A finished [`CacheBackend`], used without a context.
///
/// # Examples
/// ```
/// use larder::backend::Direct;
/// use larder::{Cache, CacheBackend, Result, Strategy};
/// use std::time::Duration;
///
/// fn over<B: CacheBackend<u64, String>>(own: B) -> Result<Cache<u64, String>> {
///     Cache::builder().backend(Direct(own)).strategy(Strategy::aside(Duration::from_secs(60))).build()
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Direct<B>(pub B);

impl<K, V, B: CacheBackend<K, V>> IntoBackend<K, V> for Direct<B> {
    type Backend = B;

    fn into_backend(self, _scope: &BackendContext) -> Result<B> {
        Ok(self.0)
    }
}
