//! One connection for all near tiers of a process: what servers push goes to whom it concerns, and is proven complete.
//!
//! A *session* is one connection to each primary, on which every change below the watched namespaces is announced
//! (`CLIENT TRACKING ON BCAST`), or one on which processes tell each other (pub/sub). It ends with any doubt: a connection
//! that is lost, an answer or a push that is late, another primary, another server in the old one's place. Whoever watches
//! is then told that anything may have changed, and again when the next session listens.
//!
//! Within a session a *beat* several times in each bound proves that nothing is missing. It writes a key that only this
//! session listens to, to each primary, over the ordinary connections; when all of these writes have been pushed, so has been
//! whatever was acknowledged before the beat began, since pushes of one server come in the order of its changes. That goes by
//! the push and not by an answer, which may overtake it. The beat also takes away the last beat's key, and continues the chain
//! that this key held: if it is missing, the server was flushed, or has forgotten writes, and the answer names another chain.
//! Over pub/sub messages are numbered by the server, and a beat asks for the numbers.
//!
//! What is pushed is handled in order on one task, so that a proof covers the handling too.

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

/// How long a beat's key stays, unless the next beat takes it away.
const BEAT_LIFE: Duration = Duration::from_secs(60);
/// So many beats in a row may go unanswered before the session ends.
const MOST_UNANSWERED: u64 = 30;
/// The first pause after a session, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_secs(1)];
/// The longest pause if the server refuses to tell of changes, which no retry helps.
const LONGEST_PAUSE_REFUSED: Duration = Duration::from_secs(60);

/// Who watches what.
#[derive(Default)]
pub(crate) struct Hub {
    state: Mutex<State>,
    /// Somebody came.
    came: Notify,
}

#[derive(Default)]
struct State {
    /// By namespace.
    watches: HashMap<String, Vec<Watch>>,
    /// The task that runs for them.
    running: Option<AbortHandle>,
}

#[derive(Debug)]
struct Watch {
    space: Arc<Space>,
    strict: bool,
    watcher: Weak<dyn Watcher>,
}

/// One who watches, while something is handed out.
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

/// Begins to tell `watcher` of the changes in a namespace; `false` when there is no runtime to do so.
pub(crate) fn watch(server: &Arc<Server>, space: Space, strict: bool, watcher: Weak<dyn Watcher>) -> bool {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return false };
    let mut state = server.hub.state();
    let watch = Watch { space: Arc::new(space), strict, watcher };
    state.watches.entry(watch.space.namespace().to_owned()).or_default().push(watch);
    // one that was started in a runtime which is no more has ended with it
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
    /// Tells all who watch a namespace but one, who did it.
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

    /// Everybody who still watches.
    fn present(&self) -> Vec<Present> {
        let mut state = self.state();
        state.watches.retain(|_, watches| {
            watches.retain(|watch| watch.watcher.strong_count() > 0);
            !watches.is_empty()
        });
        state.watches.values().flatten().filter_map(Watch::present).collect()
    }

    /// Who watches a namespace.
    fn of(&self, namespace: &str) -> Vec<Present> {
        let state = self.state();
        state.watches.get(namespace).into_iter().flatten().filter_map(Watch::present).collect()
    }

    /// Whether there is nobody left to run for. Whoever comes next starts it again.
    fn stops(&self) -> bool {
        let mut state = self.state();
        let is_idle = state.watches.values().flatten().all(|watch| watch.watcher.strong_count() == 0);
        if is_idle {
            state.running = None;
        }
        is_idle
    }
}

/// Sessions one after the other, until nobody watches or the server's handles are gone.
async fn run(server: Weak<Server>) {
    let mut pause = PAUSES[0];
    // the last warning, until there is proof again
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

/// What is known of a namespace in this session.
struct Known {
    ledger: Stamp,
    /// The number of the last message heard, and of the last that must have been when it was asked for.
    heard: u64,
}

struct Session<'a> {
    server: &'a Server,
    listener: Arc<dyn Listener>,
    heard: mpsc::UnboundedReceiver<Heard>,
    /// What the names of its beats begin with.
    prefix: String,
    topology: Topology,
    incarnations: Vec<Bytes>,
    /// The chain of beats at each primary.
    chains: Vec<Bytes>,
    known: HashMap<String, Known>,
    /// The number of the last beat.
    beats: u64,
    /// And of the last one that was answered.
    answered: u64,
    /// The keys of this beat that have not been pushed.
    beating: Vec<String>,
}

