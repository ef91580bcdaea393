//! Dispatches notifications to all near tiers (L1) of a process over one connection, and confirms that none is
//! missing.
//!
//! A *session* is one connection to each primary, on which the server sends every change below the watched
//! namespaces (`CLIENT TRACKING ON BCAST`). Over pub/sub it is one connection, on which processes notify each
//! other. It ends with any doubt: a lost connection, a late answer or push, another primary, another server in the
//! old one's place. Each watcher is then notified that anything may have changed, and again when the next session
//! listens.
//!
//! Within a session, a *heartbeat* confirms that no notification is missing, three times in each `max_staleness`.
//! It writes a key to each primary, over the ordinary connections. Only this session listens to these keys. Pushes
//! of one server arrive in the order of its changes. Once all of these writes have been pushed, each change that
//! was acknowledged before the heartbeat began has been pushed too. The push counts and not the answer, which may
//! overtake pushes.
//!
//! The heartbeat also removes the key of the last one, and continues the chain that this key held. If the key is
//! missing, the server was flushed or has forgotten writes, and the answer names another chain. Over pub/sub, the
//! server numbers the messages, and a heartbeat asks for the numbers.
//!
//! Notifications are handled in order on one task, so that a heartbeat confirms their handling too.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use larder::backend::Watcher;
use larder::clock::Timestamp;
use larder::tag::Stamp;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::client::{Arg, Command, Failure, FailureKind, Heard, Listener, Reply};
use crate::config::Pushes;
use crate::ledger::since;
use crate::names::{Kind, Space, parsed};
use crate::nonce::identity;
use crate::script::{BEAT, INCARNATION};
use crate::server::{Server, incarnated};
use crate::tell;
use crate::topology::Topology;

/// The life of a heartbeat's key, unless the next heartbeat removes it.
const BEAT_LIFE: Duration = Duration::from_secs(60);
/// The number of heartbeats in a row that may stay unanswered before the session ends.
const MOST_UNANSWERED: u64 = 30;
/// The first and the longest pause after a session.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];
/// The longest pause if the server refuses to send notifications, which no retry can fix.
const LONGEST_PAUSE_REFUSED: Duration = Duration::from_secs(60);

/// The watchers of a server, and the task that serves them.
#[derive(Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// Notified when a watcher is registered.
    came: Notify,
}

#[derive(Default)]
struct State {
    /// The watchers by namespace.
    watches: HashMap<String, Vec<Watch>>,
    /// The task that serves the watchers.
    running: Option<AbortHandle>,
}

#[derive(Debug)]
struct Watch {
    space: Arc<Space>,
    strict: bool,
    watcher: Weak<dyn Watcher>,
}

/// A watcher that is kept alive while notifications are dispatched.
struct Present {
    space: Arc<Space>,
    strict: bool,
    watcher: Arc<dyn Watcher>,
}

impl Watch {
    fn present(&self) -> Option<Present> {
        let watcher = self.watcher.upgrade()?;
        Some(Present { space: Arc::clone(&self.space), strict: self.strict, watcher })
    }
}

/// Registers `watcher` for the changes in a namespace. Returns `false` if there is no runtime.
pub(crate) fn watch(server: &Arc<Server>, space: Space, strict: bool, watcher: Weak<dyn Watcher>) -> bool {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
    let mut state = server.hub.state();
    let watch = Watch { space: Arc::new(space), strict, watcher };
    state.watches.entry(watch.space.namespace().to_owned()).or_default().push(watch);
    // a task whose runtime has shut down has ended with it
    if state.running.as_ref().is_none_or(AbortHandle::is_finished) {
        state.running = Some(runtime.spawn(run(Arc::downgrade(server))).abort_handle());
    }
    server.hub.came.notify_one();
    true
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub").field("watches", &self.state().watches.len()).finish_non_exhaustive()
    }
}

