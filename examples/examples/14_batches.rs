//! Many keys in one query: `cargo run -p larder-examples --example 14_batches`

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use larder::source::{BatchResults, BatchSource};
use larder::{Cache, Quick, Source, Strategy};

struct Users;

static QUERIES: AtomicUsize = AtomicUsize::new(0);

fn user(id: u64) -> Result<Option<String>, std::io::Error> {
    if id == 13 { Err(std::io::Error::other("a broken row")) } else { Ok(Some(format!("user {id}"))) }
}

impl Source<u64> for Users {
    type Value = String;
    type Error = std::io::Error;

    async fn load(&self, id: &u64) -> Result<Option<String>, Self::Error> {
        QUERIES.fetch_add(1, Ordering::SeqCst);
        user(*id)
    }
}

impl BatchSource<u64> for Users {
    async fn load_many(&self, ids: &[u64]) -> Result<Vec<Option<String>>, Self::Error> {
        self.load_each(ids).await?.into_iter().collect()
    }

    /// Only needed by a source that can fail for some keys and not for others.
    async fn load_each(&self, ids: &[u64]) -> Result<BatchResults<String, Self::Error>, Self::Error> {
        QUERIES.fetch_add(1, Ordering::SeqCst);
        Ok(ids.iter().map(|id| user(*id)).collect())
    }
}

#[tokio::main]
async fn main() -> larder::Result<()> {
    let users: Cache<u64, String> = Cache::builder()
        .backend(Quick::new(1_000))
        .batch_source(Users)
        // single misses wait 2 ms for others, up to a hundred
        .strategy(
            Strategy::aside(Duration::from_secs(60)).batch_window(Duration::from_millis(2)).max_batch(100),
        )
        .build()?;
    users.get_many(&[1, 2, 3, 2]).await?;
    println!("three users in {} query", QUERIES.swap(0, Ordering::SeqCst));

    let mut readers = tokio::task::JoinSet::new();
    for id in 20..70 {
        let users = users.clone();
        readers.spawn(async move { users.get(&id).await });
    }
    readers.join_all().await.into_iter().collect::<larder::Result<Vec<_>>>()?;
    println!("fifty tasks, each after a user of its own: {} queries", QUERIES.swap(0, Ordering::SeqCst));

    let error = users.get_many(&[12, 13, 14]).await.expect_err("one row is broken");
    println!("{error}");
    for (id, answer) in [12, 13, 14].into_iter().zip(users.get_many_entries(&[12, 13, 14]).await?) {
        println!("  {id}: {:?}", answer.map(|found| found.value));
    }
    Ok(())
}
