//! Servers that a test starts for itself: processes on free loopback ports, in a temporary folder, ended with the
//! test.
//!
//! They are started from the binaries on the machine. If one is missing, [`Binary::find`] reports it on standard
//! error and the test is skipped; with `CI=true` the test fails.

mod folder;
#[cfg(unix)]
mod mariadb;
#[cfg(unix)]
mod postgres;
mod process;
mod redis;
mod resp;

pub use folder::Folder;
#[cfg(unix)]
pub use mariadb::MariadbServer;
#[cfg(unix)]
pub use postgres::PostgresServer;
pub use process::{Binary, Process, free_port};
pub use redis::{RedisCluster, RedisSentinels, RedisServer, Shared};