impl Hub {
    /// Notifies the watchers of a namespace of a change, except for the one that made it.
    pub(crate) fn changed_by(&self, one: &Weak<dyn Watcher>, namespace: &str, name: &str) {
        let others = self
            .of(namespace)
            .into_iter()
            .filter(|other| !std::ptr::addr_eq(Arc::as_ptr(&other.watcher), one.as_ptr()));
        others.for_each(|other| other.watcher.changed(name));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The watchers that are still alive, after removing the others.
    fn present(&self) -> Vec<Present> {
        let mut state = self.state();
        state.watches.retain(|_, watches| {
            watches.retain(|watch| watch.watcher.strong_count() > 0);
            !watches.is_empty()
        });
        state.watches.values().flatten().filter_map(Watch::present).collect()
    }

    /// The watchers of a namespace that are still alive.
    fn of(&self, namespace: &str) -> Vec<Present> {
        let state = self.state();
        state.watches.get(namespace).into_iter().flatten().filter_map(Watch::present).collect()
    }

    /// Returns `true` if no watcher is left, and marks the task as ended. The next watcher starts it again.
    fn stops(&self) -> bool {
        let mut state = self.state();
        let is_idle = state.watches.values().flatten().all(|watch| watch.watcher.strong_count() == 0);
        if is_idle {
            state.running = None;
        }
        is_idle
    }
}

/// Runs sessions one after the other, until no watcher is left or the server's handles are dropped.
async fn run(server: Weak<Server>) {
    let mut pause = PAUSES[0];
    // the last warning, until a heartbeat confirms again
    let mut warned: Option<String> = None;
    loop {
        let Some(server) = server.upgrade() else { return };
        let mut has_proven = false;
        let ended = Session::run(&server, &mut has_proven).await;
        let present = server.hub.present();
        present.iter().for_each(|one| one.watcher.lost());
        if has_proven {
            warned = None;
        }
        let mut longest =
            present.iter().map(|one| one.watcher.max_staleness()).min().unwrap_or(PAUSES[1]).min(PAUSES[1]);
        match ended {
            Ok(()) if server.hub.stops() => return,
            Ok(()) => {}
            Err(failure) => {
                if matches!(failure.kind, FailureKind::Refused | FailureKind::Server) {
                    longest = LONGEST_PAUSE_REFUSED;
                }
                let message = failure.to_string();
                if matches!(failure.kind, FailureKind::Lost | FailureKind::Timeout)
                    || warned.as_ref() == Some(&message)
                {
                    tracing::debug!(%failure, "changes are not told for a moment");
                } else {
                    tracing::warn!(%failure, "changes are not told: near entries are kept for the bound only");
                    warned = Some(message);
                }
            }
        }
        drop((server, present));
        pause = if has_proven { PAUSES[0] } else { (pause * 2).min(longest) };
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
    }
}

/// The state of a namespace in this session.
struct Known {
    ledger: Stamp,
    /// The number of the last message received. At first, the number of the last message that existed when the
    /// session asked.
    heard: u64,
}

struct Session<'a> {
    server: &'a Server,
    listener: Arc<dyn Listener>,
    heard: mpsc::UnboundedReceiver<Heard>,
    /// The beginning of the names of this session's heartbeats.
    prefix: String,
    topology: Topology,
    incarnations: Vec<Bytes>,
    /// The chain of heartbeats at each primary.
    chains: Vec<Bytes>,
    known: HashMap<String, Known>,
    /// The number of the last heartbeat.
    beats: u64,
    /// The number of the last heartbeat that was answered.
    answered: u64,
    /// The keys of this heartbeat that have not been pushed.
    beating: Vec<String>,
}

impl<'a> Session<'a> {
    /// Listens, sends heartbeats and dispatches, until no watcher is left. Any doubt is an error.
    async fn run(server: &'a Server, has_proven: &mut bool) -> Result<(), Failure> {
        let topology = Topology::of(server).await?;
        let (hearer, heard) = mpsc::unbounded_channel();
        let listener = server.client.listen(hearer).await?;
        let (prefix, known) = (format!("larder:beat:{}:", identity()), HashMap::new());
        let mut session = Self {
            server,
            listener,
            heard,
            prefix,
            topology,
            incarnations: vec![],
            chains: vec![],
            known,
            beats: 0,
            answered: 0,
            beating: vec![],
        };
        if server.pushes == Pushes::Tracking {
            session.track(std::slice::from_ref(&session.prefix)).await?;
        }
        loop {
            let present = server.hub.present();
            let Some(bound) = present.iter().map(|one| one.watcher.max_staleness()).min() else {
                return Ok(());
            };
            session.listen_for(&present).await?;
            let next = Instant::now() + bound / 3;
            *has_proven |= session.beat(&present, bound).await?;
            drop(present);
            session.hand_out_until(next).await?;
        }
    }

