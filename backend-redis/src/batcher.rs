//! Combines single reads that run at the same time into one command.

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

/// The maximum number of keys in one command. A larger batch is sent as several commands in parallel.
const MOST: usize = 256;

/// Collects the reads of tasks that run at the same time.
///
/// The first caller leads: it yields once to the other tasks, and then sends the reads that have accumulated. A
/// read never waits for a timer, nor for a batch that is in flight. Under load batches form by themselves, because
/// one answer wakes all callers of its batch together. If the last batch held a single read and no batch is in
/// flight, the leader sends at once.
#[derive(Debug)]
pub(crate) struct Batcher {
    server: Arc<Server>,
    space: Space,
    strict: bool,
    /// Each lane collects its own batch, from the tasks of some threads.
    lanes: [Lane; LANES],
}

/// The queue of some threads, on cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Lane {
    queue: Mutex<Queue>,
    /// The size of the last batch: the bytes of its names, and their number.
    last: [AtomicUsize; 2],
    /// The number of batches that are not answered yet.
    under_way: AtomicUsize,
}

impl Lane {
    /// Returns `true` if no other caller seems to read over this lane.
    fn is_quiet(&self) -> bool {
        self.under_way.load(Ordering::Relaxed) == 0 && self.last[1].load(Ordering::Relaxed) == 1
    }
}

/// A batch that counts as in flight until it is dropped.
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
    /// `true` if a leader will send the batch.
    led: bool,
}

/// The names to read, and the callers that wait for them.
#[derive(Debug, Default)]
struct Batch {
    names: Values,
    askers: Vec<oneshot::Sender<Found>>,
}

impl Batch {
    /// Reserves room for half as much again as the given size.
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

    /// Reads one value, in one batch with the reads of other callers. The command is sent after this call began.
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
        // allocated before the lock is taken, so that the lock is held briefly
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
            // a caller that was dropped has no receiver any more
            _ = asker.send(found);
        }
    }
}

/// A batch that is sent even if its leader is dropped: a spawned task then continues it. Prevents: followers
/// without an answer.
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
        // without a runtime no task can continue; dropping the batch closes the channels of its followers, which
        // fail
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            drop(runtime.spawn(batch));
        }
    }
}
