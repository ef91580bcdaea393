//! A store of one's own as a backend: `cargo run -p larder-examples --example 06_own_backend`

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder::backend::{BackendContext, Displaced, Entry, Local, LocalStore, Recency};
use larder::{Cache, Strategy};

/// A map that forgets everything when it is full. A store in the process knows nothing of loads, fences or clocks:
/// `Local` adds them.
#[derive(Debug)]
struct Forgetful {
    entries: Mutex<HashMap<u64, Entry<String>>>,
    scope: BackendContext, // the cache's: evictions are counted there
}

impl Forgetful {
    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Entry<String>>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalStore<u64, String> for Forgetful {
    fn get(&self, key: &u64, _recency: Recency) -> Option<Entry<String>> {
        self.entries().get(key).cloned()
    }

    fn insert(&self, key: u64, entry: Entry<String>, _remaining: Duration) -> Displaced<'_, String> {
        let mut entries = self.entries();
        // nothing is dropped in here, since the caller holds a lock: what goes is given back
        let all = if entries.len() >= 100 { std::mem::take(&mut *entries) } else { HashMap::new() };
        let replaced = entries.insert(key, entry);
        Displaced::evicted(all.into_values().collect(), &self.scope).and(replaced)
    }

    fn remove(&self, key: &u64) -> Displaced<'_, String> {
        self.entries().remove(key).into()
    }

    fn clear(&self) {
        self.entries().clear();
    }
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let cache: Cache<u64, String> = Cache::builder()
        .backend(Local::new(Forgetful { entries: Mutex::default(), scope: BackendContext::unnamed() }))
        .strategy(Strategy::aside(Duration::from_secs(60)))
        .build()?;
    for key in [1, 2, 1, 2] {
        cache
            .get_or_load(&key, move || async move { Ok::<_, std::io::Error>(format!("value {key}")) })
            .await?;
    }
    println!("{}", cache.stats());
    assert_eq!(cache.stats().loads, 2);
    Ok(())
}
