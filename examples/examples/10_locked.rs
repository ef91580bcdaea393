//! One loader among processes: `cargo run -p larder-examples --example 10_locked`

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::codec::Json;
use larder::lock::{LockTimeout, Locking};
use larder::{Cache, Strategy, source_fn};
use larder_memory::MemoryServer;

#[tokio::main]
async fn main() -> larder::Result<()> {
    let (server, queries) = (MemoryServer::new(), Arc::new(AtomicUsize::new(0)));
    let report = |process: &str| -> larder::Result<Cache<String, u64>> {
        let (memory, queries) = (server.connect(process), Arc::clone(&queries));
        Cache::builder()
            .namespace("report")
            .backend(memory.encoded(Json))
            .source(source_fn(move |_month: String| {
                let queries = Arc::clone(&queries);
                async move {
                    queries.fetch_add(1, Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(300)).await; // a dear query
                    Ok::<_, std::io::Error>(Some(42))
                }
            }))
            .strategy(Strategy::aside(Duration::from_secs(600)).locked(
                Locking::new(memory.locks()).max_wait(Duration::from_secs(5)).on_timeout(LockTimeout::Fail),
            ))
            .build()
    };
    let mut readers = tokio::task::JoinSet::new();
    for process in ["one", "two", "three", "four"] {
        let cache = report(process)?;
        for _ in 0..100 {
            let cache = cache.clone();
            readers.spawn(async move { cache.get(&"2026-10".to_owned()).await });
        }
    }
    while let Some(answer) = readers.join_next().await {
        assert_eq!(answer.expect("no reader panics")?.as_deref(), Some(&42));
    }
    println!("400 readers in 4 processes, {} query", queries.load(Ordering::SeqCst));
    assert_eq!(queries.load(Ordering::SeqCst), 1);
    Ok(())
}