impl<'a> Session<'a> {
    /// Listens, beats and hands out, until nobody watches; an error is any doubt.
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

    /// Asks each primary to tell of all changes below these prefixes, besides what it was asked for before.
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
            // in this order: what happens from now on is heard, and what happened before is known
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

    /// The ledger's state.
    async fn ledger(&self, space: &Space) -> Result<Stamp, Failure> {
        // with the kind of its failure: an outage is no refusal
        self.server.try_stamp(space, false, &space.head).await
    }

    /// How many messages there were about a namespace.
    async fn told(&self, space: &Space) -> Result<u64, Failure> {
        count(self.server.run(&[asking_told(space)]).await.next()?)
    }

    /// Proves that everything acknowledged before now has been handed out, if the servers answer; says whether it did.
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
                        // a server that is busy or away: nothing is proven, and nothing was missed as long as the listener
                        // is connected
                        tracing::debug!(%failure, "a heartbeat was not answered");
                        return Ok(false);
                    }
                    Err(failure) => return Err(failure),
                },
                () = sleep_until(deadline) => {
                    // what was written was not pushed: the listener is deaf
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

    /// The key of this beat at a node, and those that may be there from the last ones: the last that was answered, or any
    /// since then.
    fn beat_keys(&self, node: &str) -> Vec<String> {
        let since = self.answered.max(1);
        std::iter::once(self.beats)
            .chain(since..self.beats)
            .map(|number| self.beat_key(number, node))
            .collect()
    }

    /// Whether all messages there were have come.
    fn has_heard(&self, told: &[(Arc<Space>, u64)]) -> bool {
        let heard = |space: &Space| self.known.get(space.namespace()).map_or(u64::MAX, |known| known.heard);
        told.iter().all(|(space, number)| heard(space) >= *number)
    }

    /// Whether an answered beat proves anything: the first one does not, since there is none to compare it with.
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
        // of what a primary without slots is about to get, nobody would tell
        Ok(!is_first && self.topology.is_whole)
    }

    /// Hands out what is heard until it is time for the next beat, or somebody new is here, or this is the first: it proves
    /// nothing, since it has none before it to be compared with.
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

    /// Tells whom it concerns.
    async fn hand_out(&mut self, heard: Heard) -> Result<(), Failure> {
        match heard {
            Heard::Changed(names) => {
                for name in names.iter().filter_map(|name| std::str::from_utf8(name).ok()) {
                    if name.starts_with(&self.prefix) {
                        // the last beat's key is told too, when this one takes it away
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

    /// Asks which tags were invalidated, and tells.
    async fn ledger_changed(&mut self, namespace: &str) -> Result<(), Failure> {
        let present = self.server.hub.of(namespace);
        let (Some(first), Some(known)) = (present.first(), self.known.get_mut(namespace)) else {
            return Ok(());
        };
        let (head, ended) = since(self.server, &first.space, known.ledger).await?;
        known.ledger = head;
        // in strict mode entries know the ledger by the life of its server too; in a cluster, each by that of its own node
        let life = self.incarnations.first().filter(|_| !self.server.client.is_cluster());
        let strictly = |at: Stamp| Some(Stamp::new(incarnated(at.ledger(), life?), at.count()));
        for Present { watcher, strict, .. } in &present {
            let known = |at: Stamp| if *strict { strictly(at) } else { Some(at) };
            let ended: Option<Vec<_>> = ended
                .as_ref()
                .and_then(|ended| ended.iter().map(|(tags, at)| Some((tags, known(*at)?))).collect());
            match ended {
                Some(ended) => ended.into_iter().for_each(|(tags, at)| watcher.tags_ended(tags, at)),
                // another ledger, or too much to follow
                None => watcher.lost(),
            }
        }
        Ok(())
    }
}

/// What a beat was answered.
struct Answer {
    incarnations: Vec<Bytes>,
    topology: Topology,
    /// The chain of beats at each primary: another one if the last beat's keys were no longer there.
    chains: Vec<Bytes>,
    /// How many messages there were about each namespace; over pub/sub.
    told: Vec<(Arc<Space>, u64)>,
}

/// The questions of a beat.
struct Asking<'a> {
    server: &'a Server,
    /// For each primary its keys: the beat's, then those that may be there from the last.
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
