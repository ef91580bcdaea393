//! Bare values, shared with programs that do not use larder.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Weak};
use std::time::Duration;

use larder::backend::{
    BackendContext, BeginOutcome, Entry, Fence, FillOutcome, IntoBackend, LoadIntent, Recency, Watcher,
    WriteIntent,
};
use larder::clock::Timestamp;
use larder::observe::Event;
use larder::tag::{Pruned, Stamp};
use larder::{CacheBackend, Codec, Error, Result, Tag};

use crate::client::{Arg, Failure, FailureKind, Reply};
use crate::fences::{Announced, Announcement, announced, hex, life};
use crate::names::{Names, Space, slot};
use crate::script::{FILL, PLAIN, PUT};
use crate::server::Server;

/// A backend for bare values under names of the user, made by [`RedisBackend::plain`](crate::RedisBackend::plain).
///
/// # Examples
/// See [`RedisBackend::plain`](crate::RedisBackend::plain).
pub struct Plain<C, N> {
    server: Arc<Server>,
    codec: C,
    name: N,
}

impl<C, N> Plain<C, N> {
    pub(crate) fn new(server: Arc<Server>, codec: C, name: N) -> Self {
        Self { server, codec, name }
    }
}

impl<C: fmt::Debug, N> fmt::Debug for Plain<C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plain")
            .field("server", &self.server)
            .field("codec", &self.codec)
            .finish_non_exhaustive()
    }
}

impl<K, V, C, N> IntoBackend<K, V> for Plain<C, N>
where
    K: Sync + 'static,
    V: Send + Sync + 'static,
    C: Codec<V>,
    N: Fn(&K) -> String + Send + Sync + 'static,
{
    type Backend = PlainStore<V, C, N>;

    fn into_backend(self, scope: &BackendContext) -> Result<Self::Backend> {
        let space = Space::new(scope.shared_namespace()?);
        Ok(PlainStore { plain: self, space, scope: scope.clone(), value: PhantomData })
    }
}

/// An opened [`Plain`].
pub struct PlainStore<V, C, N> {
    plain: Plain<C, N>,
    space: Space,
    scope: BackendContext,
    value: PhantomData<fn() -> V>,
}

impl<V, C: fmt::Debug, N> fmt::Debug for PlainStore<V, C, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plain.fmt(f)
    }
}

impl<V, C: Codec<V>, N> PlainStore<V, C, N> {
    fn names<K>(&self, key: &K) -> Result<Names>
    where
        N: Fn(&K) -> String,
    {
        let names = self.space.plain((self.plain.name)(key));
        let Names { value, fence, .. } = &names;
        if value.is_empty() || (self.plain.server.client.is_cluster() && slot(value) != slot(fence)) {
            let mend = "a name needs at least one character, and braces only around a hash tag";
            return Err(Error::config(format!("{value:?} cannot be the name of a plain value: {mend}")));
        }
        Ok(names)
    }

    /// Converts an answer to an entry. Bytes that cannot be decoded are a counted miss. A value of another program
    /// without expiry has no end of life.
    fn entry(&self, answer: Reply, now: Timestamp) -> std::result::Result<Option<Entry<V>>, Failure> {
        let Ok([value, left]) = <[Reply; 2]>::try_from(answer.list()?) else {
            return Err(Failure::new(FailureKind::Server, "the server gave no value and life"));
        };
        let (Some(bytes), left) = (value.bytes()?, left.number()?) else { return Ok(None) };
        let life = u64::try_from(left).map_or(Duration::MAX, Duration::from_millis);
        match self.plain.codec.decode(&bytes) {
            Ok(value) => Ok((!life.is_zero()).then(|| Entry::new(Some(Arc::new(value)), now, life))),
            Err(error) => {
                self.scope.record(&Event::undecodable(&error));
                Ok(None)
            }
        }
    }

    async fn read(&self, operation: &str, name: &str, now: Timestamp) -> Result<Option<Entry<V>>> {
        let answer = self.plain.server.run_one(operation, PLAIN.call(&[name], [])).await?;
        self.entry(answer, now).map_err(|failure| failure.into_error(operation))
    }

    /// Asks for a fence. Returns `None` if a value exists.
    async fn announce(&self, names: &Names, announce: LoadIntent) -> Result<Option<BeginOutcome<V>>> {
        let announcement = Announcement::new(announce);
        let answer = self.plain.server.run_one("begin", announcement.command(names, &[])).await?;
        let (announced, _) = announced(answer).map_err(|failure| failure.into_error("begin"))?;
        Ok(match announced {
            Announced::Value(_) => None,
            Announced::Fence(fence) => Some(BeginOutcome::Granted(fence)),
            Announced::Busy(left) => Some(BeginOutcome::Busy(left)),
            Announced::Guarded => Some(BeginOutcome::Guarded),
        })
    }
}

fn without_tags() -> Error {
    let mend = "invalidate the keys, or use `redis.encoded(codec)`, whose entries carry their tags";
    Error::config(format!("a bare string has no room for tags: {mend}"))
}