    fn beat_key(&self, number: u64, node: &str) -> String {
        format!("{}{number}:{{{node}}}", self.prefix)
    }

    /// Asks each primary for notifications of changes below these prefixes, in addition to the earlier ones.
    async fn track(&self, prefixes: &[String]) -> Result<(), Failure> {
        for node in &self.topology.nodes {
            let key = format!("{{{node}}}");
            let mut arguments: Vec<Arg<'_>> = vec!["TRACKING".into(), "ON".into(), "BCAST".into()];
            prefixes
                .iter()
                .for_each(|prefix| arguments.extend([Arg::from("PREFIX"), Arg::from(prefix.as_str())]));
            let command = Command { name: "CLIENT", arguments, key: &key };
            self.listener.run(&[command]).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        }
        Ok(())
    }

    /// Begins to listen for the namespaces that are new.
    async fn listen_for(&mut self, present: &[Present]) -> Result<(), Failure> {
        for Present { space, .. } in present {
            if self.known.contains_key(space.namespace()) {
                continue;
            }
            match self.server.pushes {
                Pushes::Tracking => self.track(&space.prefixes()).await?,
                Pushes::PubSub => self.listener.subscribe(&tell::channel(space.namespace())).await?,
            }
            // in this order; prevents: a change between the two that is neither received nor part of the state
            let ledger = self.ledger(space).await?;
            let heard = match self.server.pushes {
                Pushes::Tracking => 0,
                Pushes::PubSub => self.told(space).await?,
            };
            self.known.insert(space.namespace().to_owned(), Known { ledger, heard });
            self.server.hub.of(space.namespace()).iter().for_each(|one| one.watcher.lost());
        }
        Ok(())
    }

    /// Reads the ledger's state.
    async fn ledger(&self, space: &Space) -> Result<Stamp, Failure> {
        // keeps the kind of its failure: an outage is no refusal
        self.server.try_stamp(space, false, &space.head).await
    }

    /// Reads the number of messages that were sent about a namespace.
    async fn told(&self, space: &Space) -> Result<u64, Failure> {
        count(self.server.run(&[asking_told(space)]).await.next()?)
    }

    /// Sends a heartbeat. Returns `true` if it confirms that all changes acknowledged before it have been
    /// dispatched.
    async fn beat(&mut self, present: &[Present], bound: Duration) -> Result<bool, Failure> {
        let asked: Vec<Timestamp> = present.iter().map(|one| one.watcher.now()).collect();
        let deadline = Instant::now() + bound;
        self.beats += 1;
        let asking = Asking {
            server: self.server,
            keys: self.topology.nodes.iter().map(|node| self.beat_keys(node)).collect(),
            spaces: match self.server.pushes {
                Pushes::Tracking => vec![],
                Pushes::PubSub => present.iter().map(|one| Arc::clone(&one.space)).collect(),
            },
        };
        self.beating = match self.server.pushes {
            Pushes::Tracking => asking.keys.iter().map(|keys| keys[0].clone()).collect(),
            Pushes::PubSub => vec![],
        };
        let asking = asking.ask();
        tokio::pin!(asking);
        let mut answer: Option<Answer> = None;
        while !answer.as_ref().is_some_and(|answer| self.beating.is_empty() && self.has_heard(&answer.told)) {
            tokio::select! {
                biased;
                Some(heard) = self.heard.recv() => self.hand_out(heard).await?,
                answered = &mut asking, if answer.is_none() => match answered {
                    Ok(answered) => answer = Some(answered),
                    Err(failure) if self.beats - self.answered < MOST_UNANSWERED => {
                        // a server that is busy or away: nothing is confirmed, and nothing is missed while the
                        // listener is connected
                        tracing::debug!(%failure, "a heartbeat was not answered");
                        return Ok(false);
                    }
                    Err(failure) => return Err(failure),
                },
                () = sleep_until(deadline) => {
                    // the write was answered but not pushed: the listener receives nothing
                    let is_deaf = answer.is_some() || self.beats - self.answered >= MOST_UNANSWERED;
                    let late = || Failure::new(FailureKind::Timeout, "a heartbeat is late");
                    return if is_deaf { Err(late()) } else { Ok(false) };
                }
            }
        }
        let Some(answer) = answer else { return Ok(false) };
        let is_proven = self.proves(answer)?;
        if is_proven {
            present.iter().zip(asked).for_each(|(one, asked)| one.watcher.proven(asked));
        }
        Ok(is_proven)
    }

