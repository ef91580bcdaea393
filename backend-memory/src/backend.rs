//! The backend of one namespace, for one process.

use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use bytes::Bytes;
use larder::backend::{
    BackendContext, BeginOutcome, Entry, Fence, FillOutcome, Frame, FrameError, IntoBackend, LoadIntent,
    Payload, Recency, Watcher, WriteIntent,
};
use larder::clock::Timestamp;
use larder::key::StoreKey;
use larder::observe::Event;
use larder::tag::{Pruned, Stamp, TagLedger as _};
use larder::{CacheBackend, Error, ErrorKind, Result, Tag};

use crate::clocks::Clocks;
use crate::memory::{Memory, Request, Step};
use crate::mutation;
use crate::record::{Answer, OperationKind, Outcome};
use crate::state::{Grant, Name, Stored, name};
use crate::watch::watch;

/// The backend that a [`Memory`] becomes when a cache is built with it.
///
/// # Examples
/// ```
/// use larder::backend::{BackendContext, IntoBackend};
/// use larder_memory::{MemoryBackend, MemoryServer};
/// let backend: MemoryBackend = MemoryServer::new().connect("one").into_backend(&BackendContext::new("product")?)?;
/// # let _ = backend;
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct MemoryBackend(Arc<Opened>);

/// The data that a request needs at each execution. A fault may execute a request again after its caller has ended.
#[derive(Debug)]
struct Opened {
    memory: Memory,
    scope: BackendContext,
    namespace: String,
    /// The number of the subscriber that watches through this backend, if any.
    watching: OnceLock<u64>,
}

impl IntoBackend<StoreKey, Payload> for Memory {
    type Backend = MemoryBackend;

    fn into_backend(self, scope: &BackendContext) -> Result<MemoryBackend> {
        Ok(MemoryBackend(Arc::new(Opened {
            memory: self,
            namespace: scope.shared_namespace()?,
            scope: scope.clone(),
            watching: OnceLock::new(),
        })))
    }
}

impl Opened {
    fn request(&self, kind: OperationKind, keys: &[StoreKey]) -> Request {
        let keys = keys.iter().map(|key| key.as_str().to_owned()).collect();
        Request { kind, namespace: self.namespace.clone(), keys }
    }

    fn name(&self, key: &StoreKey) -> Name {
        name(&self.namespace, key)
    }

    /// Returns the entry or the undecodable bytes under a key. Runs as part of a step, so it reports no event yet.
    fn look(&self, step: &mut Step<'_>, key: &StoreKey, now: Timestamp) -> Look {
        let mut stored = step.state.get(&self.name(key), step.now)?;
        if step.corrupt {
            stored.bytes = flipped(&stored.bytes);
        }
        let clocks = Clocks { local: now, server: step.at };
        let entry = self.decode(key, &stored, clocks).transpose()?;
        match entry {
            Ok(entry) if !step.state.allows(&self.namespace, &entry) => None,
            entry => {
                step.value = entry.as_ref().ok().map(payload);
                Some(entry)
            }
        }
    }

    /// Decodes stored bytes. Returns `None` if the entry has expired by its own header.
    fn decode(
        &self,
        key: &StoreKey,
        stored: &Stored,
        clocks: Clocks,
    ) -> Result<Option<Entry<Payload>>, FrameError> {
        let frame = Frame::decode(stored.bytes.clone(), key, self.scope.schema())?;
        let times = [frame.created_ms, frame.soft_ms, frame.expires_ms.min(stored.expires)];
        let entry = frame.into_entry(times.map(|time| clocks.to_local(time)));
        Ok(entry.is_alive(clocks.local).then_some(entry))
    }

    fn store(
        &self,
        step: &mut Step<'_>,
        key: &StoreKey,
        entry: &Entry<Payload>,
        stamp: Stamp,
        now: Timestamp,
        by: Option<u64>,
    ) {
        if !entry.tags().is_empty() {
            step.state.lives(&self.namespace, entry.remaining(now));
        }
        let clocks = Clocks { local: now, server: step.at };
        let expires_ms = clocks.ending_in(entry.remaining(now));
        let soft_ms = clocks.ending_in(entry.freshness(now));
        let times = [clocks.begun_before(entry.age(now)), soft_ms, expires_ms];
        let frame = Frame::of(entry, self.scope.schema(), stamp, times);
        step.value = Some(payload(entry));
        step.state.set(&self.name(key), frame.encode(key), expires_ms, step.now, by);
    }

