//! Checks a history in one pass, front to back.

use std::collections::HashMap;
use std::time::Duration;

use super::floors::{Floor, Floors};
use super::history::{Answer, Ask, Event, Failure, Scope, Seen, Step, What};
use super::protocol::Protocol;
use super::rules::{Figures, Rule, Rules, Violation};
use super::traffic::{Holders, Running};
use super::versions::{Moment, Row};

/// Checks a history by rules, and returns its figures.
///
/// # Errors
/// Returns the first violation.
///
/// # Examples
/// See the [module](super).
pub fn check(history: &[Event], rules: &Rules) -> Result<Figures, Violation> {
    let mut checker = Checker {
        rules,
        rows: HashMap::new(),
        floors: Floors::default(),
        open: HashMap::new(),
        guards: HashMap::new(),
        running: Running::default(),
        holders: Holders::default(),
        protocol: Protocol::default(),
        settled: false,
        figures: Figures::default(),
    };
    for (number, event) in history.iter().enumerate() {
        // events are counted from 1, so that 0 is before all
        checker.take(number + 1, event)?;
    }
    checker.end(history.len())?;
    Ok(checker.figures)
}

/// An operation without an answer yet.
#[derive(Debug)]
struct Open {
    ask: Ask,
    process: u32,
    start: Moment,
    /// `true` if faults had ended for good when the operation began.
    settled: bool,
    /// `true` if the store has forgotten something since. The operation may have happened before or after that.
    void: bool,
}

/// A write guard that was acknowledged, and the earliest time of its end.
#[derive(Debug)]
struct Standing {
    key: u64,
    until: Duration,
}

struct Checker<'a> {
    rules: &'a Rules,
    rows: HashMap<u64, Row>,
    floors: Floors,
    open: HashMap<u64, Open>,
    guards: HashMap<u64, Standing>,
    running: Running,
    holders: Holders,
    protocol: Protocol,
    settled: bool,
    figures: Figures,
}

fn broken(rule: Rule, event: usize, key: Option<u64>, message: String) -> Result<(), Violation> {
    Err(Violation { rule, event: event.saturating_sub(1), key, message })
}

