//! The checker, on histories made by hand: what it must find, and what it must let pass.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use larder_testkit::check::{
    Answer, Ask, Event, Failure, Loads, Rule, Rules, Scope, Seen, Step, What, check, timeline,
};

const SECOND: Duration = Duration::from_secs(1);

/// A history, written down second by second.
#[derive(Default)]
struct Story {
    events: Vec<Event>,
    now: Duration,
    operations: u64,
}

impl Story {
    fn at(mut self, seconds: f64) -> Self {
        self.now = Duration::from_secs_f64(seconds);
        self
    }

    fn what(mut self, process: u32, what: What) -> Self {
        self.events.push(Event { at: self.now, process, what });
        self
    }

    fn commit(self, key: u64, version: u64) -> Self {
        self.what(1, What::Committed { key, version, absent: false, guard: None })
    }

    /// Asks; the number is that of the story's operations so far.
    fn ask(mut self, process: u32, ask: Ask) -> Self {
        self.operations += 1;
        let operation = self.operations;
        self.what(process, What::Asked { operation, ask })
    }

    fn answer(self, process: u32, operation: u64, answer: Answer) -> Self {
        self.what(process, What::Answered { operation, answer })
    }

    /// Asks and answers at once.
    fn done(self, process: u32, ask: Ask, answer: Answer) -> Self {
        let operation = self.operations + 1;
        self.ask(process, ask).answer(process, operation, answer)
    }

    fn read(self, process: u32, key: u64, version: u64) -> Self {
        self.done(process, Ask::Read { key }, found(key, version))
    }

    fn invalidate(self, process: u32, scope: Scope) -> Self {
        self.done(process, Ask::Invalidate(vec![scope]), Answer::Acknowledged)
    }

    #[track_caller]
    fn keeps(&self, rules: &Rules) {
        if let Err(violation) = check(&self.events, rules) {
            panic!("{violation}\n{}", timeline(&self.events, rules, None));
        }
    }

    #[track_caller]
    fn breaks(&self, rule: Rule, rules: &Rules) {
        let found = check(&self.events, rules).map_err(|violation| violation.rule);
        assert_eq!(found, Err(rule), "\n{}", timeline(&self.events, rules, None));
    }
}

fn found(key: u64, version: u64) -> Answer {
    Answer::Found { seen: Seen::Version { key, version }, from: "somewhere" }
}

fn absent() -> Answer {
    Answer::Found { seen: Seen::Absent, from: "somewhere" }
}

fn rules() -> Rules {
    Rules::default()
}

/// Two versions of key 7.
fn two() -> Story {
    Story::default().commit(7, 1).at(1.0).commit(7, 2)
}

#[test]
fn a_read_after_an_acknowledgement_is_fresh() {
    two().read(2, 7, 1).keeps(&rules());
    two().invalidate(1, Scope::Key(7)).read(2, 7, 2).keeps(&rules());
    two().invalidate(1, Scope::Key(7)).read(2, 7, 1).breaks(Rule::FreshAfterAck, &rules());
    two().invalidate(1, Scope::All).read(2, 7, 1).breaks(Rule::FreshAfterAck, &rules());
    two().invalidate(1, Scope::Key(8)).read(2, 7, 1).keeps(&rules());
}

#[test]
fn what_overlaps_may_be_old() {
    // the read begins before the acknowledgement
    let overlapping = two()
        .ask(1, Ask::Invalidate(vec![Scope::Key(7)]))
        .ask(2, Ask::Read { key: 7 })
        .answer(1, 1, Answer::Acknowledged)
        .answer(2, 2, found(7, 1));
    overlapping.keeps(&rules());
    // the commit comes after the invalidation was asked for
    let late = Story::default()
        .commit(7, 1)
        .ask(1, Ask::Invalidate(vec![Scope::Key(7)]))
        .commit(7, 2)
        .answer(1, 1, Answer::Acknowledged)
        .read(2, 7, 1);
    late.keeps(&rules());
}

#[test]
fn the_process_that_invalidates_sees_it_whatever_comes_of_it() {
    for answer in [Answer::Failed(Failure::Store), Answer::Dropped] {
        let failed = || two().done(1, Ask::Invalidate(vec![Scope::Key(7)]), answer.clone());
        failed().read(2, 7, 1).keeps(&rules());
        failed().read(1, 7, 1).breaks(Rule::ReadYourWrites, &rules());
    }
}

#[test]
fn with_a_near_tier_other_processes_have_its_bound() {
    let near = Rules { near_bound: SECOND, ..rules() };
    let story = || two().at(2.0).invalidate(1, Scope::Key(7));
    story().at(2.9).read(2, 7, 1).keeps(&near);
    story().at(3.1).read(2, 7, 1).breaks(Rule::FreshAfterAck, &near);
    story().at(2.1).read(1, 7, 1).breaks(Rule::ReadYourWrites, &near);
}

