//! The handles by which processes connect to the server.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use larder::backend::Encoded;
use larder::clock::Timestamp;
use larder::{Error, Result};
use tokio::sync::mpsc;

use crate::fault::Fault;
use crate::ledger::MemoryLedger;
use crate::lock::MemoryLocks;
use crate::push::{Message, Pushes};
use crate::record::{Answer, Operation, OperationKind, Outcome};
use crate::server::MemoryServer;
use crate::state::{Millis, State, millis};

/// The connection of one process to a [`MemoryServer`]; a cheap handle. A byte store: combine it with a codec.
///
/// # Examples
/// ```
/// use larder::codec::Json;
/// use larder_memory::MemoryServer;
/// let typed = MemoryServer::new().connect("one").encoded(Json);
/// # let _ = typed;
/// ```
#[derive(Clone)]
pub struct Memory {
    server: MemoryServer,
    process: Arc<str>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("process", &self.process).finish_non_exhaustive()
    }
}

/// A request to the server.
pub(crate) struct Request {
    pub(crate) kind: OperationKind,
    pub(crate) namespace: String,
    pub(crate) keys: Vec<String>,
}

impl Memory {
    pub(crate) fn new(server: MemoryServer, process: Arc<str>) -> Self {
        Self { server, process }
    }

    /// Returns the store with values encoded by `codec`.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let typed = MemoryServer::new().connect("shop").encoded(larder::codec::Json);
    /// # let _ = typed;
    /// ```
    pub fn encoded<C>(&self, codec: C) -> Encoded<Self, C> {
        Encoded::new(self.clone(), codec)
    }

    /// Returns the server's locks.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let locks = MemoryServer::new().connect("shop").locks();
    /// # let _ = locks;
    /// ```
    #[must_use]
    pub fn locks(&self) -> MemoryLocks {
        MemoryLocks::new(self.clone())
    }

    /// Returns the tag ledger of a namespace.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let ledger = MemoryServer::new().connect("shop").ledger("product");
    /// # let _ = ledger;
    /// ```
    #[must_use]
    pub fn ledger(&self, namespace: impl Into<String>) -> MemoryLedger {
        MemoryLedger::new(self.clone(), namespace.into())
    }

    /// Returns the pushes that the server sends from now on.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let server = MemoryServer::new();
    /// let mut pushes = server.connect("shop").pushes();
    /// server.flush();
    /// assert!(pushes.try_next().is_some());
    /// ```
    #[must_use]
    pub fn pushes(&self) -> Pushes {
        Pushes(self.subscribe().1)
    }

    /// Disconnects this process. Its operations fail, including those in progress, and pushes to it are lost. All
    /// handles with the same name are one process.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let process = MemoryServer::new().connect("shop");
    /// process.disconnect(); // its operations fail now
    /// process.reconnect();
    /// ```
    pub fn disconnect(&self) {
        self.server.state().cut(&self.process);
    }

    /// Reconnects this process. Its subscribers receive [`Push::Reconnected`](crate::Push::Reconnected) first.
    ///
    /// # Examples
    /// ```
    /// use larder_memory::MemoryServer;
    /// let process = MemoryServer::new().connect("shop");
    /// let mut pushes = process.pushes();
    /// process.disconnect();
    /// process.reconnect();
    /// assert_eq!(pushes.try_next(), Some(larder_memory::Push::Reconnected));
    /// ```
    pub fn reconnect(&self) {
        self.server.state().mend(&self.process);
    }

    /// Returns a number for the process, the same for each of its requests.
    pub(crate) fn number(&self) -> u128 {
        self.process.bytes().fold(1, |number, byte| number << 8 | u128::from(byte))
    }

    pub(crate) fn subscribe(&self) -> (u64, mpsc::UnboundedReceiver<Message>) {
        self.server.state().subscribe(&self.process)
    }

    pub(crate) fn server(&self) -> &MemoryServer {
        &self.server
    }

    /// Returns an error if the process is disconnected from the server.
    pub(crate) fn check(&self) -> Result<(), ServerError> {
        self.server.state().link(&self.process).map(|_| ()).ok_or(ServerError::Disconnected)
    }