impl Checker<'_> {
    fn take(&mut self, number: usize, Event { at, process, what }: &Event) -> Result<(), Violation> {
        let (process, moment) = (*process, (number, *at));
        match what {
            What::Committed { key, version, absent, guard } => {
                self.commit(*key, *version, *absent, *guard, process, moment);
            }
            What::Asked { operation, ask } => self.asked(*operation, ask, process, moment),
            What::Answered { operation, answer } => return self.answered(*operation, answer, moment),
            What::LoadBegan { load, key } => {
                self.figures.loads += 1;
                let other = self.running.begin(*load, *key, process, *at, self.rules.loads);
                if let Some(other) = other {
                    let message = format!("process {process} loads key {key} while process {other} does");
                    return broken(Rule::LoadsAtOnce, number, Some(*key), message);
                }
            }
            What::LoadEnded { load } => self.running.end(*load),
            What::Locked { lock, token, lease } => {
                if let Some(other) = self.holders.hold(*lock, *token, process, *at, *lease) {
                    let message = format!("process {process} was given a lock that process {other} holds");
                    return broken(Rule::TwoHolders, number, None, message);
                }
            }
            What::Unlocked { lock, token } => self.holders.free(*lock, *token),
            What::Executed { key, step } => return self.executed(number, *key, step),
            What::Emptied => {
                self.lost();
                self.protocol.emptied();
            }
            What::RolledBack { since } => {
                self.lost();
                self.protocol.rolled_back();
                self.floors.forget_since(since + 1);
                self.open.values_mut().for_each(|open| open.void = true);
            }
            What::Settled => self.settled = true,
            What::Left(what) => {
                return broken(Rule::Leak, number, None, format!("at the end there is {what}"));
            }
            What::Crashed | What::Note(_) => {}
        }
        Ok(())
    }

    fn executed(&mut self, number: usize, key: Option<u64>, step: &Step) -> Result<(), Violation> {
        let Some(key) = key else {
            self.protocol.emptied();
            return Ok(());
        };
        let row = self.rows.entry(key).or_default();
        let taken = self.protocol.take(number, key, step, row);
        taken.or_else(|message| broken(Rule::Protocol, number, Some(key), format!("{message}, of key {key}")))
    }

    /// Checks what the store holds when an invalidation of a key was acknowledged.
    fn acknowledged(&mut self, ask: &Ask, asked: usize, end: usize) -> Result<(), Violation> {
        let keys: Vec<u64> = match ask {
            Ask::Invalidate(scopes) => scopes
                .iter()
                .filter_map(|scope| if let Scope::Key(key) = scope { Some(*key) } else { None })
                .collect(),
            Ask::Insert { key, .. } | Ask::Guard { key, .. } => vec![*key],
            _ => vec![],
        };
        for key in keys {
            let row = self.rows.entry(key).or_default();
            let taken = self.protocol.acknowledged(key, asked, row);
            taken.or_else(|message| {
                broken(Rule::Protocol, end, Some(key), format!("{message}, of key {key}"))
            })?;
        }
        Ok(())
    }

    /// Records that the store has lost its guards and locks.
    fn lost(&mut self) {
        self.guards.clear();
        self.holders.clear();
        self.open
            .values_mut()
            .filter(|open| matches!(open.ask, Ask::Guard { .. }))
            .for_each(|open| open.void = true);
    }

    fn commit(
        &mut self,
        key: u64,
        version: u64,
        absent: bool,
        guard: Option<u64>,
        process: u32,
        moment: Moment,
    ) {
        self.figures.commits += 1;
        self.rows.entry(key).or_default().commit(version, absent, moment);
        let guard = guard.and_then(|guard| self.guards.get(&guard));
        if guard.is_some_and(|guard| guard.key == key && moment.1 < guard.until) {
            // nothing older can be stored from here on, as if the key had been invalidated at this moment
            self.floors.acknowledged(Scope::Key(key), process, moment, moment.0 + 1);
        }
    }

    fn asked(&mut self, operation: u64, ask: &Ask, process: u32, start: Moment) {
        self.figures.operations += 1;
        self.disturb(ask, start.1);
        if let Ask::Insert { key, version } = ask {
            self.rows.entry(*key).or_default().excuse(*version);
        }
        let settled = self.settled;
        self.open.insert(operation, Open { ask: ask.clone(), process, start, settled, void: false });
    }

    fn disturb(&mut self, ask: &Ask, at: Duration) {
        match ask {
            Ask::Read { .. } | Ask::Lookup { .. } => {}
            Ask::Refresh { key } | Ask::Insert { key, .. } | Ask::Guard { key, .. } => {
                self.running.disturb(Some(*key), at);
            }
            Ask::Invalidate(scopes) => {
                for scope in scopes {
                    match scope {
                        Scope::Key(key) => self.running.disturb(Some(*key), at),
                        Scope::Tag(_) | Scope::All => self.running.disturb(None, at),
                    }
                }
            }
        }
    }

    fn answered(&mut self, operation: u64, answer: &Answer, end: Moment) -> Result<(), Violation> {
        let Some(open) = self.open.remove(&operation) else { return Ok(()) };
        let took = end.1.saturating_sub(open.start.1);
        if took > self.rules.answered_within {
            let message = format!("{:?} of process {} took {took:?}", open.ask, open.process);
            return broken(Rule::Unanswered, end.0, None, message);
        }
        self.disturb(&open.ask, end.1);
        let acknowledged = *answer == Answer::Acknowledged && !open.void;
        self.figures.acknowledged += u64::from(acknowledged);
        match &open.ask {
            Ask::Read { key } | Ask::Refresh { key } | Ask::Lookup { key } => {
                return self.read(*key, &open, answer, end);
            }
            Ask::Invalidate(scopes) => {
                scopes.iter().for_each(|scope| self.invalidated(*scope, &open, answer, end));
            }
            Ask::Insert { key, version } => {
                self.invalidated(Scope::Key(*key), &open, answer, end);
                let row = self.rows.entry(*key).or_default();
                if row.is_current(*version) {
                    row.blame(*version);
                }
            }
            Ask::Guard { key, life } => {
                self.invalidated(Scope::Key(*key), &open, answer, end);
                if acknowledged {
                    let until = open.start.1.saturating_add(*life);
                    self.guards.insert(operation, Standing { key: *key, until });
                }
            }
        }
        if acknowledged { self.acknowledged(&open.ask, open.start.0, end.0) } else { Ok(()) }
    }

    fn invalidated(&mut self, scope: Scope, open: &Open, answer: &Answer, end: Moment) {
        let asked = open.start.0;
        match answer {
            _ if open.void => {}
            Answer::Acknowledged => self.floors.acknowledged(scope, open.process, end, asked),
            _ => self.floors.doubtful(scope, open.process, end, asked),
        }
    }

    fn read(&mut self, key: u64, open: &Open, answer: &Answer, end: Moment) -> Result<(), Violation> {
        match answer {
            Answer::Found { seen, from } => {
                self.figures.reads += 1;
                self.judge(key, open, *seen, from, end)
            }
            Answer::Failed(_) if open.settled => {
                let message = format!("a read of key {key} by process {} fails for ever", open.process);
                broken(Rule::NotConverged, end.0, Some(key), message)
            }
            Answer::Failed(failure) if matches!(open.ask, Ask::Read { .. }) => {
                let needless = *failure == Failure::Store || self.rules.source_is_sound;
                let message =
                    || format!("a read of key {key} by process {} failed: {failure:?}", open.process);
                if needless { broken(Rule::NeedlessError, end.0, Some(key), message()) } else { Ok(()) }
            }
            _ => Ok(()),
        }
    }

    /// Checks if a read was allowed to return its value.
    fn judge(&mut self, key: u64, open: &Open, seen: Seen, from: &str, end: Moment) -> Result<(), Violation> {
        let row = self.rows.entry(key).or_default();
        let found = match seen {
            Seen::Version { key: written, version } if written == key => row.version(version),
            Seen::Version { .. } => None,
            Seen::Absent => row.absence(),
        };
        let fail = |rule, why: &str| {
            let message = format!("process {} read {} ({from}), {why}", open.process, named(key, seen));
            broken(rule, end.0, Some(key), message)
        };
        let Some(version) = found else {
            return fail(Rule::Unwritten, "which was never committed before the read ended");
        };
        if row.is_excused(version) {
            return Ok(());
        }
        let number = if seen == Seen::Absent { None } else { version.number };
        let floor = self.floor(key, number, open);
        self.figures.bound_reads += u64::from(floor.all > 0);
        let Some((replaced, at)) = version.replaced else { return Ok(()) };
        if replaced < floor.own {
            return fail(Rule::ReadYourWrites, "which this process has invalidated since it was replaced");
        }
        if replaced < floor.all {
            return fail(Rule::FreshAfterAck, "whose invalidation was acknowledged before the read started");
        }
        if matches!(open.ask, Ask::Refresh { .. }) && replaced < open.start.0 {
            return fail(Rule::NotRefreshed, "which was replaced before the refresh was asked for");
        }
        if open.settled {
            return fail(Rule::NotConverged, "which is not the last version, long after everything ended");
        }
        let age = open.start.1.saturating_sub(at);
        if age > self.rules.max_age {
            return fail(Rule::TooOld, &format!("which had been replaced {age:?} before the read started"));
        }
        Ok(())
    }

    fn floor(&self, key: u64, version: Option<u64>, open: &Open) -> Floor {
        let tags = (self.rules.tags)(key, version).into_iter().map(Scope::Tag);
        let scopes = [Scope::Key(key), Scope::All].into_iter().chain(tags);
        self.floors.of(scopes, open.process, open.start, self.rules.near_bound)
    }

    fn end(&self, events: usize) -> Result<(), Violation> {
        let unanswered = self.open.iter().min_by_key(|(_, open)| open.start);
        match unanswered {
            Some((number, open)) => {
                let message =
                    format!("operation {number} of process {} never ended: {:?}", open.process, open.ask);
                broken(Rule::Unanswered, events, key_of(&open.ask), message)
            }
            None => Ok(()),
        }
    }
}

fn key_of(ask: &Ask) -> Option<u64> {
    match ask {
        Ask::Read { key } | Ask::Lookup { key } | Ask::Refresh { key } => Some(*key),
        Ask::Insert { key, .. } | Ask::Guard { key, .. } => Some(*key),
        Ask::Invalidate(_) => None,
    }
}

fn named(key: u64, seen: Seen) -> String {
    match seen {
        Seen::Version { key: written, version } if written == key => {
            format!("version {version} of key {key}")
        }
        Seen::Version { key: written, version } => {
            format!("version {version} of key {written} under key {key}")
        }
        Seen::Absent => format!("that there is no row {key}"),
    }
}
