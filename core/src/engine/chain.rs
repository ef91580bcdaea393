//! Which loads led to this one, so that a load that asks for its own key gets an error instead of waiting for itself.

use std::any::Any;
use std::future::Future;
use std::sync::Arc;

tokio::task_local! {
    static CHAIN: Arc<Chain>;
}

/// The load that this task runs, and the loads that wait for it. Passes through caches of any type.
pub(super) struct Chain {
    cache: u64,
    key: Box<dyn Any + Send + Sync>,
    parent: Option<Arc<Self>>,
}

impl Chain {
    /// The chain of the current task.
    pub(super) fn current() -> Option<Arc<Self>> {
        CHAIN.try_with(Arc::clone).ok()
    }

    /// `parent` with one more load at its end.
    pub(super) fn with<K: Any + Send + Sync>(parent: Option<Arc<Self>>, cache: u64, key: K) -> Arc<Self> {
        Arc::new(Self { cache, key: Box::new(key), parent })
    }

    /// Runs a load as the end of this chain.
    pub(super) fn scope<F: Future>(self: Arc<Self>, load: F) -> impl Future<Output = F::Output> {
        CHAIN.scope(self, load)
    }

    /// Whether the current task is, or was started by, a load of `key` in the cache with this id.
    pub(super) fn is_loading<K: Any + Eq>(cache: u64, key: &K) -> bool {
        let current = Self::current();
        let mut next = current.as_ref();
        while let Some(link) = next {
            if link.cache == cache && link.key.downcast_ref::<K>() == Some(key) {
                return true;
            }
            next = link.parent.as_ref();
        }
        false
    }
}
