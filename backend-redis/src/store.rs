//! The backend of one namespace.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use larder::backend::{
    BackendContext, BeginOutcome, Entry, Fence, FillOutcome, Frame, FrameError, LoadIntent, Payload, Recency,
    Watcher, WriteIntent,
};
use larder::clock::Timestamp;
use larder::key::StoreKey;
use larder::observe::Event;
use larder::tag::{Pruned, Stamp, TagLedger as _};
use larder::{CacheBackend, Error, ErrorKind, Result, Tag};

use crate::batcher::Batcher;
use crate::client::{Arg, Command, Failure};
use crate::clocks::Reading;
use crate::fences::{self, Announcement, announced, hex, life};
use crate::hub;
use crate::ledger::{Lives, RedisLedger, Views, living};
use crate::names::{Names, Space};
use crate::nonce::identity;
use crate::read::{Raw, read};
use crate::script::{CLEAR, FILL, INCARNATION, PUT};
use crate::server::{Answers, Server};

/// An opened [`RedisBackend`](crate::RedisBackend).
#[derive(Debug)]
pub struct RedisStore {
    server: Arc<Server>,
    space: Space,
    strict: bool,
    scope: BackendContext,
    batcher: Arc<Batcher>,
    ledger: RedisLedger,
    /// The identity of the ledger when it was last seen, or 0: a guess that saves a second read if a begin finds a
    /// value.
    last_ledger: AtomicU64,
    views: Views,
    lives: Lives,
    /// The watcher that is registered through this store.
    watcher: OnceLock<Weak<dyn Watcher>>,
}

impl RedisStore {
    pub(crate) fn new(server: Arc<Server>, space: Space, strict: bool, scope: BackendContext) -> Self {
        let batcher = Arc::new(Batcher::new(Arc::clone(&server), space.clone(), strict));
        let ledger = RedisLedger::new(Arc::clone(&server), space.clone());
        Self {
            server,
            space,
            strict,
            scope,
            batcher,
            ledger,
            last_ledger: AtomicU64::new(0),
            views: Views::default(),
            lives: Lives::default(),
            watcher: OnceLock::new(),
        }
    }

    fn see_ledger(&self, stamp: Stamp) {
        // written only when it changes, so that readers do not contend
        if self.last_ledger.load(Ordering::Relaxed) != stamp.ledger() {
            self.last_ledger.store(stamp.ledger(), Ordering::Relaxed);
        }
    }

    /// Returns an entry, unless one of its tags was invalidated. `head` is the state of the ledger after it was
    /// read. Another read is needed only if a tag was invalidated since the load, and once for each tag in each
    /// state of the ledger.
    async fn judged(
        &self,
        key: &StoreKey,
        entry: Entry<Payload>,
        head: Stamp,
    ) -> Result<Option<Entry<Payload>>> {
        match self.views.allow(&entry, head) {
            Some(allowed) => Ok(allowed.then_some(entry)),
            // boxed, since few hits need the room for another read
            None => Box::pin(self.look(key, entry)).await,
        }
    }

    async fn look(&self, key: &StoreKey, entry: Entry<Payload>) -> Result<Option<Entry<Payload>>> {
        let name = self.space.value(key);
        let incarnations = self.server.incarnations(&self.space, self.strict, &name);
        let (head, view) = self.ledger.look(entry.tags(), &incarnations).await?;
        self.views.note(head, entry.tags(), &view);
        Ok(view.allows(entry.stamp()).then_some(entry))
    }

    /// Reads the unknown tags of many entries together, so that no entry needs its own read.
    async fn look_up_tags(&self, entries: impl Iterator<Item = &(Entry<Payload>, Stamp)>) -> Result<()> {
        // in a strict cluster the entries of each node have their own ledger
        if self.strict {
            return Ok(());
        }
        let unknown = entries.filter(|(entry, head)| self.views.allow(entry, *head).is_none());
        let mut tags: Vec<Tag> = unknown.flat_map(|(entry, _)| entry.tags().iter().cloned()).collect();
        tags.sort_unstable();
        tags.dedup();
        if tags.is_empty() {
            return Ok(());
        }
        let (head, view) = self.ledger.look(&tags, &[]).await?;
        self.views.note(head, &tags, &view);
        Ok(())
    }

