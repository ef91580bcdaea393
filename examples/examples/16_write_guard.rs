//! A writer that dies between commit and invalidation: `cargo run -p larder-examples --example 16_write_guard`

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use larder::codec::Json;
use larder::{Cache, Strategy, source_fn};
use larder_memory::MemoryServer;

#[tokio::main]
async fn main() -> larder::Result<()> {
    let (server, row) = (MemoryServer::new(), Arc::new(AtomicU64::new(1)));
    let process = |name: &str| -> larder::Result<Cache<u64, u64>> {
        let row = Arc::clone(&row);
        Cache::builder()
            .namespace("account")
            .backend(server.connect(name).encoded(Json))
            .source(source_fn(move |_id: u64| {
                let row = row.load(Ordering::SeqCst);
                async move { Ok::<_, std::io::Error>(Some(row)) }
            }))
            .strategy(Strategy::aside(Duration::from_secs(3_600)))
            .build()
    };
    let (writer, reader) = (process("writer")?, process("reader")?);
    assert_eq!(reader.get(&7).await?.as_deref(), Some(&1));

    println!("without a guard: the writer commits and dies");
    row.store(2, Ordering::SeqCst);
    println!("  the reader sees {:?}, for an hour", reader.get(&7).await?);
    writer.invalidate(&7).await?;

    println!("with a guard: announced, committed, and then the writer dies");
    assert_eq!(reader.get(&7).await?.as_deref(), Some(&2));
    let guard = writer.write_guard(&[7], Duration::from_millis(200)).await?;
    row.store(3, Ordering::SeqCst);
    drop(guard); // never finished
    println!("  the reader sees {:?} at once, from the source", reader.get(&7).await?);
    assert_eq!(reader.get(&7).await?.as_deref(), Some(&3));
    assert!(reader.get_if_present(&7).await?.is_none(), "nothing is kept while the guard stands");
    tokio::time::sleep(Duration::from_millis(250)).await;
    reader.get(&7).await?;
    println!("  and 200 ms later it is cached again: {:?}", reader.get_if_present(&7).await?);

    println!("in good weather");
    let guard = writer.write_guard(&[7], Duration::from_secs(30)).await?;
    row.store(4, Ordering::SeqCst);
    guard.finish().await?;
    assert_eq!(reader.get(&7).await?.as_deref(), Some(&4));
    Ok(())
}