#[test]
fn nothing_comes_from_the_future_or_from_another_key() {
    Story::default().commit(7, 1).read(1, 7, 2).commit(7, 2).breaks(Rule::Unwritten, &rules());
    let foreign = Story::default().commit(7, 1).commit(8, 1).done(1, Ask::Read { key: 7 }, found(8, 1));
    foreign.breaks(Rule::Unwritten, &rules());
}

#[test]
fn absence_is_a_version() {
    let none = Story::default().done(1, Ask::Read { key: 7 }, absent());
    none.keeps(&rules());
    let replaced = || Story::default().commit(7, 1).invalidate(1, Scope::Key(7));
    replaced().done(2, Ask::Read { key: 7 }, absent()).breaks(Rule::FreshAfterAck, &rules());
    let deleted = replaced().what(1, What::Committed { key: 7, version: 2, absent: true, guard: None });
    let deleted = deleted.invalidate(1, Scope::Key(7));
    deleted.done(2, Ask::Read { key: 7 }, absent()).keeps(&rules());
    let read = replaced().what(1, What::Committed { key: 7, version: 2, absent: true, guard: None });
    read.done(2, Ask::Read { key: 7 }, found(7, 2)).breaks(Rule::Unwritten, &rules());
}

#[test]
fn tags_cover_what_carries_them() {
    let tagged = Rules {
        tags: Arc::new(|_, version| version.into_iter().map(|version| version % 2).collect()),
        ..rules()
    };
    two().invalidate(1, Scope::Tag(1)).read(2, 7, 1).breaks(Rule::FreshAfterAck, &tagged);
    two().invalidate(1, Scope::Tag(0)).read(2, 7, 1).keeps(&tagged);
}

#[test]
fn what_nobody_invalidates_ends_with_its_life() {
    let rules = Rules { max_age: 5 * SECOND, ..rules() };
    two().at(5.9).read(2, 7, 1).keeps(&rules);
    two().at(6.1).read(2, 7, 1).breaks(Rule::TooOld, &rules);
}

#[test]
fn a_commit_under_a_guard_is_an_invalidation() {
    let guarded = |life: Duration| {
        let story =
            Story::default().commit(7, 1).done(1, Ask::Guard { key: 7, life }, Answer::Acknowledged).at(2.0);
        story.what(1, What::Committed { key: 7, version: 2, absent: false, guard: Some(1) })
    };
    guarded(3 * SECOND).what(1, What::Crashed).read(2, 7, 1).breaks(Rule::FreshAfterAck, &rules());
    guarded(SECOND).read(2, 7, 1).keeps(&rules());
    // a store that has lost everything has lost the guard
    let lost = Story::default()
        .commit(7, 1)
        .done(1, Ask::Guard { key: 7, life: 9 * SECOND }, Answer::Acknowledged)
        .what(0, What::Emptied)
        .what(1, What::Committed { key: 7, version: 2, absent: false, guard: Some(1) });
    lost.read(2, 7, 1).keeps(&rules());
}

#[test]
fn a_store_that_forgets_takes_its_acknowledgements_with_it() {
    let story = || two().invalidate(1, Scope::Key(7)).what(0, What::RolledBack { since: 2 });
    story().read(2, 7, 1).keeps(&rules());
    story().invalidate(1, Scope::Key(7)).read(2, 7, 1).breaks(Rule::FreshAfterAck, &rules());
    let before = two().invalidate(1, Scope::Key(7)).what(0, What::RolledBack { since: 4 });
    before.read(2, 7, 1).breaks(Rule::FreshAfterAck, &rules());
}

#[test]
fn an_insert_is_an_invalidation_and_excuses_only_itself() {
    let inserted = || two().done(1, Ask::Insert { key: 7, version: 2 }, Answer::Acknowledged);
    inserted().read(2, 7, 2).keeps(&rules());
    inserted().read(2, 7, 1).breaks(Rule::FreshAfterAck, &rules());
    inserted().commit(7, 3).invalidate(1, Scope::Key(7)).read(2, 7, 2).breaks(Rule::FreshAfterAck, &rules());
    // another write while it was under way: which of the two came last nobody knows
    let raced = two()
        .ask(1, Ask::Insert { key: 7, version: 2 })
        .commit(7, 3)
        .done(2, Ask::Invalidate(vec![Scope::Key(7)]), Answer::Acknowledged)
        .answer(1, 1, Answer::Acknowledged);
    raced.read(2, 7, 2).keeps(&rules());
}

#[test]
fn a_refresh_sees_what_was_committed_before() {
    two().done(2, Ask::Refresh { key: 7 }, found(7, 1)).breaks(Rule::NotRefreshed, &rules());
    two().done(2, Ask::Refresh { key: 7 }, found(7, 2)).keeps(&rules());
}

#[test]
fn in_the_end_everybody_sees_the_last_version() {
    two().what(0, What::Settled).read(2, 7, 1).breaks(Rule::NotConverged, &rules());
    let failing = two().what(0, What::Settled).done(2, Ask::Read { key: 7 }, Answer::Failed(Failure::Source));
    failing.breaks(Rule::NotConverged, &rules());
}