    /// The key of this heartbeat at a node, and the keys of earlier ones that may still exist: from the last
    /// answered one on.
    fn beat_keys(&self, node: &str) -> Vec<String> {
        let since = self.answered.max(1);
        std::iter::once(self.beats)
            .chain(since..self.beats)
            .map(|number| self.beat_key(number, node))
            .collect()
    }

    /// Returns `true` if all messages that were sent have been received.
    fn has_heard(&self, told: &[(Arc<Space>, u64)]) -> bool {
        let heard = |space: &Space| self.known.get(space.namespace()).map_or(u64::MAX, |known| known.heard);
        told.iter().all(|(space, number)| heard(space) >= *number)
    }

    /// Returns `true` if an answered heartbeat confirms anything. The first does not, since there is none to
    /// compare it with.
    fn proves(&mut self, answer: Answer) -> Result<bool, Failure> {
        if answer.topology != self.topology {
            return Err(Failure::new(FailureKind::Lost, "slots have moved, or primaries changed"));
        }
        let is_first = std::mem::replace(&mut self.answered, self.beats) == 0;
        let last = std::mem::replace(&mut self.incarnations, answer.incarnations);
        let chains = std::mem::replace(&mut self.chains, answer.chains);
        let is_same = chains == self.chains && last == self.incarnations;
        if !is_first && !is_same {
            return Err(Failure::new(FailureKind::Lost, "the server has forgotten, or is another"));
        }
        // a primary without slots is not listened to, and may be about to get some
        Ok(!is_first && self.topology.is_whole)
    }