    /// Decodes the entry, without a check of its tags. Bytes that are no entry are a counted miss.
    fn entry(&self, key: &StoreKey, raw: Raw, now: Timestamp) -> Option<Entry<Payload>> {
        self.see_ledger(raw.ledger);
        match Frame::decode(raw.bytes, key, self.scope.schema()) {
            Ok(frame) if frame.stamp.ledger() == raw.ledger.ledger() => {
                let times = [frame.created_ms, frame.soft_ms, frame.expires_ms];
                let entry = frame.into_entry(raw.reading.to_local(times, now));
                entry.is_alive(now).then_some(entry)
            }
            Ok(_) => None,
            Err(cause) => {
                self.undecodable(cause);
                None
            }
        }
    }

    fn undecodable(&self, cause: FrameError) {
        let error = Error::new(ErrorKind::Codec, "stored bytes are no entry").with_source(cause);
        self.scope.record(&Event::undecodable(&error));
    }

    fn frame(
        &self,
        key: &StoreKey,
        entry: &Entry<Payload>,
        stamp: Stamp,
        reading: Reading,
        now: Timestamp,
    ) -> bytes::Bytes {
        let expires_ms = reading.ending_in(entry.remaining(now), now);
        let soft_ms = reading.ending_in(entry.freshness(now), now);
        let times = [reading.begun_before(entry.age(now), now), soft_ms, expires_ms];
        Frame::of(entry, self.scope.schema(), stamp, times).encode(key)
    }

    /// Adds the commands whose answers tell to which ledger an entry at `name` must belong. [`head`](Self::head)
    /// takes the answers.
    fn asking_head<'a>(&'a self, name: &'a str, commands: &mut Vec<Command<'a>>) {
        commands.push(Command {
            name: "GET",
            arguments: vec![Arg::from(self.space.head.as_str())],
            key: &self.space.head,
        });
        let incarnations = self.server.incarnations(&self.space, self.strict, name);
        commands.extend(incarnations.iter().map(|&name| INCARNATION.call(&[name], [])));
    }

    fn head(&self, name: &str, answers: &mut Answers) -> std::result::Result<Option<Stamp>, Failure> {
        let incarnations = self.server.incarnations(&self.space, self.strict, name).len();
        answers.head()?.map(|head| answers.incarnate(head, incarnations)).transpose()
    }

    async fn announce(&self, key: &StoreKey, announce: LoadIntent, now: Timestamp) -> Result<Announced> {
        let failed = |failure: Failure| failure.into_error("begin");
        let names = self.space.entry(key);
        let announcement = Announcement::new(announce);
        let known = self.last_ledger.load(Ordering::Relaxed).to_le_bytes();
        // in a strict cluster the entries of each node have their own identity
        let known = if known == [0; 8] || self.strict { &[][..] } else { &known[..] };
        let mut commands = vec![announcement.command(&names, known)];
        self.asking_head(&names.value, &mut commands);
        let mut answers = self.server.run(&commands).await;
        let (announced, micros) = answers.next().and_then(announced).map_err(failed)?;
        let head = self.head(&names.value, &mut answers).map_err(failed)?;
        let reading = answers.read(micros, now);
        self.server.clocks.note(self.server.slot(&names.value), reading);
        Ok(match (announced, head) {
            (fences::Announced::Value(bytes), Some(ledger)) => {
                Announced::Value(Raw { bytes, ledger, reading })
            }
            (fences::Announced::Value(_), None) => Announced::Lost,
            (fences::Announced::Busy(left), _) => Announced::Busy(left),
            (fences::Announced::Guarded, _) => Announced::Guarded,
            (fences::Announced::Fence(fence), head) => {
                // a load is stamped before it begins: with the head that was read with the fence's request, or that
                // is made now
                let stamp = match head {
                    Some(head) => head,
                    None => self.server.stamp("begin", &self.space, self.strict, &names.value).await?,
                };
                self.see_ledger(stamp);
                Announced::Fence(fence.stamped(stamp))
            }
        })
    }
}

