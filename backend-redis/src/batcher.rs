//! Single reads that are asked for at once, sent as one.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use larder::Timestamp;
use tokio::sync::oneshot;

use crate::client::{Failure, FailureKind};
use crate::names::Space;
use crate::read::{Found, read};
use crate::server::Server;

/// The most keys of one command; more go out beside each other.
const MOST: usize = 256;

/// Collects the reads of tasks that run at the same time.
///
/// The first to ask leads: it lets the other tasks run once, and then sends what has come together. Nobody waits for a
/// timer, nor for a batch that is under way: a task that is alone sends at once, and under load batches form by themselves,
/// since the answer to one wakes all of its askers together.
#[derive(Debug)]
pub(crate) struct Batcher {
    server: Arc<Server>,
    space: Space,
    strict: bool,
    queue: Mutex<Queue>,
    /// How many there were in the last batch.
    last: AtomicUsize,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Whether somebody will send what waits.
    led: bool,
}

#[derive(Debug)]
struct Waiting {
    name: String,
    answer: oneshot::Sender<Found>,
}

impl Batcher {
    pub(crate) fn new(server: Arc<Server>, space: Space, strict: bool) -> Self {
        Self { server, space, strict, queue: Mutex::default(), last: AtomicUsize::new(0) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one value, with whatever else is asked for meanwhile. What is answered was asked for after this call began.
    pub(crate) async fn read(self: &Arc<Self>, name: String, now: Timestamp) -> Found {
        let (answer, mut answered) = oneshot::channel();
        let leads = {
            let mut queue = self.queue();
            queue.waiting.push(Waiting { name, answer });
            !std::mem::replace(&mut queue.led, true)
        };
        if leads {
            Leading(Some(Box::pin(Arc::clone(self).send(now)))).await;
            if let Ok(found) = answered.try_recv() {
                return found;
            }
        }
        answered.await.unwrap_or_else(|_| {
            Err(Failure::new(FailureKind::Lost, "the runtime that was reading has shut down"))
        })
    }

    async fn send(self: Arc<Self>, now: Timestamp) {
        tokio::task::yield_now().await;
        // room for a batch like the last one, made outside of the lock
        let room = Vec::with_capacity(self.last.load(Ordering::Relaxed));
        let mut waiting = {
            let mut queue = self.queue();
            queue.led = false;
            std::mem::replace(&mut queue.waiting, room)
        };
        self.last.store(waiting.len().min(MOST), Ordering::Relaxed);
        let mut beside = Vec::new();
        while waiting.len() > MOST {
            let rest = waiting.split_off(waiting.len() - MOST);
            beside.push(self.answer(rest, now));
        }
        let first = self.answer(waiting, now);
        futures_util::future::join(first, futures_util::future::join_all(beside)).await;
    }

    async fn answer(&self, waiting: Vec<Waiting>, now: Timestamp) {
        let Self { server, space, strict, .. } = self;
        let names: Vec<&str> = waiting.iter().map(|waiting| waiting.name.as_str()).collect();
        let found = read(server, space, *strict, &names, now).await;
        for (waiting, found) in waiting.into_iter().zip(found) {
            // who gave up does not care
            _ = waiting.answer.send(found);
        }
    }
}

/// A batch that is sent whatever becomes of the caller who leads it: when that one is dropped, a task goes on.
struct Leading(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Future for Leading {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(batch) = self.0.as_mut() else { return Poll::Ready(()) };
        let done = batch.as_mut().poll(context);
        if done.is_ready() {
            self.0 = None;
        }
        done
    }
}

impl Drop for Leading {
    fn drop(&mut self) {
        let Some(batch) = self.0.take() else { return };
        // without a runtime there is nobody left to answer: the batch's own end tells them
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(batch));
        }
    }
}
