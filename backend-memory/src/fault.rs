//! Faults on request, and the rules that select their operations.

use std::fmt;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::record::Operation;

/// A fault of an operation.
///
/// Delays use tokio's timers: they need its runtime, and end at once if its time is paused.
///
/// # Examples
/// ```
/// use larder_memory::{Fault, MemoryServer, OperationKind};
/// let server = MemoryServer::new();
/// server.faults().when(|operation| operation.kind == OperationKind::Get, Fault::Error);
/// server.faults().clear();
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    /// The operation fails and is not executed, like a refused connection or a lost request.
    Error,
    /// The operation is executed, and its reply is lost: the caller gets an error.
    LoseReply,
    /// The operation is never executed and never answered. Its future can only be dropped, as a timeout does.
    Hang,
    /// The operation is executed after this delay.
    Delay(Duration),
    /// The operation is executed at once, and answered after this delay.
    DelayReply(Duration),
    /// The operation is executed when the gate opens.
    Gate(Gate),
    /// The operation is executed at once, and answered when the gate opens.
    GateReply(Gate),
    /// A read returns the stored bytes with one bit flipped. Other operations are not affected.
    Corrupt,
    /// The operation is executed, and the pushes that it causes are lost.
    DropPushes,
    /// The operation is executed at once and answered, and executed again after this delay. It simulates a client
    /// library that sent it twice, with the first copy delayed in the network.
    Twice(Duration),
    /// The operation is executed at once, and its reply is lost. After this delay it is executed again and answered. It
    /// simulates a client library that sent it again.
    Resent(Duration),
}

/// A gate at which operations wait until a test opens it.
///
/// # Examples
/// ```
/// # use larder_memory::{Fault, Gate, MemoryServer, OperationKind};
/// let server = MemoryServer::new();
/// let gate = Gate::new();
/// server.faults().when(|operation| operation.kind == OperationKind::Get, Fault::GateReply(gate.clone()));
/// // ... start a read; then, in an async test: gate.arrived().await; do something in between;
/// gate.open();
/// ```
#[derive(Debug, Clone)]
pub struct Gate {
    arrived: Arc<Semaphore>,
    opened: Arc<Semaphore>,
}

impl Gate {
    /// Creates a closed gate.
    ///
    /// # Examples
    /// ```
    /// let gate = larder_memory::Gate::new();
    /// gate.open();
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self { arrived: Arc::new(Semaphore::new(0)), opened: Arc::new(Semaphore::new(0)) }
    }

    /// Waits until one more operation has reached the gate. Each is counted once.
    ///
    /// # Cancellation safety
    /// Safe: only a wait that completes consumes an arrival.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::{Fault, Gate, MemoryServer};
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let (server, gate) = (MemoryServer::new(), Gate::new());
    /// server.faults().when(|_| true, Fault::Gate(gate.clone()));
    /// let ledger = server.connect("shop").ledger("product");
    /// let asked = tokio::spawn(async move { larder::tag::TagLedger::stamp(&ledger).await });
    /// gate.arrived().await; // the operation waits
    /// gate.open();
    /// assert!(asked.await.unwrap().is_ok());
    /// # }
    /// ```
    pub async fn arrived(&self) {
        if let Ok(permit) = self.arrived.acquire().await {
            permit.forget();
        }
    }

    /// Opens the gate for all operations, waiting and future.
    ///
    /// # Examples
    /// ```
    /// let gate = larder_memory::Gate::new();
    /// gate.open();
    /// ```
    pub fn open(&self) {
        self.opened.close();
    }

    pub(crate) async fn pass(&self) {
        self.arrived.add_permits(1);
        // an open gate is a closed semaphore
        _ = self.opened.acquire().await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

type Predicate = Arc<dyn Fn(&Operation) -> bool + Send + Sync>;

#[derive(Clone)]
struct Rule {
    id: u64,
    matches: Predicate,
    fault: Fault,
    left: Option<u64>,
}

/// The fault rules of a server. The first rule that matches an operation applies.
///
/// # Examples
/// See [`Fault`].
#[derive(Clone, Default)]
pub struct Faults {
    rules: Arc<Mutex<Vec<Rule>>>,
    next: Arc<AtomicU64>,
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("rules", &self.rules().len()).finish()
    }
}

