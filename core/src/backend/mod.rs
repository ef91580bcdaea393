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
pub use local::{Displaced, EntryCount, Local, LocalStore, Recency, Weigher};
pub use prefix::Prefix;
#[cfg(feature = "quick")]
pub use quick::{Quick, QuickStore};
pub use tiered::{BothTiers, Placement, PlacementPolicy, Tiered, TieredBackend};
pub use timeout::{Timeout, TimeoutBackend};
pub use watch::Watcher;

use crate::Result;
use crate::clock::Timestamp;
use crate::tag::{Stamp, Tag};

/// A place that keeps entries: a process's memory, Redis, two tiers of them.
///
/// Time is an argument: a backend owns no clock, and no strategy either. What it promises, and the conformance suite of
/// `larder-testkit` checks:
///
/// 1. An entry dead at `now` is never returned.
/// 2. A [`fill`](Self::fill) is stored only while its own fence, granted by [`begin`](Self::begin), still stands. A fence
///    stands until its lease ends, a fill with it was stored, it was released, or its key was
///    [`put`](Self::put), [`remove`](Self::remove)d or cleared.
/// 3. A fence that was lost for whatever reason refuses the fill; nothing makes a lost fence stand again. So the store names
///    the fence at each execution of `begin`: if a request is executed twice, the second execution makes another fence, or
///    finds its own still valid and answers that name. A name that the caller chooses would be valid again.
/// 4. Once `remove` or [`clear`](Self::clear) returned `Ok`, no read that starts later sees what was stored before, nor
///    what is filled under a fence granted before.
/// 5. Value and expiry are stored in one step, and an overwrite leaves nothing of what was there.
/// 6. Answers of the `_many` operations are aligned with their keys.
///
/// Implementors write plain `async fn`. All methods are required, so that a decorator cannot lose an inner fast path.
///
/// # Cancellation safety
/// Any of the futures may be dropped at any point; the operation may then have happened or not, and must not have
/// happened in part.
///
/// # Examples
/// A typed, in-process store is easier written as a [`LocalStore`]. A whole backend is shown by `larder-memory`; here is
/// a user of one:
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
    /// Set if every call has its answer at the first poll, as in a store that is in this process.
    #[doc(hidden)]
    const IS_IMMEDIATE: bool = false;

    /// Calls `look` with the entry of `key` if this process holds one, to take out of it what is wanted. Performs no I/O. `None`
    /// means "not known here" (or that `look` said so), never "absent". `recency` says if this counts as a use of the key.
    ///
    /// Never suspends and, for a typed local store, never allocates: this is the hit path. The entry is borrowed since moving
    /// it through the layers of a backend costs as much as finding it.
    fn look<T>(
        &self,
        key: &K,
        now: Timestamp,
        recency: Recency,
        look: impl FnOnce(&mut Entry<V>) -> Option<T>,
    ) -> Option<T>;

    /// Returns what [`look`](Self::look) finds. Does not count as a use of `key`.
    fn peek(&self, key: &K, now: Timestamp) -> Option<Entry<V>> {
        self.look(key, now, Recency::Keep, |entry| Some(entry.take()))
    }

    /// The name by which all processes of a shared store know `key`: what a [`LockProvider`](crate::LockProvider) locks.
    /// `None` when only this process sees the store.
    fn shared_name(&self, key: &K) -> Option<String>;

    /// Whether every call ends in a time of its own, because it never waits or has its own timeouts. The cache then needs
    /// no timer around each call.
    fn is_bounded(&self) -> bool;

    /// Tells `watcher` from now on, until it is gone, what changes in the store, by whomever; `false` when this store tells
    /// nothing. Called from within a tokio runtime.
    fn watch(&self, watcher: Weak<dyn Watcher>) -> bool;

    /// The entry of `key`, wherever it is kept.
    fn get(&self, key: &K, now: Timestamp) -> impl Future<Output = Result<Option<Entry<V>>>> + Send;

    /// The entries of `keys`, aligned with them, in one round trip where the store can.
    fn get_many(
        &self,
        keys: &[K],
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Option<Entry<V>>>>> + Send;

    /// Announces a load of `key`. Looks once more in the same step, so that a value filled meanwhile is not loaded again.
    fn begin(
        &self,
        key: &K,
        announce: LoadIntent,
        now: Timestamp,
    ) -> impl Future<Output = Result<BeginOutcome<V>>> + Send;

    /// Stores what was loaded, if `fence` still stands, and ends the fence.
    fn fill(
        &self,
        key: &K,
        fence: Fence,
        entry: Entry<V>,
        now: Timestamp,
    ) -> impl Future<Output = Result<FillOutcome>> + Send;

    /// Makes `fence` stand for another `lease` from now; `false` when it no longer stands.
    fn renew(
        &self,
        key: &K,
        fence: Fence,
        lease: Duration,
        now: Timestamp,
    ) -> impl Future<Output = Result<bool>> + Send;

    /// Ends `fence` without storing anything: the load failed.
    fn release(&self, key: &K, fence: Fence, now: Timestamp) -> impl Future<Output = Result<()>> + Send;

    /// Stores an entry whatever was there, and defeats every load announced before.
    fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> impl Future<Output = Result<()>> + Send;

    /// Forgets `key`, and defeats every load of it announced before.
    fn remove(&self, key: &K) -> impl Future<Output = Result<()>> + Send;

    /// Forgets `keys`, and defeats every load of them announced before; in one round trip where the store can.
    fn remove_many(&self, keys: &[K]) -> impl Future<Output = Result<()>> + Send;

    /// Forgets everything of this namespace, and defeats every load announced before.
    fn clear(&self) -> impl Future<Output = Result<()>> + Send;

    /// Ends every entry that carries one of `tags` and whose load was announced before. Costs the same however many there
    /// are. Answers the state of the ledger after it.
    ///
    /// A store judges its own entries: [`peek`](Self::peek), [`get`](Self::get), [`get_many`](Self::get_many) and
    /// [`begin`](Self::begin) never return one that a tag has ended, and a [`fill`](Self::fill) of one is refused. For
    /// that it stamps entries with the state of its ledger: a filled one with that of [`Fence::stamp`], a
    /// [`put`](Self::put) one with the current one, unless it bears a stamp already (of a far tier, which judges it).
    fn invalidate_tags(&self, tags: &[Tag]) -> impl Future<Output = Result<Stamp>> + Send;

    /// Forgets which tags were invalidated at or before `count`: entries stamped below it end, if they carry tags.
    /// Answers how many tags were forgotten.
    fn prune_tags(&self, count: u64) -> impl Future<Output = Result<usize>> + Send;

    /// Announces a write of `key` to the source: forgets the key, and stores nothing under it while `guard` stands.
    /// Several guards may stand at once.
    fn guard(&self, key: &K, guard: WriteIntent, now: Timestamp) -> impl Future<Output = Result<()>> + Send;

    /// Ends `guard`: forgets the key, and lets it be stored again if no other guard stands.
    fn unguard(&self, key: &K, guard: WriteIntent, now: Timestamp)
    -> impl Future<Output = Result<()>> + Send;
}

/// A configured store that becomes a [`CacheBackend`] once the cache's [`BackendContext`] is known: what
/// [`CacheBuilder::backend`](crate::CacheBuilder::backend) takes.
///
/// Stores implement it to learn the namespace and to report evictions; decorators such as [`Tiered`] pass the scope on. A
/// [`CacheBackend`] that needs none of that is given as [`Direct`].
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
    /// The backend that this becomes.
    type Backend: CacheBackend<K, V>;

    /// Opens the store for one cache.
    ///
    /// # Errors
    /// When the configuration cannot work; the message names the mend.
    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend>;
}

/// A finished [`CacheBackend`], to be used as it is.
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