    /// Dispatches notifications until the next heartbeat is due or a new watcher is registered. After the first
    /// heartbeat it returns at once: that one confirms nothing, since there is none before it to compare it with.
    async fn hand_out_until(&mut self, next: Instant) -> Result<(), Failure> {
        while self.beats > 1 {
            tokio::select! {
                biased;
                Some(heard) = self.heard.recv() => self.hand_out(heard).await?,
                () = self.server.hub.came.notified() => return Ok(()),
                () = sleep_until(next) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Dispatches a notification to the watchers that it concerns.
    async fn hand_out(&mut self, heard: Heard) -> Result<(), Failure> {
        match heard {
            Heard::Changed(names) => {
                for name in names.iter().filter_map(|name| std::str::from_utf8(name).ok()) {
                    if name.starts_with(&self.prefix) {
                        // the key of the last heartbeat is pushed too, when this one removes it
                        self.beating.retain(|waiting| waiting != name);
                    } else {
                        self.changed(name).await?;
                    }
                }
                Ok(())
            }
            Heard::Message { channel, text } => self.message(&channel, &text).await,
            Heard::Flushed => Err(Failure::new(FailureKind::Lost, "the server was flushed")),
            Heard::Lost => Err(Failure::new(FailureKind::Lost, "a connection was lost")),
        }
    }

    async fn message(&mut self, channel: &str, text: &[u8]) -> Result<(), Failure> {
        let Some(known) = tell::namespace(channel).and_then(|namespace| self.known.get_mut(namespace)) else {
            return Ok(());
        };
        let Some((number, sender, names)) = tell::read(text) else { return Ok(()) };
        if number > known.heard + 1 {
            return Err(Failure::new(FailureKind::Lost, "a message was lost"));
        }
        known.heard = known.heard.max(number);
        let is_own = sender == self.server.sender;
        for name in names.take_while(|_| !is_own) {
            self.changed(name).await?;
        }
        Ok(())
    }

    async fn changed(&mut self, name: &str) -> Result<(), Failure> {
        match parsed(name) {
            Some((namespace, Kind::Value)) => {
                self.server.hub.of(namespace).iter().for_each(|one| one.watcher.changed(name));
            }
            Some((namespace, Kind::Head)) => self.ledger_changed(namespace).await?,
            None => {}
        }
        Ok(())
    }

    /// Reads which tags were invalidated, and notifies the watchers.
    async fn ledger_changed(&mut self, namespace: &str) -> Result<(), Failure> {
        let present = self.server.hub.of(namespace);
        let (Some(first), Some(known)) = (present.first(), self.known.get_mut(namespace)) else {
            return Ok(());
        };
        let (head, ended) = since(self.server, &first.space, known.ledger).await?;
        known.ledger = head;
        // in strict mode, entries identify the ledger also by its server's incarnation; in a cluster, by that of
        // their own node
        let life = self.incarnations.first().filter(|_| !self.server.client.is_cluster());
        let strictly = |at: Stamp| Some(Stamp::new(incarnated(at.ledger(), life?), at.count()));
        for Present { watcher, strict, .. } in &present {
            let known = |at: Stamp| if *strict { strictly(at) } else { Some(at) };
            let ended: Option<Vec<_>> = ended
                .as_ref()
                .and_then(|ended| ended.iter().map(|(tags, at)| Some((tags, known(*at)?))).collect());
            match ended {
                Some(ended) => ended.into_iter().for_each(|(tags, at)| watcher.tags_ended(tags, at)),
                // another ledger, or more invalidations than the ledger remembers
                None => watcher.lost(),
            }
        }
        Ok(())
    }
}

/// The answer to a heartbeat.
struct Answer {
    incarnations: Vec<Bytes>,
    topology: Topology,
    /// The chain of heartbeats at each primary: another one if the keys of the last heartbeat no longer existed.
    chains: Vec<Bytes>,
    /// The number of messages that were sent about each namespace, over pub/sub.
    told: Vec<(Arc<Space>, u64)>,
}

/// The commands of a heartbeat.
struct Asking<'a> {
    server: &'a Server,
    /// The keys for each primary: the key of this heartbeat, then those of earlier ones that may still exist.
    keys: Vec<Vec<String>>,
    spaces: Vec<Arc<Space>>,
}

impl Asking<'_> {
    async fn ask(self) -> Result<Answer, Failure> {
        let Self { server, keys, spaces } = self;
        let life = i64::try_from(BEAT_LIFE.as_millis()).unwrap_or(i64::MAX);
        let names: Vec<Vec<&str>> =
            keys.iter().map(|keys| keys.iter().map(String::as_str).collect()).collect();
        let mut commands = Vec::with_capacity(keys.len() * 2 + spaces.len());
        for names in &names {
            commands.push(BEAT.call(names, [Arg::from(life)]));
            commands.push(INCARNATION.call(&names[..1], []));
        }
        commands.extend(spaces.iter().map(|space| asking_told(space)));
        let mut answers = server.run(&commands).await;
        let (mut incarnations, mut chains) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        for _ in &keys {
            chains.push(answers.next()?.bytes()?.unwrap_or_default());
            incarnations.extend(answers.incarnations(1)?);
        }
        let mut told = Vec::with_capacity(spaces.len());
        for space in spaces {
            let number = count(answers.next()?)?;
            told.push((space, number));
        }
        let topology = Topology::of(server).await?;
        Ok(Answer { incarnations, topology, chains, told })
    }
}

fn asking_told(space: &Space) -> Command<'_> {
    Command { name: "GET", arguments: vec![space.told.as_str().into()], key: &space.told }
}

fn count(reply: Reply) -> Result<u64, Failure> {
    match reply {
        Reply::Nil => Ok(0),
        reply => Ok(u64::try_from(reply.number()?).unwrap_or(0)),
    }
}