impl<K, V, C, N> CacheBackend<K, V> for PlainStore<V, C, N>
where
    K: Sync + 'static,
    V: Send + Sync + 'static,
    C: Codec<V>,
    N: Fn(&K) -> String + Send + Sync + 'static,
{
    fn look<T>(
        &self,
        _key: &K,
        _now: Timestamp,
        _recency: Recency,
        _look: impl FnOnce(&mut Entry<V>) -> Option<T>,
    ) -> Option<T> {
        None
    }

    fn shared_name(&self, key: &K) -> Option<String> {
        Some((self.plain.name)(key))
    }

    fn watch(&self, _watcher: Weak<dyn Watcher>) -> bool {
        // the names are the user's own, so there is no prefix to listen to
        false
    }

    fn is_bounded(&self) -> bool {
        // the command timeout of the connection bounds each call
        true
    }

    async fn get(&self, key: &K, now: Timestamp) -> Result<Option<Entry<V>>> {
        self.read("get", &self.names(key)?.value, now).await
    }

    async fn get_many(&self, keys: &[K], now: Timestamp) -> Result<Vec<Option<Entry<V>>>> {
        let names = keys.iter().map(|key| Ok(self.names(key)?.value)).collect::<Result<Vec<_>>>()?;
        let commands: Vec<_> = names.iter().map(|name| PLAIN.call(&[name], [])).collect();
        let mut answers = self.plain.server.run(&commands).await;
        let mut read = || answers.next().and_then(|answer| self.entry(answer, now));
        names.iter().map(|_| read().map_err(|failure| failure.into_error("get_many"))).collect()
    }

    async fn begin(&self, key: &K, announce: LoadIntent, now: Timestamp) -> Result<BeginOutcome<V>> {
        let names = self.names(key)?;
        if let Some(begun) = self.announce(&names, announce).await? {
            return Ok(begun);
        }
        // a value exists; only another read returns its remaining life and content
        if let Some(entry) = self.read("begin", &names.value, now).await? {
            return Ok(BeginOutcome::Hit(entry));
        }
        let begun = self.announce(&names, announce.despite_hit()).await?;
        begun.ok_or_else(|| Error::backend("begin", "a value was answered although told to ignore it"))
    }

    async fn fill(&self, key: &K, fence: Fence, entry: Entry<V>, now: Timestamp) -> Result<FillOutcome> {
        let Some(value) = entry.value() else {
            // a bare string cannot represent absence
            self.release(key, fence, now).await?;
            return Ok(FillOutcome::Refused);
        };
        let (names, bytes, life) = (self.names(key)?, self.plain.codec.encode(value)?, life(&entry, now));
        let nonce = hex(fence);
        let arguments = [Arg::from(nonce.as_str()), Arg::from(&bytes[..]), Arg::from(life.as_str())];
        let stored =
            self.plain.server.number("fill", FILL.call(&[&names.value, &names.fence], arguments)).await?;
        Ok(if stored == 1 { FillOutcome::Stored } else { FillOutcome::Refused })
    }

    async fn renew(&self, key: &K, fence: Fence, lease: Duration, _now: Timestamp) -> Result<bool> {
        self.plain.server.renew_fence(&self.names(key)?.fence, fence, lease).await
    }

    async fn release(&self, key: &K, fence: Fence, _now: Timestamp) -> Result<()> {
        self.plain.server.release_fence(&self.names(key)?.fence, fence).await
    }

    async fn put(&self, key: &K, entry: Entry<V>, now: Timestamp) -> Result<()> {
        let Some(value) = entry.value() else { return self.remove(key).await };
        let (names, bytes, life) = (self.names(key)?, self.plain.codec.encode(value)?, life(&entry, now));
        let arguments = [Arg::from(&bytes[..]), Arg::from(life.as_str())];
        self.plain.server.number("put", PUT.call(&names.all(), arguments)).await.map(|_| ())
    }

    async fn remove(&self, key: &K) -> Result<()> {
        self.plain.server.unlink("remove", &[self.names(key)?]).await
    }

    async fn remove_many(&self, keys: &[K]) -> Result<()> {
        let names = keys.iter().map(|key| self.names(key)).collect::<Result<Vec<_>>>()?;
        self.plain.server.unlink("remove_many", &names).await
    }

    async fn clear(&self) -> Result<()> {
        let mend = "invalidate the keys, or use `redis.encoded(codec)`, whose namespace can be cleared";
        Err(Error::config(format!("plain values have no namespace of their own to clear: {mend}")))
    }

    async fn invalidate_tags(&self, _tags: &[Tag]) -> Result<Stamp> {
        Err(without_tags())
    }

    async fn prune_tags(&self, _count: u64, _longest: Duration) -> Result<Pruned> {
        Err(without_tags())
    }

    async fn guard(&self, key: &K, guard: WriteIntent, _now: Timestamp) -> Result<()> {
        self.plain.server.guard(&self.names(key)?, guard).await
    }

    async fn unguard(&self, key: &K, guard: WriteIntent, _now: Timestamp) -> Result<()> {
        self.plain.server.unguard(&self.names(key)?, guard).await
    }
}