/// The identifier of a rule, for [`Faults::remove`].
///
/// # Examples
/// ```
/// use larder_memory::{Fault, MemoryServer};
/// let faults = MemoryServer::new().faults();
/// let id = faults.when(|_| true, Fault::Error);
/// faults.remove(id);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaultId(u64);

impl Faults {
    fn rules(&self) -> MutexGuard<'_, Vec<Rule>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a rule: from now on, `fault` applies to every operation that matches.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::{Fault, Gate, MemoryServer, OperationKind};
    /// let faults = MemoryServer::new().faults();
    /// faults.when(|operation| operation.kind == OperationKind::Fill, Fault::LoseReply);
    /// ```
    pub fn when(
        &self,
        matches: impl Fn(&Operation) -> bool + Send + Sync + 'static,
        fault: Fault,
    ) -> FaultId {
        self.add(Arc::new(matches), fault, None)
    }

    /// Adds a rule: `fault` applies to the next `count` operations that match. If `count` is 0, it applies to none.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::{Fault, Gate, MemoryServer, OperationKind};
    /// let faults = MemoryServer::new().faults();
    /// faults.times(3, |_| true, Fault::Error);
    /// ```
    pub fn times(
        &self,
        count: u64,
        matches: impl Fn(&Operation) -> bool + Send + Sync + 'static,
        fault: Fault,
    ) -> FaultId {
        self.add(Arc::new(matches), fault, Some(count))
    }

    fn add(&self, matches: Predicate, fault: Fault, left: Option<u64>) -> FaultId {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        // a rule in the list is good for one operation at least
        if left != Some(0) {
            self.rules().push(Rule { id, matches, fault, left });
        }
        FaultId(id)
    }

    /// Removes one rule. Operations that hang because of it continue to hang.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::{Fault, Gate, MemoryServer, OperationKind};
    /// let faults = MemoryServer::new().faults();
    /// let down = faults.when(|_| true, Fault::Error);
    /// faults.remove(down);
    /// ```
    pub fn remove(&self, id: FaultId) {
        self.rules().retain(|rule| rule.id != id.0);
    }

    /// Removes all rules. Operations that hang continue to hang.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::{Fault, Gate, MemoryServer, OperationKind};
    /// let faults = MemoryServer::new().faults();
    /// faults.when(|_| true, Fault::Error);
    /// faults.clear();
    /// ```
    pub fn clear(&self) {
        self.rules().clear();
    }

    /// Returns the fault of this operation, and uses up one application of its rule.
    pub(crate) fn strike(&self, operation: &Operation) -> Option<Fault> {
        loop {
            // the user's predicate runs without our lock, so another operation may use the rule up meanwhile
            let candidates = self.rules().clone();
            let found = candidates.into_iter().find(|rule| (rule.matches)(operation))?;
            if self.spend(found.id) {
                return Some(found.fault);
            }
        }
    }

    /// Counts one application of a rule. Returns `false` if the rule no longer exists.
    fn spend(&self, id: u64) -> bool {
        let mut rules = self.rules();
        let Some(rule) = rules.iter_mut().find(|rule| rule.id == id) else { return false };
        rule.left = rule.left.map(|left| left - 1);
        rules.retain(|rule| rule.left != Some(0));
        true
    }
}

impl Fault {
    /// Applies the part of the fault before the execution. Returns `false` if the operation is not executed.
    pub(crate) async fn before(&self) -> bool {
        match self {
            Self::Error => return false,
            Self::Hang => pending::<()>().await,
            Self::Delay(delay) => tokio::time::sleep(*delay).await,
            Self::Gate(gate) => gate.pass().await,
            Self::LoseReply
            | Self::DelayReply(_)
            | Self::GateReply(_)
            | Self::Corrupt
            | Self::DropPushes
            | Self::Twice(_)
            | Self::Resent(_) => {}
        }
        true
    }

    /// Returns `true` if the operation is executed twice.
    pub(crate) fn repeats(&self) -> bool {
        matches!(self, Self::Twice(_) | Self::Resent(_))
    }

    /// Applies the part of the fault after the execution. Returns `false` if the reply is lost.
    pub(crate) async fn after(&self) -> bool {
        match self {
            Self::LoseReply => return false,
            Self::DelayReply(delay) | Self::Resent(delay) => tokio::time::sleep(*delay).await,
            Self::GateReply(gate) => gate.pass().await,
            _ => {}
        }
        true
    }
}
