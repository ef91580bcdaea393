//! The command line, and the cache that it asks for.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use larder::codec::Json;
use larder::{Cache, Quick, Strategy};
use larder_memory::MemoryServer;
use larder_moka::Moka;
use larder_redis::RedisBackend;
use larder_sqlx::QuerySource;

use crate::shop::{self, Product, Shop};

/// Reads a SQLite shop without and with a larder cache, and compares.
#[derive(Debug, Parser)]
#[command(name = "quickstart")]
pub(crate) struct Args {
    /// The store of the cache's entries
    #[arg(long, value_enum, default_value_t = Backend::Quick)]
    pub(crate) backend: Backend,
    /// Keep the entries in the Redis at this URL instead, and share them between two processes
    #[arg(long, value_name = "URL", conflicts_with = "backend")]
    pub(crate) redis: Option<String>,
    /// The database of the process that started this one
    #[arg(long, value_name = "PATH", hide = true, requires = "redis")]
    pub(crate) join: Option<PathBuf>,
    /// The number of products in the database
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    pub(crate) keys: u32,
    /// The duration of the run in seconds, without generating the database
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Backend {
    /// a cache server in this process, entries as JSON
    Memory,
    /// in-process, on moka
    Moka,
    /// in-process, on `quick_cache`
    Quick,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Memory => "memory",
            Self::Moka => "moka",
            Self::Quick => "quick",
        })
    }
}

impl Args {
    /// A quarter of the time without a cache, the rest with it.
    pub(crate) fn phases(&self) -> (Duration, Duration) {
        let all = Duration::from_secs(self.seconds);
        (all / 4, all * 3 / 4)
    }

    /// Room for a fifth of the products, so that the cache has to choose.
    fn capacity(&self) -> u64 {
        u64::from(self.keys) / 5
    }

    /// Returns the place of the entries, for people.
    pub(crate) fn place(&self) -> String {
        match &self.redis {
            Some(_) => "Redis, shared by two processes".to_owned(),
            None => self.backend.to_string(),
        }
    }

    pub(crate) async fn cache(&self, shop: &Shop) -> larder::Result<Cache<i64, Product>> {
        let builder = Cache::builder()
            .namespace("product")
            .source(QuerySource::new(shop.pool().clone(), shop::BY_ID))
            .strategy(Strategy::aside(Duration::from_secs(600)).jitter(0.1));
        if let Some(url) = &self.redis {
            let redis = RedisBackend::connect(url).await?;
            return builder.backend(redis.encoded(Json)).build();
        }
        match self.backend {
            Backend::Quick => builder.backend(Quick::new(self.capacity())),
            Backend::Moka => builder.backend(Moka::new(self.capacity())),
            Backend::Memory => builder.backend(MemoryServer::new().connect("shop").encoded(Json)),
        }
        .build()
    }
}
