//! Single reads that are asked for at once, sent as one.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use larder::clock::Timestamp;
use larder::key::StoreKey;
use tokio::sync::oneshot;

use crate::client::{Failure, FailureKind};
use crate::lanes::{LANES, lane};
use crate::names::{Space, Values};
use crate::read::{Found, read};
use crate::server::Server;

/// The most keys of one command; more go out beside each other.
const MOST: usize = 256;

/// Collects the reads of tasks that run at the same time.
///
/// The first to ask leads: it lets the other tasks run once, and then sends what has come together. Nobody waits for a
/// timer, nor for a batch that is under way: under load batches form by themselves, since the answer to one wakes all of its
/// askers together. Who was alone the last time, and finds nobody else's read under way, sends at once.
#[derive(Debug)]
pub(crate) struct Batcher {
    server: Arc<Server>,
    space: Space,
    strict: bool,
    /// Batches collect beside each other, each from the tasks of some threads.
    lanes: [Lane; LANES],
}

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane {
    queue: Mutex<Queue>,
    /// The size of the last batch: its names in bytes, and how many they were.
    last: [AtomicUsize; 2],
    /// Batches that are not answered yet.
    under_way: AtomicUsize,
}

impl Lane {
    /// Whether nobody else seems to read over this lane.
    fn is_quiet(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0 && self.last[1].load(Ordering::Relaxed) == 1
    }
}

/// A batch that is under way, however that ends.
struct UnderWay<'a>(&'a AtomicUsize);

impl<'a> UnderWay<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[derive(Debug, Default)]
struct Queue {
    batch: Batch,
    /// Whether somebody will send what waits.
    led: bool,
}

/// The names that are asked for, and who asks.
#[derive(Debug, Default)]
struct Batch {
    names: Values,
    askers: Vec<oneshot::Sender<Found>>,
}

impl Batch {
    /// Room for as much again, and half of it more.
    fn with_room_for(bytes: usize, reads: usize) -> Self {
        let more = |last: usize| last + last / 2;
        Self {
            names: Values::with_room_for(more(bytes), more(reads)),
            askers: Vec::with_capacity(more(reads)),
        }
    }
}

impl Batcher {
    pub(crate) fn new(server: Arc<Server>, space: Space, strict: bool) -> Self {
        Self { server, space, strict, lanes: Default::default() }
    }

    fn queue(&self, lane: usize) -> MutexGuard<'_, Queue> {
        self.lanes[lane].queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads one value, with whatever else is asked for meanwhile. What is answered was asked for after this call began.
    pub(crate) async fn read(self: &Arc<Self>, key: &StoreKey, now: Timestamp) -> Found {
        let (answer, mut answered) = oneshot::channel();
        let lane = lane();
        let leads = {
            let mut queue = self.queue(lane);
            let Batch { names, askers } = &mut queue.batch;
            names.push(&self.space, key);
            askers.push(answer);
            !std::mem::replace(&mut queue.led, true)
        };
        if leads {
            Leading(Some(Box::pin(Arc::clone(self).send(lane, now)))).await;
            if let Ok(found) = answered.try_recv() {
                return found;
            }
        }
        answered.await.unwrap_or_else(|_| {
            Err(Failure::new(FailureKind::Lost, "the runtime that was reading has shut down"))
        })
    }

    async fn send(self: Arc<Self>, lane: usize, now: Timestamp) {
        if !self.lanes[lane].is_quiet() {
            tokio::task::yield_now().await;
        }
        let _under_way = UnderWay::begin(&self.lanes[lane].under_way);
        // made outside of the lock
        let last = &self.lanes[lane].last;
        let room = Batch::with_room_for(last[0].load(Ordering::Relaxed), last[1].load(Ordering::Relaxed));
        let batch = {
            let mut queue = self.queue(lane);
            queue.led = false;
            std::mem::replace(&mut queue.batch, room)
        };
        last[0].store(batch.names.bytes(), Ordering::Relaxed);
        last[1].store(batch.askers.len(), Ordering::Relaxed);
        let names = batch.names.all();
        let read = |names| read(&self.server, &self.space, self.strict, names, now);
        let found = match names.len() {
            ..=MOST => read(&names).await,
            _ => futures_util::future::join_all(names.chunks(MOST).map(read)).await.concat(),
        };
        for (asker, found) in batch.askers.into_iter().zip(found) {
            // who gave up does not care
            _ = asker.send(found);
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