    /// Returns the entry of a look, and counts undecodable bytes as a miss. Called outside of the step, because the
    /// observer that receives the event may send requests to the server.
    fn seen(&self, look: Look) -> Option<Entry<Payload>> {
        let tell = |cause: &FrameError| {
            let error = Error::new(ErrorKind::Codec, "stored bytes are no entry").with_source(*cause);
            self.scope.record(&Event::undecodable(&error));
        };
        look?.inspect_err(tell).ok()
    }
}

impl MemoryBackend {
    /// Sends a request for one key.
    async fn ask<T: Answer>(
        &self,
        kind: OperationKind,
        key: &StoreKey,
        execute: impl Fn(&Opened, &mut Step<'_>, &StoreKey) -> T + Send + Sync + 'static,
    ) -> Result<T> {
        let all = std::slice::from_ref(key);
        self.ask_all(kind, all, move |own, step, keys| execute(own, step, &keys[0])).await
    }

    async fn ask_all<T: Answer>(
        &self,
        kind: OperationKind,
        keys: &[StoreKey],
        execute: impl Fn(&Opened, &mut Step<'_>, &[StoreKey]) -> T + Send + Sync + 'static,
    ) -> Result<T> {
        let request = self.0.request(kind, keys);
        let (own, keys) = (Arc::clone(&self.0), keys.to_vec());
        self.0.memory.ask(request, move |step| execute(&own, step, &keys)).await
    }
}

/// The result of a lookup in a step: nothing, an entry, or undecodable bytes.
type Look = Option<Result<Entry<Payload>, FrameError>>;

impl Answer for Look {
    fn outcome(&self) -> Outcome {
        Outcome::Found(usize::from(matches!(self, Some(Ok(_)))))
    }
}

impl Answer for Vec<Look> {
    fn outcome(&self) -> Outcome {
        Outcome::Found(self.iter().filter(|look| matches!(look, Some(Ok(_)))).count())
    }
}

impl Answer for BeginOutcome<Payload> {
    fn outcome(&self) -> Outcome {
        match self {
            BeginOutcome::Hit(_) => Outcome::Found(1),
            BeginOutcome::Granted(fence) if fence.is_joined() => Outcome::Joined,
            BeginOutcome::Granted(_) => Outcome::Granted,
            BeginOutcome::Busy(_) => Outcome::Busy,
            BeginOutcome::Guarded => Outcome::Refused,
        }
    }
}

/// Returns the bytes of an entry's value for the record; none if it is the absence of a row.
fn payload(entry: &Entry<Payload>) -> Bytes {
    entry.value().map(|payload| payload.bytes().clone()).unwrap_or_default()
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes.into()
}

impl CacheBackend<StoreKey, Payload> for MemoryBackend {
    fn look<T>(
        &self,
        _key: &StoreKey,
        _now: Timestamp,
        _recency: Recency,
        _look: impl FnOnce(&mut Entry<Payload>) -> Option<T>,
    ) -> Option<T> {
        // a server is remote: without I/O this process knows no entry
        None
    }

    fn shared_name(&self, key: &StoreKey) -> Option<String> {
        Some(format!("{}:{key}", self.0.namespace))
    }

    fn watch(&self, watcher: Weak<dyn Watcher>) -> bool {
        let number = watch(&self.0.memory, self.0.namespace.clone(), watcher);
        // its own fills need no notification
        number.inspect(|number| _ = self.0.watching.set(*number)).is_some()
    }

    fn is_bounded(&self) -> bool {
        // a fault may hold a request for ever
        false
    }

    async fn get(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry<Payload>>> {
        let look = self.ask(OperationKind::Get, key, move |own, step, key| own.look(step, key, now)).await?;
        Ok(self.0.seen(look))
    }

    async fn get_many(&self, keys: &[StoreKey], now: Timestamp) -> Result<Vec<Option<Entry<Payload>>>> {
        let looks = self.ask_all(OperationKind::GetMany, keys, move |own, step, keys| {
            keys.iter().map(|key| own.look(step, key, now)).collect::<Vec<_>>()
        });
        Ok(looks.await?.into_iter().map(|look| self.0.seen(look)).collect())
    }

    async fn begin(
        &self,
        key: &StoreKey,
        announce: LoadIntent,
        now: Timestamp,
    ) -> Result<BeginOutcome<Payload>> {
        let client = self.0.memory.server().state().client_nonce();
        let begin = move |own: &Opened, step: &mut Step<'_>, key: &StoreKey| {
            // bytes that are no entry were counted by the read that missed
            if !announce.ignores_hit()
                && let Some(Ok(entry)) = own.look(step, key, now)
            {
                return BeginOutcome::Hit(entry);
            }
            if step.state.is_guarded(&own.name(key), step.now) {
                return BeginOutcome::Guarded;
            }
            let stamp = step.state.stamp(&own.namespace);
            let nonce = match step.state.fence_name(client) {
                _ if mutation::on("all loads have one nonce") => 7,
                _ if mutation::on("a process has one nonce") => own.memory.number(),
                fresh => fresh,
            };
            let fence = match step.state.grant(&own.name(key), announce, nonce, step.now) {
                Grant::Created(nonce) => Fence::created(nonce),
                Grant::Joined(nonce) => Fence::joined(nonce),
                Grant::Busy(lease) => return BeginOutcome::Busy(lease),
            };
            step.fence = Some(fence.nonce());
            BeginOutcome::Granted(fence.stamped(stamp))
        };
        self.ask(OperationKind::Begin, key, begin).await
    }

    async fn fill(
        &self,
        key: &StoreKey,
        fence: Fence,
        entry: Entry<Payload>,
        now: Timestamp,
    ) -> Result<FillOutcome> {
        let fill = move |own: &Opened, step: &mut Step<'_>, key: &StoreKey| {
            let name = own.name(key);
            step.fence = Some(fence.nonce());
            if !step.state.holds(&name, fence.nonce(), step.now) {
                return FillOutcome::Refused;
            }
            step.state.end_fence(&name);
            let late = mutation::on("the stamp is taken after the load");
            let stamp = if late { step.state.stamp(&own.namespace) } else { fence.stamp() };
            let entry = entry.clone().stamped(stamp);
            if !step.state.allows(&own.namespace, &entry) {
                return FillOutcome::Refused;
            }
            own.store(step, key, &entry, stamp, now, own.watching.get().copied());
            FillOutcome::Stored
        };
        self.ask(OperationKind::Fill, key, fill).await
    }

    async fn renew(&self, key: &StoreKey, fence: Fence, lease: Duration, _now: Timestamp) -> Result<bool> {
        let renew = move |own: &Opened, step: &mut Step<'_>, key: &StoreKey| {
            step.state.renew(&own.name(key), fence.nonce(), lease, step.now)
        };
        self.ask(OperationKind::Renew, key, renew).await
    }

