//! The server in memory as a store of the simulation.

use std::sync::{Arc, Mutex, PoisonError};

use larder::codec::Json;
use larder::{Encoded, LockProvider, TagLedger as _, Timestamp};
use larder_memory::{Fault, FaultId, Memory, MemoryServer, Snapshot};
use larder_testkit::sim::{Setup, Store, Trouble};

/// A server, and what its administrator keeps.
pub(crate) struct Server {
    server: MemoryServer,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    snapshot: Option<Snapshot>,
    losing: Option<FaultId>,
}

/// The server's clock, which is nobody else's.
#[derive(Debug)]
struct ServerClock(tokio::time::Instant);

impl larder::Clock for ServerClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(86_400_000_000_000).saturating_add(self.0.elapsed())
    }

    fn recent(&self) -> Timestamp {
        self.now()
    }
}

impl Store for Server {
    type Far = Encoded<Memory, Json>;

    fn open(setup: &Setup) -> Self {
        let server = MemoryServer::with_clock(ServerClock(tokio::time::Instant::now())).seed(setup.seed());
        let server = match setup.capacity() {
            Some(most) => server.capacity(most),
            None => server,
        };
        Self { server, kept: Mutex::default() }
    }

    fn connect(&self, process: &str) -> Self::Far {
        self.server.connect(process).encoded(Json)
    }

    fn locks(&self, process: &str) -> Option<Arc<dyn LockProvider>> {
        Some(Arc::new(self.server.connect(process).locks()))
    }

    fn suffers(&self, trouble: &Trouble) -> bool {
        let server = &self.server;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Trouble::Flush => server.flush(),
            Trouble::RestartEmpty => server.restart_empty(),
            Trouble::Remember => kept.snapshot = Some(server.snapshot()),
            Trouble::Forget => match &kept.snapshot {
                Some(snapshot) => {
                    server.restart_from(snapshot);
                    // what strict mode is with Redis: another server, or one that was restarted, is another ledger
                    server.evict_ledger("simulated");
                }
                None => return false,
            },
            Trouble::Evict(count) => _ = server.evict_some(*count),
            Trouble::EvictLedger => server.evict_ledger("simulated"),
            Trouble::PruneTags => {
                let ledger = server.connect("administrator").ledger("simulated");
                tokio::spawn(async move { _ = ledger.prune(u64::MAX).await });
            }
            Trouble::LosePushes(true) => {
                let begin = || server.faults().when(|_| true, Fault::DropPushes);
                kept.losing = kept.losing.or_else(|| Some(begin()));
            }
            Trouble::LosePushes(false) => match kept.losing.take() {
                Some(fault) => server.faults().remove(fault),
                None => return false,
            },
            Trouble::Cut(process) => server.connect(process.as_str()).disconnect(),
            Trouble::Mend(process) => server.connect(process.as_str()).reconnect(),
            _ => return false,
        }
        true
    }

    fn left(&self) -> Vec<String> {
        match self.server.fences() {
            0 => vec![],
            fences => vec![format!("{fences} fences")],
        }
    }
}
