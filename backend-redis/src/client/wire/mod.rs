//! A connection of our own to one server: RESP3 over a plain socket.
//!
//! Far hits (L2) are the purpose of this crate, and the client accounts for most of their cost. A library passes
//! each command to a task that writes it, parses each value into its own allocation, and passes it back. Here the
//! caller writes by itself, and values are slices of the buffer into which they were read. The client library
//! handles everything else: URLs, sentinels, clusters, TLS.

mod dial;
mod pack;
mod parse;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::BytesMut;
use futures_util::future::{Either, select};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::{tcp, unix};
use tokio::sync::{Notify, oneshot};
use tokio::task::AbortHandle;

use self::pack::pack;
use self::parse::{Frame, Front, Scan, frame};
use super::{Command, Failure, FailureKind, Heard, Reply};

pub(super) use self::dial::{connect, is_plain};

/// The size of a read buffer, which is replaced when it is used up. Small values are slices of it, and keep it
/// alive.
const CHUNK: usize = 32 << 10;
/// The maximum of bytes that wait for a server that does not read. Beyond it, commands fail at once.
const MOST_UNSENT: usize = 64 << 20;
/// The maximum that is reserved because a reply announces its length.
const MOST_AHEAD: usize = 64 << 20;

type Answers = Vec<Result<Reply, Failure>>;

/// A connection, which is closed when its last clone is dropped. It does not reconnect.
#[derive(Clone)]
pub(super) struct Wire(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    driver: AbortHandle,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").finish_non_exhaustive()
    }
}

/// The state that callers and the driver share.
struct Shared {
    sending: Sending,
    /// The bytes for which the socket had no room. Locked while writing, so that commands and their waiters are in
    /// the same order.
    unsent: Mutex<BytesMut>,
    has_unsent: Notify,
    /// The waiters for the next answers, in the order of their commands. `None` once the connection is lost.
    waiting: Mutex<Option<VecDeque<Waiting>>>,
}

/// A caller that waits for some answers.
struct Waiting {
    left: usize,
    answers: Answers,
    answer: oneshot::Sender<Answers>,
}

/// The write half of a socket.
enum Sending {
    Tcp(tcp::OwnedWriteHalf),
    Unix(unix::OwnedWriteHalf),
}

impl Sending {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(half) => half.try_write(bytes),
            Self::Unix(half) => half.try_write(bytes),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Tcp(half) => half.writable().await,
            Self::Unix(half) => half.writable().await,
        }
    }
}

impl Wire {
    /// Runs a connection over a socket. `heard` is called with each push, on the connection's own task, and must
    /// not wait.
    fn over(
        sending: Sending,
        receiving: impl AsyncRead + Send + Unpin + 'static,
        heard: impl Fn(Heard) + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            sending,
            unsent: Mutex::default(),
            has_unsent: Notify::new(),
            waiting: Mutex::new(Some(VecDeque::new())),
        });
        let driver = Driver { shared: Arc::clone(&shared), heard };
        let driver = tokio::spawn(driver.run(receiving)).abort_handle();
        Self(Arc::new(Handle { shared, driver }))
    }

    /// Runs commands together. The outer error is the connection's, the inner errors are the commands' own.
    pub(super) async fn run(&self, commands: &[Command<'_>]) -> Result<Answers, Failure> {
        self.send(&pack(commands), commands.len())?.await.map_err(|_| lost())
    }

    /// Subscribes to a channel, or unsubscribes. The server confirms with a push in the place of an answer.
    pub(super) async fn subscription(&self, name: &'static str, channel: &str) -> Result<(), Failure> {
        let command = Command { name, arguments: vec![channel.into()], key: channel };
        let answers = self.run(&[command]).await?;
        answers.into_iter().next().map_or(Ok(()), |answer| answer.map(|_| ()))
    }

    fn send(&self, bytes: &[u8], count: usize) -> Result<oneshot::Receiver<Answers>, Failure> {
        let (answer, answered) = oneshot::channel();
        let shared = &self.0.shared;
        let mut unsent = shared.unsent();
        if unsent.len() > MOST_UNSENT {
            let message = format!("the server has not read the last {} bytes that were sent", unsent.len());
            return Err(Failure::new(FailureKind::Busy, message));
        }
        let waiting = Waiting { left: count, answers: Vec::with_capacity(count), answer };
        shared.waiting().as_mut().ok_or_else(lost)?.push_back(waiting);
        // the driver meets the same error and ends the connection
        let written = if unsent.is_empty() { shared.sending.try_write(bytes).unwrap_or(0) } else { 0 };
        if written < bytes.len() {
            unsent.extend_from_slice(&bytes[written..]);
            shared.has_unsent.notify_one();
        }
        Ok(answered)
    }
}