    async fn release(&self, key: &StoreKey, fence: Fence, _now: Timestamp) -> Result<()> {
        let release = move |own: &Opened, step: &mut Step<'_>, key: &StoreKey| {
            step.fence = Some(fence.nonce());
            step.state.release(&own.name(key), fence.nonce(), step.now)
        };
        self.ask(OperationKind::Release, key, release).await.map(|_| ())
    }

    async fn put(&self, key: &StoreKey, entry: Entry<Payload>, now: Timestamp) -> Result<()> {
        let put = move |own: &Opened, step: &mut Step<'_>, key: &StoreKey| {
            let name = own.name(key);
            step.state.end_fence(&name);
            if step.state.is_guarded(&name, step.now) {
                return step.state.remove(&name);
            }
            let stamp = step.state.stamp(&own.namespace);
            own.store(step, key, &entry, stamp, now, None);
        };
        self.ask(OperationKind::Put, key, put).await
    }

    async fn remove(&self, key: &StoreKey) -> Result<()> {
        self.ask(OperationKind::Remove, key, |own, step, key| step.state.remove(&own.name(key))).await
    }

    async fn remove_many(&self, keys: &[StoreKey]) -> Result<()> {
        let remove_all = |own: &Opened, step: &mut Step<'_>, keys: &[StoreKey]| {
            keys.iter().for_each(|key| step.state.remove(&own.name(key)));
        };
        self.ask_all(OperationKind::RemoveMany, keys, remove_all).await
    }

    async fn clear(&self) -> Result<()> {
        self.ask_all(OperationKind::Clear, &[], |own, step, _| step.state.clear(&own.namespace)).await
    }

    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        self.0.memory.ledger(&self.0.namespace).invalidate(tags).await
    }

    async fn prune_tags(&self, count: u64, longest: Duration) -> Result<Pruned> {
        self.0.memory.ledger(&self.0.namespace).prune(count, longest).await
    }

    async fn guard(&self, key: &StoreKey, guard: WriteIntent, _now: Timestamp) -> Result<()> {
        let announce = move |own: &Opened, step: &mut Step<'_>, key: &StoreKey| {
            step.state.guard(&own.name(key), guard, step.now);
        };
        self.ask(OperationKind::Guard, key, announce).await
    }

    async fn unguard(&self, key: &StoreKey, guard: WriteIntent, _now: Timestamp) -> Result<()> {
        let end = move |own: &Opened, step: &mut Step<'_>, key: &StoreKey| {
            step.state.unguard(&own.name(key), guard);
        };
        self.ask(OperationKind::Unguard, key, end).await
    }
}
