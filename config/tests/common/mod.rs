//! The program that every line must run.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::cache::Origin;
use larder::key::KeyWriter;
use larder::{Cache, CacheKey, Strategy, Tag, source_fn};
use larder_config::{Store, StoreConfig};
use serde::{Deserialize, Serialize};

/// The maximum time until another process's change is noticed, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// A key of a user's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Page {
    pub(crate) site: String,
    pub(crate) number: u32,
}

impl CacheKey for Page {
    fn encode(&self, key: &mut KeyWriter) {
        (self.site.as_str(), self.number).encode(key);
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Text {
    pub(crate) title: String,
    pub(crate) words: Vec<String>,
    pub(crate) price: Option<i64>,
}

pub(crate) fn page(number: u32) -> Page {
    Page { site: "news".into(), number }
}

pub(crate) fn text(number: u32) -> Text {
    Text { title: format!("page {number}"), words: vec!["word".into(); 200], price: None }
}

/// A namespace that no other test has.
pub(crate) fn namespace() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!("config-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

pub(crate) struct Process {
    pub(crate) store: Store,
    pub(crate) cache: Cache<Page, Text>,
    pub(crate) loads: Arc<AtomicU64>,
}

/// One process of the program: nothing in it names a backend.
pub(crate) async fn process(line: &str, namespace: &str) -> Process {
    let store = line.parse::<StoreConfig>().unwrap_or_else(|error| panic!("{line}: {error}"));
    let store = store.connect().await.unwrap_or_else(|error| panic!("{line}: {error:?}"));
    let loads = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&loads);
    let cache = Cache::builder()
        .namespace(namespace)
        .backend(store.clone())
        .source(source_fn(move |page: Page| {
            counted.fetch_add(1, Ordering::Relaxed);
            async move { Ok::<_, std::io::Error>(Some(text(page.number))) }
        }))
        .strategy(
            Strategy::aside(Duration::from_secs(60))
                .locked(store.locks())
                .tagged(|text: &Text| [Tag::new("title", &text.title)]),
        )
        .build()
        .unwrap();
    Process { store, cache, loads }
}

/// Checks the behaviour of every line: load once, serve, invalidate by key and by tag, read many. Returns the origin
/// of the second read.
pub(crate) async fn works(line: &str) -> Origin {
    let process = process(line, &namespace()).await;
    let cache = &process.cache;
    let first = cache.get_entry(&page(1)).await.unwrap();
    assert_eq!((first.origin, first.value.as_deref()), (Origin::Loaded, Some(&text(1))), "{line}");
    let mut second = cache.get_entry(&page(1)).await.unwrap();
    // a server tells a process of its own fill too, which costs a near tier one more read
    let began = std::time::Instant::now();
    while line.starts_with("tiered") && second.origin != Origin::Near && began.elapsed() < PATIENCE {
        tokio::time::sleep(Duration::from_millis(5)).await;
        second = cache.get_entry(&page(1)).await.unwrap();
    }
    assert_eq!(second.value.as_deref(), Some(&text(1)), "{line}: {}", cache.stats());
    cache.invalidate(&page(1)).await.unwrap();
    assert!(cache.get_if_present(&page(1)).await.unwrap().is_none(), "{line}");
    let pages: Vec<Page> = (1..=20).map(page).collect();
    assert_eq!(cache.get_many(&pages).await.unwrap().iter().flatten().count(), 20, "{line}");
    cache.invalidate_tag(&Tag::new("title", "page 7")).await.unwrap();
    assert!(cache.get_if_present(&page(7)).await.unwrap().is_none(), "{line}");
    assert!(cache.get_if_present(&page(8)).await.unwrap().is_some(), "{line}");
    assert_eq!(process.loads.load(Ordering::Relaxed), 21, "{line}");
    let stats = cache.stats();
    assert_eq!((stats.backend_errors, stats.undecodable), (0, 0), "{line}: {stats}");
    second.origin
}

/// Checks a line whose store is shared: the other process reads the entry that one process loads, and no longer finds
/// it after one invalidates it, at once or within the bound.
pub(crate) async fn is_shared(line: &str) {
    let namespace = namespace();
    let (one, two) = (process(line, &namespace).await, process(line, &namespace).await);
    one.cache.get(&page(1)).await.unwrap();
    assert!(two.cache.get(&page(1)).await.unwrap().is_some());
    assert_eq!(two.loads.load(Ordering::Relaxed), 0, "{line}: the other process has it");
    one.cache.invalidate(&page(1)).await.unwrap();
    let began = std::time::Instant::now();
    while two.cache.get_if_present(&page(1)).await.unwrap().is_some() {
        assert!(began.elapsed() < PATIENCE, "{line}: never told");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // one of many that ask at once is elected
    let second = page(2);
    let (a, b) = tokio::join!(one.cache.get(&second), two.cache.get(&second));
    assert_eq!((a.unwrap().as_deref(), b.unwrap().as_deref()), (Some(&text(2)), Some(&text(2))));
}
