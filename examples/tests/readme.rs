//! The snippets of README.md, compiled: its code blocks must occur in this file, line by line.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the snippets are compiled and not run")]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use larder::codec::Json;
use larder::{Cache, Quick, Strategy, Tiered};
use larder_redis::RedisBackend;
use larder_sqlx::QuerySource;
use sqlx::SqlitePool;

#[derive(serde::Serialize, serde::Deserialize, sqlx::FromRow)]
struct User {
    id: i64,
    name: String,
}

/// The client of the hand-written version.
trait Redis {
    async fn get(&self, id: u64) -> io::Result<Option<User>>;
    async fn set_ex(&self, id: u64, user: &User, seconds: u64) -> io::Result<()>;
}

/// The source of the hand-written version.
trait Database {
    async fn find_user(&self, id: u64) -> io::Result<User>;
}

#[rustfmt::skip]
async fn user(redis: &impl Redis, database: &impl Database, id: u64) -> io::Result<User> {
    if let Some(user) = redis.get(id).await? {
        return Ok(user);
    }
    let user = database.find_user(id).await?; // reads the old row
    // Meanwhile a writer commits a new row and deletes the key.
    redis.set_ex(id, &user, 600).await?;      // stores the old row for ten minutes
    Ok(user)
}

#[rustfmt::skip]
async fn with_larder(redis: &RedisBackend, pool: SqlitePool) -> larder::Result<()> {
    let users: Cache<u64, User> = Cache::builder()
        .namespace("user")
        .backend(redis.encoded(Json)) // in process: Quick::new(10_000)
        .source(QuerySource::new(pool, "SELECT id, name FROM users WHERE id = ?"))
        .strategy(Strategy::aside(Duration::from_secs(600)))
        .build()?;
    let user: Option<Arc<User>> = users.get(&7).await?; // concurrent callers share one load
    users.invalidate(&7).await?;                        // after the commit of a write
    drop(user);
    Ok(())
}

/// The expressions in the text of README.md.
fn inline(redis: &RedisBackend) {
    let strategy = Strategy::aside(Duration::from_secs(600)).locked(redis.locks());
    let in_process = Cache::<u64, User>::builder().backend(Quick::new(10_000)).strategy(strategy);
    let tiers = Tiered::new(Quick::new(10_000), redis.encoded(Json));
    drop((in_process, Cache::<u64, User>::builder().backend(tiers)));
}

/// Returns `text` without the indentation of its lines.
fn flush(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_snippet_of_the_readme_is_compiled_here() {
    let readme = include_str!("../../README.md");
    let own = flush(include_str!("readme.rs"));
    let snippets: Vec<&str> =
        readme.split("```rust\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!snippets.is_empty());
    for snippet in snippets {
        assert!(
            own.contains(flush(snippet).trim()),
            "copy this into a function of tests/readme.rs:\n{snippet}"
        );
    }
}
