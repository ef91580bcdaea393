//! The server in memory as a store of the simulation.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use larder::LockProvider;
use larder::backend::Encoded;
use larder::clock::Timestamp;
use larder::codec::Json;
use larder::tag::TagLedger as _;
use larder_memory::{Fault, FaultId, Memory, MemoryServer, Operation, OperationKind, Outcome, Snapshot};
use larder_testkit::check::{History, Step, What};
use larder_testkit::sim::{Setup, Store, Trouble};

/// A server, and what its administrator keeps.
pub(crate) struct Server {
    server: MemoryServer,
    kept: Mutex<Kept>,
    random: Mutex<Rng>,
}

#[derive(Default)]
struct Kept {
    snapshot: Option<Snapshot>,
    losing: Option<FaultId>,
    repeating: Vec<FaultId>,
}

/// The clock of the server alone.
#[derive(Debug)]
struct ServerClock(tokio::time::Instant);

impl larder::clock::Clock for ServerClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_nanos(86_400_000_000_000).saturating_add(self.0.elapsed())
    }

    fn recent(&self) -> Timestamp {
        self.now()
    }
}

impl Server {
    /// For some time, some requests are executed twice: one of them some time later. Answers whether that is anything new.
    fn repeat(&self, kept: &mut Kept, time: Duration) -> bool {
        let faults = self.server.faults();
        let ended = kept.repeating.drain(..).map(|id| faults.remove(id)).count() > 0;
        if time.is_zero() {
            return ended;
        }
        let random = Arc::new(Mutex::new(self.random.lock().unwrap_or_else(PoisonError::into_inner).fork()));
        let until = tokio::time::Instant::now() + time;
        for millis in [2, 30, 300, 1_500] {
            let late = random.lock().unwrap_or_else(PoisonError::into_inner).u64(0..=millis);
            let late = Duration::from_millis(late);
            for fault in [Fault::Twice(late), Fault::Resent(late)] {
                let random = Arc::clone(&random);
                let strikes = move |_: &Operation| {
                    tokio::time::Instant::now() < until
                        && random.lock().unwrap_or_else(PoisonError::into_inner).u8(..100) < 5
                };
                kept.repeating.push(faults.when(strikes, fault));
            }
        }
        true
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
        let random = Mutex::new(Rng::with_seed(setup.seed() ^ 0x2e_5e4d));
        Self { server, kept: Mutex::default(), random }
    }

    fn observe(&self, history: &History) {
        let history = history.clone();
        self.server.observe(move |operation| {
            let Some(step) = executed(operation) else { return };
            if operation.kind == OperationKind::Clear {
                return history.record(0, What::Executed { key: None, step });
            }
            for key in operation.keys.iter().filter_map(|key| key.parse().ok()) {
                history.record(0, What::Executed { key: Some(key), step });
            }
        });
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
                tokio::spawn(async move { _ = ledger.prune(u64::MAX, Duration::MAX).await });
            }
            Trouble::LosePushes(true) => {
                let begin = || server.faults().when(|_| true, Fault::DropPushes);
                kept.losing = kept.losing.or_else(|| Some(begin()));
            }
            Trouble::LosePushes(false) => match kept.losing.take() {
                Some(fault) => server.faults().remove(fault),
                None => return false,
            },
            Trouble::Repeat(time) => return self.repeat(&mut kept, *time),
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

/// Returns the step of the protocol that an operation was, if it was one.
fn executed(operation: &Operation) -> Option<Step> {
    let version =
        || operation.value.as_deref().and_then(|json| std::str::from_utf8(json).ok()).and_then(version_of);
    let fence = operation.fence.unwrap_or_default();
    Some(match (operation.kind, operation.outcome) {
        (_, Outcome::Failed) => return None,
        (OperationKind::Begin, Outcome::Granted) => Step::Granted { fence, joined: false },
        (OperationKind::Begin, Outcome::Joined) => Step::Granted { fence, joined: true },
        (OperationKind::Begin | OperationKind::Get, Outcome::Found(1)) => Step::Found { version: version() },
        (OperationKind::Fill, Outcome::Done) => Step::Filled { fence, version: version() },
        (OperationKind::Fill, Outcome::Refused) => Step::Ended { fence },
        (OperationKind::Release, Outcome::Done) => Step::Ended { fence },
        (OperationKind::Put, Outcome::Done) => Step::Put,
        (OperationKind::Remove | OperationKind::RemoveMany | OperationKind::Clear, _) => Step::Removed,
        (OperationKind::Guard | OperationKind::Unguard, _) => Step::Removed,
        _ => return None,
    })
}

/// Returns the version in a value, which is written as `[key,version]`.
fn version_of(json: &str) -> Option<u64> {
    json.trim_end_matches(']').rsplit(',').next()?.trim().parse().ok()
}
