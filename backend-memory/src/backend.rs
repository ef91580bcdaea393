//! The store of one namespace, as one process sees it.

use std::time::Duration;

use bytes::Bytes;
use larder::{
    Announce, Begun, CacheBackend, Entry, Error, ErrorKind, Event, Fence, Filled, Frame, IntoBackend,
    Payload, Result, Scope, StoreKey, Timestamp,
};

use crate::fault::Fault;
use crate::record::OperationKind;
use crate::server::{Memory, Request};
use crate::state::{Grant, Millis, NEVER, State, Stored, name};

/// An opened [`Memory`].
///
/// # Examples
/// ```
/// use larder::{IntoBackend, Scope};
/// use larder_memory::{MemoryBackend, MemoryServer};
/// let backend: MemoryBackend = MemoryServer::new().connect("one").into_backend(&Scope::new("product")?)?;
/// # let _ = backend;
/// # Ok::<(), larder::Error>(())
/// ```
#[derive(Debug)]
pub struct MemoryBackend {
    memory: Memory,
    scope: Scope,
    namespace: String,
}

impl IntoBackend<StoreKey, Payload> for Memory {
    type Backend = MemoryBackend;

    fn into_backend(self, scope: &Scope) -> Result<MemoryBackend> {
        Ok(MemoryBackend { memory: self, namespace: scope.shared_namespace()?, scope: scope.clone() })
    }
}

/// The two clocks at one moment: the process's, which callers speak, and the server's, which entries are judged by.
#[derive(Clone, Copy)]
struct Clocks {
    local: Timestamp,
    server: Millis,
}

impl Clocks {
    /// The moment `duration` from now in the server's time, rounded down: an entry never lives longer than asked, but
    /// for the millisecond without which it would not live at all.
    fn to_server(self, remaining: Duration) -> Millis {
        let millis = u64::try_from(remaining.as_millis()).unwrap_or(NEVER);
        self.server.saturating_add(millis.max(1))
    }

    fn to_local(self, at: Millis) -> Timestamp {
        if at == NEVER {
            return Timestamp::NEVER;
        }
        match at.checked_sub(self.server) {
            Some(ahead) => self.local.saturating_add(Duration::from_millis(ahead)),
            None => self.local.saturating_sub(Duration::from_millis(self.server - at)),
        }
    }
}

impl MemoryBackend {
    fn request(&self, kind: OperationKind, keys: &[StoreKey]) -> Request {
        let keys = keys.iter().map(|key| key.as_str().to_owned()).collect();
        Request { kind, namespace: self.namespace.clone(), keys }
    }

    fn one(&self, kind: OperationKind, key: &StoreKey) -> Request {
        self.request(kind, std::slice::from_ref(key))
    }

    fn frame(&self, entry: &Entry<Payload>, clocks: Clocks) -> Frame {
        let expires_ms = match entry.expires() {
            Timestamp::NEVER => NEVER,
            _ => clocks.to_server(entry.remaining(clocks.local)),
        };
        let age = u64::try_from(entry.age(clocks.local).as_millis()).unwrap_or(NEVER);
        Frame {
            payload: entry.value().map(|payload| Payload::clone(payload)),
            schema: self.scope.schema(),
            cost_us: u32::try_from(entry.load_cost().as_micros()).unwrap_or(u32::MAX),
            created_ms: clocks.server.saturating_sub(age),
            soft_ms: expires_ms,
            expires_ms,
        }
    }

    /// The entry in stored bytes; what is no entry of this cache is a counted miss.
    fn entry(&self, key: &StoreKey, stored: &Stored, clocks: Clocks) -> Option<Entry<Payload>> {
        let frame = Frame::decode(&stored.bytes, key, self.scope.schema()).inspect_err(|cause| {
            let error = Error::new(ErrorKind::Codec, "stored bytes are no entry").because(*cause);
            self.scope.record(&Event::undecodable(&error));
        });
        let frame = frame.ok()?;
        let expires = clocks.to_local(frame.expires_ms.min(stored.expires));
        let entry = Entry::new(frame.payload.map(Into::into), clocks.local, Duration::ZERO)
            .with_times(clocks.to_local(frame.created_ms), expires)
            .with_load_cost(Duration::from_micros(u64::from(frame.cost_us)));
        entry.is_alive(clocks.local).then_some(entry)
    }

    fn look(
        &self,
        state: &mut State,
        key: &StoreKey,
        clocks: Clocks,
        fault: Option<&Fault>,
    ) -> Option<Entry<Payload>> {
        let mut stored = state.get(&name(&self.namespace, key), clocks.server)?;
        if matches!(fault, Some(Fault::Corrupt)) {
            stored.bytes = flipped(&stored.bytes);
        }
        self.entry(key, &stored, clocks)
    }

