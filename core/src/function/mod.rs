//! The parts that `#[cached]` expands to. Not part of the public interface.

mod key;
mod own;
mod returns;

use std::future::Future;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

pub use self::key::{IsCallKey, call_key, of_calls, path_key};
pub use self::own::{Own, own};
pub use self::returns::{CallError, Failure, NoResult, Returns, mapped, own_error};
use crate::backend::entry::Hit;
use crate::cache::{Key, Value};
use crate::engine::{Approach, Load, LoadFuture, Loader, Seen, is_of_load};
use crate::source::Loaded;
use crate::tag::Tag;
use crate::{Cache, Error, Result};

/// The settings of the attribute for values: their TTL and their tags.
#[derive(Debug, Default)]
pub struct Terms {
    ttl: Option<Duration>,
    tags: Vec<Tag>,
}

impl Terms {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    #[must_use]
    pub fn tag(mut self, tag: Tag) -> Self {
        self.tags.push(tag);
        self
    }

    /// Applies the settings to a loaded value. The TTL is that of values: the strategy decides how long absence is
    /// cached.
    fn apply<V>(self, loaded: Loaded<V>) -> Loaded<V> {
        let Self { ttl, tags } = self;
        let present = loaded.value.is_some();
        let loaded = loaded.tags(tags);
        match ttl.filter(|_| present) {
            Some(ttl) => loaded.ttl(ttl),
            None => loaded,
        }
    }
}

/// Returns the answer of a cached function; `Continue` if it must be called past the cache.
///
/// `prepare` returns the settings and a call that owns its arguments. It runs only if a value is to be loaded, and again
/// for a function that cannot fail and whose load was refused or timed out.
#[allow(clippy::future_not_send, reason = "it is `Send` when the arguments are")]
pub async fn call<K, V, R, P, F, Fut>(
    cache: &Cache<K, V>,
    key: &K,
    prepare: P,
    failed: impl FnOnce(Error) -> Option<R::Failure>,
) -> ControlFlow<R>
where
    K: Key,
    V: Value,
    R: Returns<V>,
    P: Fn() -> (Terms, F) + Send + Sync,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    let mut seen = Seen::Nothing;
    if let Some(Hit(value)) = cache.engine().hit(key, &mut seen) {
        return answered(Ok(value), failed);
    }
    let mut answer = Box::pin(cache.engine().read(key, seen, || Load::Given(loader(prepare())))).await;
    if is_untold::<V, R, _>(&answer) {
        answer = Box::pin(cache.engine().read_patiently(key, Approach::Missing, || loader(prepare()))).await;
    }
    answered(answer.map(|answer| answer.entry.into_value()), failed)
}

/// Acts as [`call`], even if a fresh entry is cached.
pub async fn refresh<K, V, R, P, F, Fut>(
    cache: &Cache<K, V>,
    key: &K,
    prepare: P,
    failed: impl FnOnce(Error) -> Option<R::Failure>,
) -> ControlFlow<R>
where
    K: Key,
    V: Value,
    R: Returns<V>,
    P: Fn() -> (Terms, F) + Send + Sync,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    let mut answer = Box::pin(cache.engine().refresh(key, Load::Given(loader(prepare())))).await;
    if is_untold::<V, R, _>(&answer) {
        answer = Box::pin(cache.engine().read_patiently(key, Approach::Refresh, || loader(prepare()))).await;
    }
    answered(answer.map(|answer| answer.entry.into_value()), failed)
}

/// Stores a value as if the function had returned it.
///
/// # Errors
/// As [`Cache::insert`].
pub async fn insert<K, V, R>(cache: &Cache<K, V>, key: &K, terms: Terms, value: R) -> Result<()>
where
    K: Key,
    V: Value,
    R: Returns<V>,
{
    let loaded = value.into_loaded().map_err(Error::from_source)?;
    cache.insert(key, terms.apply(loaded)).await
}

/// Invalidates the entry of a call.
///
/// # Errors
/// As [`Cache::invalidate`].
pub async fn invalidate<K: Key, V: Value>(cache: &Cache<K, V>, key: &K) -> Result<()> {
    cache.invalidate(key).await
}

/// Returns `true` if a load was refused or timed out, and the function has no way to say so.
///
/// Prevents: its callers bypass the cache, and so the limit on loads and the sharing of loads.
fn is_untold<V, R: Returns<V>, A>(answer: &Result<A>) -> bool {
    R::IS_INFALLIBLE && answer.as_ref().is_err_and(is_of_load)
}

fn loader<V, R, F, Fut>((terms, call): (Terms, F)) -> Loader<V>
where
    V: Value,
    R: Returns<V>,
    F: FnOnce() -> Fut + Send + 'static,
    Fut: Future<Output = R> + Send + 'static,
{
    Box::new(move || -> LoadFuture<V> {
        let call = call();
        Box::pin(async move {
            let loaded = call.await.into_loaded().map_err(Error::from_source)?;
            Ok(terms.apply(loaded))
        })
    })
}

fn answered<V, R: Returns<V>>(
    answer: Result<Option<Arc<V>>>,
    failed: impl FnOnce(Error) -> Option<R::Failure>,
) -> ControlFlow<R> {
    let answer = match answer {
        Ok(found) => R::from_found(found),
        Err(error) => failed(error).map(R::from_failure),
    };
    answer.map_or(ControlFlow::Continue(()), ControlFlow::Break)
}
