//! Pending invalidations of several caches, noted until they are acknowledged.

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use larder::cache::{Key, Value, WriteGuard};
use larder::{Cache, Result, Tag};

/// Keys, tags and whole caches that must be invalidated.
pub(crate) struct Noted {
    caches: Vec<Box<dyn Notes>>,
    /// The number of keys of one cache above which the whole cache is noted instead.
    most_keys: usize,
}

impl Noted {
    /// Returns a list without a limit on the number of keys.
    pub(crate) fn unbounded() -> Self {
        Self { caches: vec![], most_keys: usize::MAX }
    }

    /// Returns a list with a limit on the memory that a burst of changes takes.
    pub(crate) fn bounded() -> Self {
        Self { caches: vec![], most_keys: MOST_KEYS }
    }

    pub(crate) fn keys<K: Key, V: Value>(&mut self, cache: &Cache<K, V>, keys: impl IntoIterator<Item = K>) {
        let most = self.most_keys;
        let notes = self.of(cache);
        notes.keys.extend(keys);
        if notes.keys.len() > most {
            notes.keys.clear();
            notes.all = true;
        }
    }

    pub(crate) fn tag<K: Key, V: Value>(&mut self, cache: &Cache<K, V>, tag: Tag) {
        self.of(cache).tags.insert(tag);
    }

    pub(crate) fn all<K: Key, V: Value>(&mut self, cache: &Cache<K, V>) {
        self.of(cache).all = true;
    }

    fn of<K: Key, V: Value>(&mut self, cache: &Cache<K, V>) -> &mut CacheNotes<K, V> {
        let known = self.caches.iter_mut().position(|notes| {
            notes.as_any().downcast_ref::<CacheNotes<K, V>>().is_some_and(|notes| notes.cache.ptr_eq(cache))
        });
        let at = known.unwrap_or_else(|| {
            self.caches.push(Box::new(CacheNotes::of(cache.clone())));
            self.caches.len() - 1
        });
        self.caches[at].as_any().downcast_mut().expect("it was found or made with this type")
    }

    /// Takes a write guard of `life` for the noted keys, until they are settled.
    pub(crate) async fn guard(&mut self, life: Duration) -> Result<()> {
        for notes in &mut self.caches {
            notes.guard(life).await?;
        }
        Ok(())
    }

    /// Leaves the write guards in place until their life ends.
    pub(crate) fn leave_guards(&mut self) {
        self.caches.iter_mut().for_each(|notes| notes.leave_guard());
    }

    /// Invalidates all noted keys, tags and caches, all caches at once. Acknowledged invalidations are removed, the
    /// others stay noted. Returns the first error.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        let settled = join_all(self.caches.iter_mut().map(|notes| notes.settle())).await;
        let mut failed = settled.iter().map(Result::is_err);
        self.caches.retain(|_| failed.next().unwrap_or_default());
        settled.into_iter().collect()
    }
}

impl fmt::Debug for Noted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Noted").field("caches", &self.caches.len()).finish()
    }
}

/// The noted invalidations of one cache, independent of its types.
#[async_trait]
trait Notes: Send {
    fn as_any(&mut self) -> &mut dyn Any;
    async fn guard(&mut self, life: Duration) -> Result<()>;
    fn leave_guard(&mut self);
    async fn settle(&mut self) -> Result<()>;
}

/// The number of keys above which remembering them costs more than a reload.
const MOST_KEYS: usize = 100_000;

struct CacheNotes<K: Key, V: Value> {
    cache: Cache<K, V>,
    keys: HashSet<K>,
    tags: HashSet<Tag>,
    all: bool,
    guard: Option<WriteGuard<K, V>>,
}

impl<K: Key, V: Value> CacheNotes<K, V> {
    fn of(cache: Cache<K, V>) -> Self {
        Self { cache, keys: HashSet::new(), tags: HashSet::new(), all: false, guard: None }
    }

    async fn settle_keys(&mut self) -> Result<()> {
        if self.keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<K> = self.keys.iter().cloned().collect();
        match self.guard.take() {
            // ends the guard, which also invalidates its keys
            Some(guard) => guard.finish().await?,
            None => self.cache.invalidate_many(&keys).await?,
        }
        self.keys.clear();
        Ok(())
    }

    async fn settle_tags(&mut self) -> Result<()> {
        if self.tags.is_empty() {
            return Ok(());
        }
        let tags: Vec<Tag> = self.tags.iter().cloned().collect();
        self.cache.invalidate_tags(&tags).await?;
        self.tags.clear();
        Ok(())
    }
}

#[async_trait]
impl<K: Key, V: Value> Notes for CacheNotes<K, V> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    async fn guard(&mut self, life: Duration) -> Result<()> {
        if !self.keys.is_empty() {
            let keys: Vec<K> = self.keys.iter().cloned().collect();
            self.guard = Some(self.cache.write_guard(&keys, life).await?);
        }
        Ok(())
    }

    fn leave_guard(&mut self) {
        self.guard = None;
    }

    async fn settle(&mut self) -> Result<()> {
        if self.all {
            self.cache.clear().await?;
            self.all = false;
            self.tags.clear();
            if self.guard.is_none() {
                self.keys.clear();
            }
        }
        let keys = self.settle_keys().await;
        let tags = self.settle_tags().await;
        keys.and(tags)
    }
}
