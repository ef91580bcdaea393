//! Prints a history for human readers.

use std::collections::HashSet;
use std::fmt::Write as _;

use super::history::{Answer, Ask, Event, Scope, Seen, What};
use super::rules::Rules;

/// Returns the events that concern a key, one on a line; all events if no key is given.
///
/// # Examples
/// ```
/// use larder_testkit::check::{timeline, Ask, History, Rules};
/// let history = History::new();
/// history.ask(1, Ask::Read { key: 7 });
/// history.ask(1, Ask::Read { key: 8 });
/// assert!(timeline(&history.events(), &Rules::default(), Some(7)).contains("#1 read 7"));
/// ```
#[must_use]
pub fn timeline(history: &[Event], rules: &Rules, key: Option<u64>) -> String {
    let mut lines = String::new();
    let mut shown = HashSet::new();
    for (number, event) in history.iter().enumerate() {
        let concerns = key.is_none_or(|key| concerns(&event.what, key, rules, &mut shown));
        if concerns {
            let at = event.at.as_secs_f64();
            // writing to a string does not fail
            _ = writeln!(
                lines,
                "{number:>5} {at:>10.6} s  process {:<3} {}",
                event.process,
                told(&event.what)
            );
        }
    }
    lines
}

/// Returns `true` if an event concerns a key. `shown` contains the operations and loads that did.
fn concerns(what: &What, key: u64, rules: &Rules, shown: &mut HashSet<u64>) -> bool {
    match what {
        What::Committed { key: of, .. } => *of == key,
        What::Asked { operation, ask } => {
            let concerned = match ask {
                Ask::Read { key: of } | Ask::Lookup { key: of } | Ask::Refresh { key: of } => *of == key,
                Ask::Insert { key: of, .. } | Ask::Guard { key: of, .. } => *of == key,
                Ask::Invalidate(scopes) => scopes.iter().any(|scope| match scope {
                    Scope::Key(of) => *of == key,
                    // the tags of other versions are not checked: one event too many does no harm
                    Scope::Tag(_) => !(rules.tags)(key, Some(1)).is_empty(),
                    Scope::All => true,
                }),
            };
            concerned && shown.insert(*operation)
        }
        What::Answered { operation, .. } => shown.contains(operation),
        What::LoadBegan { load, key: of } => *of == key && shown.insert(*load),
        What::LoadEnded { load } => shown.contains(load),
        What::Locked { .. } | What::Unlocked { .. } => false,
        _ => true,
    }
}

fn told(what: &What) -> String {
    match what {
        What::Committed { key, version, absent, guard } => {
            let what = if *absent { "the row's absence" } else { "a row" };
            let under = guard.map_or_else(String::new, |guard| format!(" under guard #{guard}"));
            format!("committed {key} v{version}, {what}{under}")
        }
        What::Asked { operation, ask } => format!("#{operation} {}", asked(ask)),
        What::Answered { operation, answer } => format!("#{operation} -> {}", answered(answer)),
        What::LoadBegan { load, key } => format!("load {load} of {key} begins"),
        What::LoadEnded { load } => format!("load {load} ends"),
        What::Locked { lock, token, lease } => format!("lock {lock:x} is held by {token:x} for {lease:?}"),
        What::Unlocked { lock, token } => format!("lock {lock:x} is given back by {token:x}"),
        What::Executed { key: Some(key), step } => format!("the store: {key} {step:?}"),
        What::Executed { key: None, step } => format!("the store: {step:?} for all keys"),
        What::Emptied => "** the store lost everything".to_owned(),
        What::RolledBack { since } => format!("** the store is as it was before event {since}"),
        What::Crashed => "** the process dies".to_owned(),
        What::Settled => "** everything has settled".to_owned(),
        What::Left(what) => format!("** left over: {what}"),
        What::Note(note) => format!("-- {note}"),
    }
}

fn asked(ask: &Ask) -> String {
    match ask {
        Ask::Read { key } => format!("read {key}"),
        Ask::Lookup { key } => format!("lookup {key}"),
        Ask::Refresh { key } => format!("refresh {key}"),
        Ask::Invalidate(scopes) => format!("invalidate {scopes:?}"),
        Ask::Insert { key, version } => format!("insert {key} v{version}"),
        Ask::Guard { key, life } => format!("guard {key} for {life:?}"),
    }
}

fn answered(answer: &Answer) -> String {
    match answer {
        Answer::Found { seen: Seen::Version { key, version }, from } => format!("{key} v{version} ({from})"),
        Answer::Found { seen: Seen::Absent, from } => format!("no row ({from})"),
        Answer::NotCached => "not cached".to_owned(),
        Answer::Acknowledged => "ok".to_owned(),
        Answer::Failed(failure) => format!("error ({failure:?})"),
        Answer::Dropped => "abandoned".to_owned(),
    }
}