#[test]
fn loads_are_counted() {
    let load = |load: u64, key: u64| What::LoadBegan { load, key };
    let calm_for = SECOND;
    let (process, cluster) = (Loads::OnePerProcess { calm_for }, Loads::OnePerCluster { calm_for });
    let by = |loads| Rules { loads, ..rules() };
    let two_processes = Story::default().what(1, load(1, 7)).what(2, load(2, 7));
    two_processes.keeps(&by(process));
    two_processes.breaks(Rule::LoadsAtOnce, &by(cluster));
    let one_process = || Story::default().what(1, load(1, 7)).what(1, load(2, 7));
    one_process().keeps(&by(Loads::Any));
    one_process().breaks(Rule::LoadsAtOnce, &by(process));
    Story::default().what(1, load(1, 7)).what(1, load(2, 8)).keeps(&by(process));
    let ended = Story::default().what(1, load(1, 7)).what(1, What::LoadEnded { load: 1 }).what(1, load(2, 7));
    ended.keeps(&by(process));
    let invalidated = Story::default().what(1, load(1, 7)).invalidate(1, Scope::Key(7)).what(1, load(2, 7));
    invalidated.keeps(&by(process));
}

#[test]
fn a_lock_has_one_holder() {
    let locked = |token| What::Locked { lock: 1, token, lease: SECOND };
    Story::default().what(1, locked(1)).at(0.5).what(2, locked(2)).breaks(Rule::TwoHolders, &rules());
    Story::default().what(1, locked(1)).at(1.5).what(2, locked(2)).keeps(&rules());
    let given_back = Story::default().what(1, locked(1)).what(1, What::Unlocked { lock: 1, token: 1 });
    given_back.what(2, locked(2)).keeps(&rules());
    let stolen = Story::default().what(1, locked(1)).what(2, What::Unlocked { lock: 1, token: 2 });
    stolen.what(2, locked(3)).breaks(Rule::TwoHolders, &rules());
}

#[test]
fn what_the_store_executes_follows_the_protocol() {
    let executed = |story: Story, step| story.what(0, What::Executed { key: Some(7), step });
    let tell = |story: Story, steps: &[Step]| steps.iter().fold(story, |story, step| executed(story, *step));
    let (created, joined) =
        (|fence| Step::Granted { fence, joined: false }, Step::Granted { fence: 1, joined: true });
    let filled = |version| Step::Filled { fence: 1, version: Some(version) };
    let first = || Story::default().commit(7, 1);
    tell(first(), &[created(1), joined, filled(1), Step::Found { version: Some(1) }]).keeps(&rules());
    tell(first(), &[created(1), Step::Removed, created(2), joined]).breaks(Rule::Protocol, &rules());
    tell(first(), &[created(1), Step::Removed, created(1)]).breaks(Rule::Protocol, &rules());
    tell(first(), &[created(1), Step::Removed, filled(1)]).breaks(Rule::Protocol, &rules());
    tell(first(), &[created(1), Step::Ended { fence: 1 }, filled(1)]).breaks(Rule::Protocol, &rules());
    tell(first(), &[created(1), filled(1), Step::Removed, Step::Found { version: Some(1) }])
        .breaks(Rule::Protocol, &rules());
    tell(first(), &[Step::Put]).breaks(Rule::Protocol, &rules());
    // what is loaded with a fence was committed when the fence was granted, or later
    tell(first().commit(7, 2), &[created(1), filled(2)]).keeps(&rules());
    tell(first().commit(7, 2), &[created(1), filled(1)]).breaks(Rule::Protocol, &rules());
    tell(tell(first(), &[created(1)]).commit(7, 2), &[filled(1)]).keeps(&rules());
    // an acknowledgement, while the store holds something older
    let stored = || tell(first(), &[created(1), filled(1)]).commit(7, 2);
    stored().invalidate(1, Scope::Key(7)).breaks(Rule::Protocol, &rules());
    tell(stored(), &[Step::Removed]).invalidate(1, Scope::Key(7)).keeps(&rules());
    // nothing is known after the store went back to older data
    let back = stored().what(0, What::RolledBack { since: 0 });
    tell(back, &[joined, Step::Found { version: Some(1) }]).keeps(&rules());
}

#[test]
fn errors_hangs_and_leaks_are_found() {
    let failed = |failure| Story::default().done(1, Ask::Read { key: 7 }, Answer::Failed(failure));
    failed(Failure::Source).keeps(&rules());
    failed(Failure::Source).breaks(Rule::NeedlessError, &Rules { source_is_sound: true, ..rules() });
    failed(Failure::Store).breaks(Rule::NeedlessError, &rules());
    Story::default().ask(1, Ask::Read { key: 7 }).breaks(Rule::Unanswered, &rules());
    let slow = Story::default().ask(1, Ask::Read { key: 7 }).at(9.0).answer(1, 1, absent());
    slow.breaks(Rule::Unanswered, &Rules { answered_within: SECOND, ..rules() });
    Story::default().what(0, What::Left("a fence".to_owned())).breaks(Rule::Leak, &rules());
}
