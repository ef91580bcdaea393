//! The snippets of README.md: what is written there is what is compiled here, line by line.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(dead_code, reason = "the snippets are compiled; what they need is not there")]

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

#[rustfmt::skip]
async fn the_first(pool: SqlitePool) -> larder::Result<()> {
    let users: Cache<u64, User> = Cache::builder()
        .backend(Quick::new(10_000))
        .source(QuerySource::new(pool, "SELECT id, name FROM users WHERE id = ?"))
        .strategy(Strategy::aside(Duration::from_secs(600)))
        .build()?;
    let user: Option<Arc<User>> = users.get(&7).await?;  // one load however many ask; a hit allocates nothing
    users.invalidate(&7).await?;                         // after a write
    drop(user);
    Ok(())
}

#[rustfmt::skip]
async fn with_redis(pool: SqlitePool) -> larder::Result<()> {
    let redis = RedisBackend::connect("redis://localhost").await?;   // or redis-cluster://, redis-sentinel://, rediss://, redis+unix://
    let users: Cache<u64, User> = Cache::builder()
        .namespace("user")
        .backend(redis.encoded(Json))
        .source(QuerySource::new(pool, "SELECT id, name FROM users WHERE id = ?"))
        .strategy(Strategy::aside(Duration::from_secs(600)).locked(redis.locks()))
        .build()?;
    drop(users);
    let builder = Cache::<u64, User>::builder()
        .backend(Tiered::new(Quick::new(10_000), redis.encoded(Json)));
    drop(builder);
    Ok(())
}

/// A text without the indentation of its lines.
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