/// The outcome of a request for a fence.
enum Announced {
    Value(Raw),
    /// A value exists, and no ledger to which it could belong.
    Lost,
    Fence(Fence),
    Busy(Duration),
    Guarded,
}

impl CacheBackend<StoreKey, Payload> for RedisStore {
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
        Some(self.space.value(key))
    }

    fn watch(&self, watcher: Weak<dyn Watcher>) -> bool {
        // its own fills need no notification
        _ = self.watcher.set(Weak::clone(&watcher));
        hub::watch(&self.server, self.space.clone(), self.strict, watcher)
    }

    fn is_bounded(&self) -> bool {
        // the command timeout of the connection bounds each call
        true
    }

    async fn get(&self, key: &StoreKey, now: Timestamp) -> Result<Option<Entry<Payload>>> {
        let found = self.batcher.read(key, now).await;
        let raw = found.map_err(|failure| failure.into_error("get"))?;
        let Some(raw) = raw else { return Ok(None) };
        let head = raw.ledger;
        let Some(entry) = self.entry(key, raw, now) else { return Ok(None) };
        // as `judged` does, whose future would make this one larger
        match self.views.allow(&entry, head) {
            Some(allowed) => Ok(allowed.then_some(entry)),
            None => Box::pin(self.look(key, entry)).await,
        }
    }

    async fn get_many(&self, keys: &[StoreKey], now: Timestamp) -> Result<Vec<Option<Entry<Payload>>>> {
        if keys.is_empty() {
            return Ok(vec![]);
        }
        let names = self.space.values(keys);
        let found = read(&self.server, &self.space, self.strict, &names.all(), now).await;
        if let Some(failure) = found.iter().find_map(|found| found.as_ref().err()).cloned() {
            let error = failure.into_error("get_many");
            if found.iter().all(std::result::Result::is_err) {
                return Err(error);
            }
            // some nodes of a cluster answered: their entries are served
            self.scope.record(&Event::backend_failed("get_many", &error));
        }
        let raws = keys.iter().zip(found).map(|(key, found)| {
            let raw = found.ok().flatten()?;
            let head = raw.ledger;
            Some((self.entry(key, raw, now)?, head))
        });
        let raws: Vec<_> = raws.collect();
        self.look_up_tags(raws.iter().flatten()).await?;
        let mut entries = Vec::with_capacity(keys.len());
        for (key, raw) in keys.iter().zip(raws) {
            entries.push(match raw {
                Some((entry, head)) => self.judged(key, entry, head).await?,
                None => None,
            });
        }
        Ok(entries)
    }

    async fn begin(
        &self,
        key: &StoreKey,
        announce: LoadIntent,
        now: Timestamp,
    ) -> Result<BeginOutcome<Payload>> {
        let announced = match self.announce(key, announce, now).await? {
            Announced::Value(raw) => {
                let head = raw.ledger;
                let entry = match self.entry(key, raw, now) {
                    Some(entry) => self.judged(key, entry, head).await?,
                    None => None,
                };
                match entry {
                    Some(entry) => return Ok(BeginOutcome::Hit(entry)),
                    None => self.announce(key, announce.despite_hit(), now).await?,
                }
            }
            Announced::Lost => self.announce(key, announce.despite_hit(), now).await?,
            announced => announced,
        };
        match announced {
            Announced::Fence(fence) => Ok(BeginOutcome::Granted(fence)),
            Announced::Busy(left) => Ok(BeginOutcome::Busy(left)),
            Announced::Guarded => Ok(BeginOutcome::Guarded),
            Announced::Value(_) | Announced::Lost => {
                Err(Error::new(ErrorKind::Backend, "begin answered a value although told to ignore it"))
            }
        }
    }

    async fn fill(
        &self,
        key: &StoreKey,
        fence: Fence,
        entry: Entry<Payload>,
        now: Timestamp,
    ) -> Result<FillOutcome> {
        let failed = |failure: Failure| failure.into_error("fill");
        let Names { value, fence: name, .. } = self.space.entry(key);
        let reading = self.server.reading("fill", &value, now).await?;
        let (bytes, life, nonce) =
            (self.frame(key, &entry, fence.stamp(), reading, now), life(&entry, now), hex(fence));
        let arguments = [Arg::from(nonce.as_str()), Arg::from(&bytes[..]), Arg::from(life.as_str())];
        let mut commands = vec![FILL.call(&[&value, &name], arguments)];
        self.asking_head(&value, &mut commands);
        let ledger = fence.stamp().ledger();
        let news = self.lives.news(&entry, ledger, now).map(|life| (life, identity()));
        commands.extend(news.iter().map(|(life, fresh)| living(&self.space, fresh, *life)));
        let mut answers = match self.watcher.get() {
            Some(_) => self.server.run_untold(&commands).await,
            None => self.server.run(&commands).await,
        };
        let stored = answers.next().and_then(|reply| reply.number()).map_err(failed)? == 1;
        let head = self.head(&value, &mut answers).map_err(failed)?;
        if let Some((life, _)) = news.filter(|_| answers.next().is_ok()) {
            self.lives.note(ledger, life);
        }
        if let Some(watcher) = self.watcher.get().filter(|_| stored) {
            self.server.hub.changed_by(watcher, self.space.namespace(), &value);
        }
        // the namespace was cleared during the load: the stored value belongs to no ledger
        let Some(head) = head.filter(|head| stored && head.ledger() == ledger) else {
            return Ok(FillOutcome::Refused);
        };
        // a tag was invalidated during the load: the value is stored, but no read will return it
        let entry = entry.stamped(fence.stamp());
        let stands = self.judged(key, entry, head).await?.is_some();
        Ok(if stands { FillOutcome::Stored } else { FillOutcome::Refused })
    }

    async fn renew(&self, key: &StoreKey, fence: Fence, lease: Duration, _now: Timestamp) -> Result<bool> {
        self.server.renew_fence(&self.space.entry(key).fence, fence, lease).await
    }

    async fn release(&self, key: &StoreKey, fence: Fence, _now: Timestamp) -> Result<()> {
        self.server.release_fence(&self.space.entry(key).fence, fence).await
    }

    async fn put(&self, key: &StoreKey, entry: Entry<Payload>, now: Timestamp) -> Result<()> {
        let names = self.space.entry(key);
        let value = &names.value;
        let stamp = self.server.stamp("put", &self.space, self.strict, value).await?;
        let reading = self.server.reading("put", value, now).await?;
        let (bytes, life) = (self.frame(key, &entry, stamp, reading, now), life(&entry, now));
        let command = PUT.call(&names.all(), [Arg::from(&bytes[..]), Arg::from(life.as_str())]);
        self.server.run_one("put", command).await.map(|_| ())
    }

    async fn remove(&self, key: &StoreKey) -> Result<()> {
        self.server.unlink("remove", &[self.space.entry(key)]).await
    }

    async fn remove_many(&self, keys: &[StoreKey]) -> Result<()> {
        let names: Vec<Names> = keys.iter().map(|key| self.space.entry(key)).collect();
        self.server.unlink("remove_many", &names).await
    }

    async fn clear(&self) -> Result<()> {
        let fresh = identity();
        let command = CLEAR.call(&[&self.space.head, &self.space.tags], [Arg::from(fresh.as_str())]);
        self.server.run_one("clear", command).await.map(|_| ())
    }

    async fn invalidate_tags(&self, tags: &[Tag]) -> Result<Stamp> {
        let stamp = self.ledger.invalidate(tags).await?;
        if !self.strict {
            return Ok(stamp);
        }
        // entries identify the ledger also by its server's incarnation
        self.server.stamp("invalidate tags", &self.space, true, &self.space.head).await
    }

    async fn prune_tags(&self, count: u64, longest: Duration) -> Result<Pruned> {
        self.ledger.prune(count, longest).await
    }

    async fn guard(&self, key: &StoreKey, guard: WriteIntent, _now: Timestamp) -> Result<()> {
        self.server.guard(&self.space.entry(key), guard).await
    }

    async fn unguard(&self, key: &StoreKey, guard: WriteIntent, _now: Timestamp) -> Result<()> {
        self.server.unguard(&self.space.entry(key), guard).await
    }
}
