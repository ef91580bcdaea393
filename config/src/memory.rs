//! The stores `memory://`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use larder_memory::{Memory as Handle, MemoryServer};

use crate::kind::Memory;

/// The named servers, which live as long as the process, like a server that is never stopped.
static NAMED: Mutex<Option<HashMap<String, MemoryServer>>> = Mutex::new(None);

/// Returns the server of `memory://<name>`, to inspect it or to make it fail.
///
/// # Examples
/// ```
/// use larder_config::{StoreConfig, memory_server};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> larder::Result<()> {
/// let store = "memory://doc-example".parse::<StoreConfig>()?.connect().await?;
/// memory_server("doc-example").down();
/// # Ok(()) }
/// ```
#[must_use]
pub fn memory_server(name: &str) -> MemoryServer {
    let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
    named.get_or_insert_default().entry(name.to_owned()).or_default().clone()
}

/// Connects a new process to the server.
pub(crate) fn connect(memory: &Memory) -> Handle {
    static PROCESS: AtomicU64 = AtomicU64::new(1);
    let server = memory.name.as_deref().map_or_else(MemoryServer::new, memory_server);
    let server = match memory.max.map(usize::try_from) {
        Some(max) => server.capacity(max.unwrap_or(usize::MAX)),
        None => server,
    };
    server.connect(format!("process {}", PROCESS.fetch_add(1, Ordering::Relaxed)))
}
