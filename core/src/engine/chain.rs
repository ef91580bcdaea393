//! The chain of loads that led to the current one. A load that needs itself gets an error instead of an endless wait.

use std::any::Any;
use std::collections::HashSet;
use std::future::Future;
use std::hash::Hash;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use tokio::sync::Notify;

tokio::task_local! {
    static CHAIN: Arc<Chain>;
}

/// The keys that one task loads.
trait Loads: Send + Sync {
    fn contain(&self, cache: u64, key: &dyn Any) -> bool;
}

/// The loads of a task (one or a batch), and the loads that wait for it. Passes through caches of any type.
pub(crate) struct Chain {
    loads: Box<dyn Loads>,
    /// More than one if a batch serves callers that are loads themselves.
    parents: Vec<Arc<Self>>,
    /// Set once another load waits for one of these.
    needed: AtomicBool,
    joined: Notify,
    /// Set once the task has ended, and no longer waits for another load.
    ended: AtomicBool,
}

struct One<K> {
    cache: u64,
    key: K,
}

impl<K: Any + Eq + Send + Sync> Loads for One<K> {
    fn contain(&self, cache: u64, key: &dyn Any) -> bool {
        self.cache == cache && key.downcast_ref::<K>() == Some(&self.key)
    }
}

struct Batch<K> {
    cache: u64,
    keys: HashSet<K, RandomState>,
}

impl<K: Any + Eq + Hash + Send + Sync> Loads for Batch<K> {
    fn contain(&self, cache: u64, key: &dyn Any) -> bool {
        self.cache == cache && key.downcast_ref::<K>().is_some_and(|key| self.keys.contains(key))
    }
}

impl Chain {
    /// Returns the chain of the current task.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CHAIN.try_with(Arc::clone).ok()
    }

    /// Returns the chain of the caller of a new flight, if that caller waits for it.
    /// With `patience` the flight is a refresh in the background, and no load waits for it.
    pub(super) fn waiting(patience: Option<Duration>) -> Option<Arc<Self>> {
        if patience.is_some() { None } else { Self::current() }
    }

    /// Returns `true` if the current task is a load that another load waits for.
    ///
    /// Such a load takes no permit of a limit: its parent may hold the last one until this load ends.
    pub(crate) fn is_nested() -> bool {
        CHAIN.try_with(|chain| chain.is_waited_for()).unwrap_or(false)
    }

    /// Returns once another load waits for the current one; otherwise never.
    pub(crate) async fn nested() {
        let Some(chain) = Self::current() else { return std::future::pending().await };
        loop {
            let joined = chain.joined.notified();
            if chain.is_waited_for() {
                return;
            }
            joined.await;
        }
    }

    fn is_waited_for(&self) -> bool {
        !self.parents.is_empty() || self.needed.load(Ordering::SeqCst)
    }

    /// Records that another load waits for this one.
    pub(super) fn need(&self) {
        self.needed.store(true, Ordering::SeqCst);
        self.joined.notify_waiters();
    }

    fn new(loads: Box<dyn Loads>, parents: impl IntoIterator<Item = Arc<Self>>) -> Arc<Self> {
        Arc::new(Self {
            loads,
            parents: parents.into_iter().collect(),
            needed: AtomicBool::new(false),
            joined: Notify::new(),
            ended: AtomicBool::new(false),
        })
    }

    /// Makes the chain of a load of `key` for the callers in `parents`.
    pub(super) fn load<K>(parents: impl IntoIterator<Item = Arc<Self>>, cache: u64, key: K) -> Arc<Self>
    where
        K: Any + Eq + Send + Sync,
    {
        Self::new(Box::new(One { cache, key }), parents)
    }

    /// Makes the chain of one load of all `keys` for the callers in `parents`.
    pub(super) fn batch<K>(
        parents: impl IntoIterator<Item = Arc<Self>>,
        cache: u64,
        keys: impl Iterator<Item = K>,
    ) -> Arc<Self>
    where
        K: Any + Eq + Hash + Send + Sync,
    {
        Self::new(Box::new(Batch { cache, keys: keys.collect() }), parents)
    }

    /// Runs a load as the end of this chain.
    pub(super) fn scope<F: Future>(self: Arc<Self>, load: F) -> impl Future<Output = F::Output> {
        let end = End(Arc::clone(&self));
        CHAIN.scope(self, async move {
            let _end = end;
            load.await
        })
    }

    /// Returns `true` if this load, or one that waits for it, loads `key` in the cache with this id.
    ///
    /// Visits the whole chain, so that it is to be called only if `key` is being loaded.
    pub(super) fn contains<K: Any>(self: &Arc<Self>, cache: u64, key: &K) -> bool {
        let (mut open, mut seen) = (vec![self], HashSet::with_hasher(RandomState::default()));
        while let Some(chain) = open.pop() {
            if !chain.ended.load(Ordering::SeqCst) && chain.loads.contain(cache, key) {
                return true;
            }
            // branches may meet again: each chain is visited once
            open.extend(chain.parents.iter().filter(|parent| seen.insert(ptr::from_ref(&***parent))));
        }
        false
    }
}

/// Records the end of a load's task when dropped.
struct End(Arc<Chain>);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ended.store(true, Ordering::SeqCst);
    }
}

impl Drop for Chain {
    /// Drops the ancestors in a loop. Prevents: a recursive drop with a stack frame for each ancestor.
    fn drop(&mut self) {
        let mut open = std::mem::take(&mut self.parents);
        while let Some(parent) = open.pop() {
            if let Some(mut last) = Arc::into_inner(parent) {
                open.append(&mut last.parents);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_knows_its_ancestors_of_any_type() {
        let numbers = Chain::load(None, 1, 7u64);
        let names = Chain::batch([Arc::clone(&numbers)], 2, ["a", "b"].into_iter());
        let last = Chain::load([Arc::clone(&names), names, numbers], 1, 8u64);
        assert!(last.contains(1, &8u64) && last.contains(1, &7u64) && last.contains(2, &"b"));
        assert!(!last.contains(2, &7u64) && !last.contains(1, &9u64) && !last.contains(1, &7u32));
    }

    /// Chains whose branches meet again have exponentially many paths and few loads.
    #[test]
    fn a_chain_whose_branches_meet_is_visited_once() {
        let mut last = Chain::load(None, 1, 0u64);
        for key in 1..200u64 {
            let branches = [1, 2].map(|branch| Chain::load([Arc::clone(&last)], branch, key));
            last = Chain::load(branches, 3, key);
        }
        assert!(last.contains(1, &0u64) && !last.contains(4, &0u64));
    }

    #[test]
    fn a_long_chain_is_dropped_without_recursion() {
        let mut last = Chain::load(None, 1, 0u64);
        for key in 1..1_000_000u64 {
            last = Chain::load([last], 1, key);
        }
        drop(last);
    }
}