    fn store(&self, state: &mut State, key: &StoreKey, entry: &Entry<Payload>, clocks: Clocks) {
        let frame = self.frame(entry, clocks);
        state.set(&name(&self.namespace, key), frame.encode(key), frame.expires_ms, clocks.server);
    }
}

fn flipped(bytes: &Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    bytes.into()
}

impl CacheBackend<StoreKey, Payload> for MemoryBackend {
    fn peek(&self, _key: &StoreKey, _now: Timestamp) -> Option<Entry<Payload>> {
        // a server is elsewhere: this process knows nothing without asking
        None
    }

    async fn get(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry<Payload>>> {
        let request = self.one(OperationKind::Get, key);
        self.memory
            .ask(request, |state, server, fault| self.look(state, key, Clocks { local: now, server }, fault))
            .await
    }

    async fn get_many(&self, keys: &[StoreKey], now: Timestamp) -> Result<Vec<Option<Entry<Payload>>>> {
        let request = self.request(OperationKind::GetMany, keys);
        self.memory
            .ask(request, |state, server, fault| {
                let clocks = Clocks { local: now, server };
                keys.iter().map(|key| self.look(state, key, clocks, fault)).collect()
            })
            .await
    }

    async fn begin(&self, key: &StoreKey, announce: Announce, now: Timestamp) -> Result<Begun<Payload>> {
        let request = self.one(OperationKind::Begin, key);
        self.memory
            .ask(request, |state, server, fault| {
                if !announce.ignores_hit()
                    && let Some(entry) = self.look(state, key, Clocks { local: now, server }, fault)
                {
                    return Begun::Hit(entry);
                }
                match state.grant(&name(&self.namespace, key), announce, server) {
                    Grant::Created(nonce) => Begun::Granted(Fence::created(nonce)),
                    Grant::Joined(nonce) => Begun::Granted(Fence::joined(nonce)),
                    Grant::Busy(lease) => Begun::Busy(lease),
                }
            })
            .await
    }

    async fn fill(
        &self,
        key: &StoreKey,
        fence: Fence,
        entry: Entry<Payload>,
        now: Timestamp,
    ) -> Result<Filled> {
        let request = self.one(OperationKind::Fill, key);
        self.memory
            .ask(request, |state, server, _fault| {
                let name = name(&self.namespace, key);
                if !state.holds(&name, fence.nonce(), server) {
                    return Filled::Refused;
                }
                state.end_fence(&name);
                self.store(state, key, &entry, Clocks { local: now, server });
                Filled::Stored
            })
            .await
    }

    async fn renew(&self, key: &StoreKey, fence: Fence, lease: Duration, _now: Timestamp) -> Result<bool> {
        let request = self.one(OperationKind::Renew, key);
        let name = name(&self.namespace, key);
        self.memory
            .ask(request, |state, server, _fault| state.renew(&name, fence.nonce(), lease, server))
            .await
    }

    async fn release(&self, key: &StoreKey, fence: Fence, _now: Timestamp) -> Result<()> {
        let request = self.one(OperationKind::Release, key);
        let name = name(&self.namespace, key);
        self.memory.ask(request, |state, server, _fault| state.release(&name, fence.nonce(), server)).await
    }

    async fn put(&self, key: &StoreKey, entry: Entry<Payload>, now: Timestamp) -> Result<()> {
        let request = self.one(OperationKind::Put, key);
        self.memory
            .ask(request, |state, server, _fault| {
                state.end_fence(&name(&self.namespace, key));
                self.store(state, key, &entry, Clocks { local: now, server });
            })
            .await
    }

    async fn remove(&self, key: &StoreKey) -> Result<()> {
        let request = self.one(OperationKind::Remove, key);
        self.memory.ask(request, |state, _server, _fault| state.remove(&name(&self.namespace, key))).await
    }

    async fn remove_many(&self, keys: &[StoreKey]) -> Result<()> {
        let request = self.request(OperationKind::RemoveMany, keys);
        self.memory
            .ask(request, |state, _server, _fault| {
                keys.iter().for_each(|key| state.remove(&name(&self.namespace, key)));
            })
            .await
    }

    async fn clear(&self) -> Result<()> {
        let request = self.request(OperationKind::Clear, &[]);
        self.memory.ask(request, |state, _server, _fault| state.clear(&self.namespace)).await
    }
}