impl Shared {
    fn unsent(&self) -> MutexGuard<'_, BytesMut> {
        self.unsent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiting(&self) -> MutexGuard<'_, Option<VecDeque<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the bytes for which the socket had no room, each time there are some. Ends only with the connection.
    async fn flush(&self) -> io::Error {
        loop {
            if self.unsent().is_empty() {
                self.has_unsent.notified().await;
                continue;
            }
            if let Err(error) = self.sending.writable().await {
                return error;
            }
            let mut unsent = self.unsent();
            match self.sending.try_write(&unsent) {
                Ok(written) => drop(unsent.split_to(written)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return error,
            }
        }
    }

    /// Returns `true` if a caller waits for an answer. A command is noted before it is sent.
    fn is_asked(&self) -> bool {
        self.waiting().as_ref().is_some_and(|queue| !queue.is_empty())
    }

    /// Passes an answer to the first waiter.
    fn answered(&self, answer: Result<Reply, Failure>) -> Result<(), Failure> {
        let mut waiting = self.waiting();
        let queue = waiting.as_mut().ok_or_else(lost)?;
        let next = queue.front_mut().ok_or_else(|| strange("an answer without a command"))?;
        next.answers.push(answer);
        next.left -= 1;
        if next.left == 0 {
            let done = queue.pop_front();
            drop(waiting);
            if let Some(Waiting { answers, answer, .. }) = done {
                // a caller that was dropped has no receiver any more
                _ = answer.send(answers);
            }
        }
        Ok(())
    }
}

/// The task that reads the socket.
struct Driver<H: Fn(Heard)> {
    shared: Arc<Shared>,
    heard: H,
}

impl<H: Fn(Heard)> Driver<H> {
    async fn run(self, mut receiving: impl AsyncRead + Unpin) {
        let shared = Arc::clone(&self.shared);
        let mut flushing = pin!(shared.flush());
        let mut buffer = BytesMut::with_capacity(CHUNK);
        let mut scan = Scan::default();
        let failure = loop {
            match select(pin!(receiving.read_buf(&mut buffer)), flushing.as_mut()).await {
                Either::Left((Ok(0), _)) => break lost(),
                Either::Left((Ok(_), _)) => {}
                Either::Left((Err(error), _)) | Either::Right((error, _)) => break lost().with_source(error),
            }
            match self.take(&mut buffer, &mut scan) {
                Ok(more) => buffer.reserve(more),
                Err(failure) => break failure,
            }
        };
        tracing::debug!(%failure, "a connection to Redis has ended");
        self.end(&failure);
    }

    /// Takes all whole frames from the buffer. Returns the room to reserve for the rest.
    fn take(&self, buffer: &mut BytesMut, scan: &mut Scan) -> Result<usize, Failure> {
        loop {
            match scan.front(buffer, || self.shared.is_asked())? {
                Front::Whole(size) => match frame(&buffer.split_to(size).freeze())? {
                    Frame::Answer(answer) => self.shared.answered(answer)?,
                    // the answer to a `SUBSCRIBE` or `UNSUBSCRIBE`
                    Frame::Confirmed => self.shared.answered(Ok(Reply::Nil))?,
                    Frame::Heard(heard) => (self.heard)(heard),
                    Frame::Other => {}
                },
                Front::Part(needed) => {
                    let missing = needed.saturating_sub(buffer.len()).min(MOST_AHEAD);
                    return Ok(missing.max(CHUNK / 2));
                }
            }
        }
    }

    /// Fails all waiters with the reason, and refuses later commands.
    fn end(&self, failure: &Failure) {
        let waiting = self.shared.waiting().take();
        for Waiting { mut answers, answer, left } in waiting.into_iter().flatten() {
            answers.extend((0..left).map(|_| Err(failure.clone())));
            _ = answer.send(answers);
        }
    }
}

impl<H: Fn(Heard)> Drop for Driver<H> {
    /// Runs also if the task is dropped with its runtime (prevents: callers that wait for ever).
    fn drop(&mut self) {
        self.end(&lost());
        (self.heard)(Heard::Lost);
    }
}

fn lost() -> Failure {
    Failure::new(FailureKind::Lost, "the connection was closed")
}

/// The failure for a reply that no Redis sends.
fn strange(what: impl fmt::Display) -> Failure {
    Failure::new(FailureKind::Refused, format!("the peer speaks no RESP3: {what}"))
}

#[cfg(test)]
mod tests;
