//! A connection of our own to one server: RESP3 over a plain socket.
//!
//! Far hits are what this crate is for, and most of what one costs is the client: a library hands each command to a task
//! that writes it, parses each value into an allocation of its own, and hands it back. Here the caller writes by itself, and
//! values are slices of the buffer that they were read into. The client library stays in charge of everything else: URLs,
//! sentinels, clusters, TLS.

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

/// Room for what is read, made anew when it is used up. Small values are slices of it, and keep it alive.
const CHUNK: usize = 32 << 10;
/// How much may wait for a server that does not read, before commands fail at once.
const MOST_UNSENT: usize = 64 << 20;
/// The most that is reserved because a reply says that it will be long.
const MOST_AHEAD: usize = 64 << 20;

type Answers = Vec<Result<Reply, Failure>>;

/// A connection; closed when its last clone is dropped. It does not come back by itself.
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

/// What callers and the driver share.
struct Shared {
    sending: Sending,
    /// What the socket had no room for. Locked while writing, so that commands and those who wait are in the same order.
    unsent: Mutex<BytesMut>,
    has_unsent: Notify,
    /// Who waits for the next answers, in the order of the commands; `None` once the connection is lost.
    waiting: Mutex<Option<VecDeque<Waiting>>>,
}

/// Who waits for how many answers.
struct Waiting {
    left: usize,
    answers: Answers,
    answer: oneshot::Sender<Answers>,
}

/// The half of a socket that is written to.
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
    /// Talks over a socket; `heard` is called with what is pushed, on the connection's own task, and must not wait.
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

    /// Runs commands together. The outer error is the connection's, the inner ones the commands' own.
    pub(super) async fn run(&self, commands: &[Command<'_>]) -> Result<Answers, Failure> {
        self.send(&pack(commands), commands.len())?.await.map_err(|_| lost())
    }

    /// Asks for the messages of a channel, or no more. The server confirms by a push, in the place of an answer.
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
        // an error here is one that the driver finds too, which ends the connection
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

    /// Writes what the socket had no room for, whenever there is any. Ends only with the connection.
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

    /// Returns `true` if an answer is waited for. A command is noted before it is sent.
    fn is_asked(&self) -> bool {
        self.waiting().as_ref().is_some_and(|queue| !queue.is_empty())
    }

    /// Gives an answer to who waits for it.
    fn answered(&self, answer: Result<Reply, Failure>) -> Result<(), Failure> {
        let mut waiting = self.waiting();
        let queue = waiting.as_mut().ok_or_else(lost)?;
        let next = queue.front_mut().ok_or_else(|| strange("an answer that nobody asked for"))?;
        next.answers.push(answer);
        next.left -= 1;
        if next.left == 0 {
            let done = queue.pop_front();
            drop(waiting);
            if let Some(Waiting { answers, answer, .. }) = done {
                // who gave up does not care
                _ = answer.send(answers);
            }
        }
        Ok(())
    }
}

/// What reads the socket, on a task of its own.
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

    /// Takes what has come whole; answers how much room to make for the rest.
    fn take(&self, buffer: &mut BytesMut, scan: &mut Scan) -> Result<usize, Failure> {
        loop {
            match scan.front(buffer, || self.shared.is_asked())? {
                Front::Whole(size) => match frame(&buffer.split_to(size).freeze())? {
                    Frame::Answer(answer) => self.shared.answered(answer)?,
                    // the answer to a (un)subscription
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

    /// Nobody is answered any more: those who wait are told why.
    fn end(&self, failure: &Failure) {
        let waiting = self.shared.waiting().take();
        for Waiting { mut answers, answer, left } in waiting.into_iter().flatten() {
            answers.extend((0..left).map(|_| Err(failure.clone())));
            _ = answer.send(answers);
        }
    }
}

impl<H: Fn(Heard)> Drop for Driver<H> {
    /// However the task ends, also with its runtime.
    fn drop(&mut self) {
        self.end(&lost());
        (self.heard)(Heard::Lost);
    }
}

fn lost() -> Failure {
    Failure::new(FailureKind::Lost, "the connection was closed")
}

/// The peer says what no Redis says.
fn strange(what: impl fmt::Display) -> Failure {
    Failure::new(FailureKind::Refused, format!("the peer speaks no RESP3: {what}"))
}

#[cfg(test)]
mod tests;