    /// Sends a request: applies the fault before it, runs `execute` as one step on the server, then applies the fault
    /// after it.
    ///
    /// A fault may execute the request twice, so `execute` contains only the server's part. Names that the client
    /// chooses are drawn before.
    pub(crate) async fn ask<T: Answer>(
        &self,
        request: Request,
        execute: impl Fn(&mut Step<'_>) -> T + Send + Sync + 'static,
    ) -> Result<T> {
        let kind = request.kind;
        self.send(request, execute).await.map_err(|error| Error::backend(kind.name(), error))
    }

    async fn send<T: Answer>(
        &self,
        request: Request,
        execute: impl Fn(&mut Step<'_>) -> T + Send + Sync + 'static,
    ) -> Result<T, ServerError> {
        let operation = self.operation(request);
        let link = self.server.state().link(&self.process);
        let fault = self.server.faults().strike(&operation);
        if let Some(fault) = &fault
            && !fault.before().await
        {
            self.fail(operation);
            return Err(ServerError::Refused);
        }
        let again = fault.as_ref().filter(|fault| fault.repeats()).map(|_| operation.clone());
        let mut answer = self.execute(operation, link, fault.as_ref(), &execute)?;
        if let Some(fault) = &fault {
            if !fault.after().await {
                return Err(ServerError::ReplyLost);
            }
            if self.server.state().link(&self.process) != link {
                return Err(ServerError::Disconnected);
            }
        }
        match (fault, again) {
            (Some(Fault::Resent(_)), Some(again)) => answer = self.execute(again, link, None, &execute)?,
            (Some(Fault::Twice(late)), Some(again)) => {
                let memory = self.clone();
                drop(tokio::spawn(async move {
                    tokio::time::sleep(late).await;
                    // the request was in flight: a later disconnect of its sender does not stop it
                    _ = memory.run(&mut memory.server.state(), again, None, execute);
                }));
            }
            _ => {}
        }
        Ok(answer)
    }

    fn operation(&self, Request { kind, namespace, keys }: Request) -> Operation {
        let (process, at) = (self.process.to_string(), self.server.now());
        let (outcome, fence, value) = (Outcome::Pending, None, None);
        Operation { sequence: 0, at, process, kind, namespace, keys, outcome, fence, value }
    }

    fn fail(&self, operation: Operation) {
        let at = self.server.now();
        self.server.state().note(Operation { at, outcome: Outcome::Failed, ..operation });
    }

    fn execute<T: Answer>(
        &self,
        operation: Operation,
        link: Option<u64>,
        fault: Option<&Fault>,
        execute: impl Fn(&mut Step<'_>) -> T,
    ) -> Result<T, ServerError> {
        let mut state = self.server.state();
        if link.is_none() || state.link(&self.process) != link {
            let at = self.server.now();
            state.note(Operation { at, outcome: Outcome::Failed, ..operation });
            return Err(ServerError::Disconnected);
        }
        Ok(self.run(&mut state, operation, fault, execute))
    }

    /// Runs one step. No other request sees half of it.
    fn run<T: Answer>(
        &self,
        state: &mut State,
        operation: Operation,
        fault: Option<&Fault>,
        execute: impl Fn(&mut Step<'_>) -> T,
    ) -> T {
        let at = self.server.now();
        state.drop_pushes = matches!(fault, Some(Fault::DropPushes));
        let corrupt = matches!(fault, Some(Fault::Corrupt));
        let mut step = Step { state: &mut *state, now: millis(at), at, corrupt, fence: None, value: None };
        let answer = execute(&mut step);
        let Step { fence, value, .. } = step;
        state.drop_pushes = false;
        state.note(Operation { at, outcome: answer.outcome(), fence, value, ..operation });
        answer
    }
}

/// The context of a step: one atomic command on the server.
pub(crate) struct Step<'a> {
    pub(crate) state: &'a mut State,
    pub(crate) now: Millis,
    pub(crate) at: Timestamp,
    /// `true` if reads return damaged bytes.
    pub(crate) corrupt: bool,
    /// The fence and the value, for the record.
    pub(crate) fence: Option<u128>,
    pub(crate) value: Option<Bytes>,
}

/// The reason why an operation failed, as a client of a real server would see it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerError {
    #[error("the connection was refused (a fault on request)")]
    Refused,
    #[error("the reply was lost (a fault on request): it is not known whether the operation was executed")]
    ReplyLost,
    #[error("the process is disconnected, or the server is down")]
    Disconnected,
}
