//! A store of one's own as a backend: `cargo run -p larder-examples --example 06_own_backend`

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use larder::{Cache, Entry, Local, LocalStore, Strategy};

/// A map that forgets everything when it is full. A store in the process knows nothing of loads, fences or clocks:
/// `Local` adds them.
#[derive(Debug, Default)]
struct Forgetful(Mutex<HashMap<u64, Entry<String>>>);

impl Forgetful {
    fn entries(&self) -> MutexGuard<'_, HashMap<u64, Entry<String>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalStore<u64, String> for Forgetful {
    fn get(&self, key: &u64) -> Option<Entry<String>> {
        self.entries().get(key).cloned()
    }

    fn insert(&self, key: u64, entry: Entry<String>, _remaining: Duration) {
        let mut entries = self.entries();
        if entries.len() >= 100 {
            entries.clear();
        }
        entries.insert(key, entry);
    }

    fn remove(&self, key: &u64) {
        self.entries().remove(key);
    }

    fn clear(&self) {
        self.entries().clear();
    }
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let cache: Cache<u64, String> = Cache::builder()
        .backend(Local::new(Forgetful::default()))
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
