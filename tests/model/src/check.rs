//! Runs of the models, and what is expected of them.

use std::fmt::Debug;
use std::hash::Hash;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

/// The number of generated states at which a run stops. Such a run counts as incomplete.
const MOST: usize = 150_000_000;

/// A part of the protocol, in the size and with the rules of a [`Scope`].
pub(crate) trait Protocol: Sized + Send + Sync + 'static {
    type State: Clone + Debug + Hash + PartialEq + Send + Sync;
    /// The name in the table.
    const SUBJECT: &'static str;
    /// The words that a scope may use.
    const WORDS: &'static str;

    fn new(scope: Scope) -> Self;
    fn start(&self) -> Self::State;
    /// Adds each step that is possible in a state.
    fn steps(&self, state: &Self::State, to: &mut Steps<'_, Self>);
    /// Gives equivalent states one form.
    fn tidy(state: &mut Self::State);
    fn rules() -> Vec<Rule<Self>>;
}

/// A rule of all states, or a situation that some state must reach.
pub(crate) type Rule<P> = Property<Checked<P>>;
/// A step and the state after it.
pub(crate) type Step<P> = (&'static str, <P as Protocol>::State);

/// The steps that are possible in a state.
pub(crate) struct Steps<'a, P: Protocol>(&'a P::State, &'a mut Vec<Step<P>>);

impl<P: Protocol> Steps<'_, P> {
    pub(crate) fn add(&mut self, name: &'static str, effect: impl FnOnce(&mut P::State)) {
        let mut next = self.0.clone();
        effect(&mut next);
        P::tidy(&mut next);
        self.1.push((name, next));
    }

    pub(crate) fn add_if(&mut self, enabled: bool, name: &'static str, effect: impl FnOnce(&mut P::State)) {
        if enabled {
            self.add(name, effect);
        }
    }
}

/// A protocol as a model of stateright.
pub(crate) struct Checked<P>(pub(crate) P);

impl<P: Protocol> Model for Checked<P> {
    type State = P::State;
    type Action = Step<P>;

    fn init_states(&self) -> Vec<P::State> {
        vec![self.0.start()]
    }

    fn actions(&self, state: &P::State, found: &mut Vec<Step<P>>) {
        self.0.steps(state, &mut Steps(state, found));
    }

    fn next_state(&self, _: &P::State, step: Step<P>) -> Option<P::State> {
        Some(step.1)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        P::rules()
    }
}

/// The size of a run in words (`2 loaders, 1 copy, cluster`), and the mechanism that is taken out.
#[derive(Clone, Copy)]
pub(crate) struct Scope {
    words: &'static str,
    mutation: &'static str,
}

impl Scope {
    /// Returns the number before `word`, 0 if the scope does not name it.
    pub(crate) fn number(&self, word: &str) -> u8 {
        let parts = self.words.split(", ").filter_map(|part| part.split_once(' '));
        let number =
            |(count, noun): (&str, &str)| (noun.trim_end_matches('s') == word).then(|| count.parse());
        parts.filter_map(number).find_map(Result::ok).unwrap_or(0)
    }

    pub(crate) fn has(&self, word: &str) -> bool {
        self.words.split(", ").any(|part| part == word)
    }

    /// Returns `true` if `mutation` is the mechanism that is taken out.
    pub(crate) fn lacks(&self, mutation: &str) -> bool {
        self.mutation == mutation
    }
}

/// A model in a scope. Returns a line of the table, and an explanation if it is not as expected.
pub(crate) type Run = Box<dyn Fn() -> (String, Option<String>) + Send + Sync>;

/// Makes a run that must hold if `mutation` is empty, and must give a counterexample otherwise.
///
/// Panics at a word that the model does not know, since the run would check less than it says.
pub(crate) fn run<P: Protocol>(words: &'static str, mutation: &'static str) -> Run {
    let noun =
        |part: &str| part.trim_matches(|c: char| c.is_ascii_digit() || c == ' ' || c == 's').to_owned();
    let is_known = |part| P::WORDS.split(", ").any(|word| noun(part) == noun(word));
    assert!(words.split(", ").all(is_known), "{}: unknown word in `{words}`", P::SUBJECT);
    Box::new(move || check::<P>(Scope { words, mutation }))
}

/// Visits the states in breadth, all of them if `depth` is 0. One thread, so that each run gives the same result.
fn visit<P: Protocol>(scope: Scope, depth: usize) -> impl Checker<Checked<P>> {
    let until = HasDiscoveries::AnyFailures;
    let visit = Checked(P::new(scope)).checker().threads(1).finish_when(until).target_state_count(MOST);
    visit.target_max_depth(depth).spawn_bfs().join()
}

/// Returns the broken rule, and the steps to a state that breaks it.
fn counterexample<P: Protocol>(visited: &impl Checker<Checked<P>>) -> Option<(&'static str, Vec<Step<P>>)> {
    let is_rule =
        |name| P::rules().iter().any(|rule| rule.name == name && rule.expectation == Expectation::Always);
    let broken = visited.discoveries().into_iter().filter(|(name, _)| is_rule(*name));
    broken.map(|(name, path)| (name, path.into_actions())).min_by_key(|(_, steps)| steps.len())
}

fn check<P: Protocol>(scope: Scope) -> (String, Option<String>) {
    let (Scope { words, mutation }, began) = (scope, Instant::now());
    let visited = visit::<P>(scope, 0);
    let mut broken = counterexample(&visited);
    // stateright names some counterexample: look for shorter ones until there is none
    while let Some(shorter) =
        broken.as_ref().and_then(|(_, steps)| counterexample(&visit::<P>(scope, steps.len() + 1)))
    {
        broken = Some(shorter);
    }
    let complete = visited.is_done() && visited.state_count() < MOST;
    let found = visited.discoveries();
    let is_missing =
        |rule: &&Rule<P>| rule.expectation == Expectation::Sometimes && !found.contains_key(rule.name);
    let result = match (&broken, P::rules().iter().find(is_missing)) {
        (Some((rule, steps)), _) => format!("{rule}: broken in {} steps", steps.len()),
        (None, _) if !complete => "incomplete".to_owned(),
        (None, Some(situation)) => format!("never reached: {}", situation.name),
        (None, None) => "holds".to_owned(),
    };
    let (states, seconds) = (visited.unique_state_count(), began.elapsed().as_secs_f32());
    let line = format!("| {} | {words} | {mutation} | {states} | {seconds:.1} | {result} |\n", P::SUBJECT);
    let expected = if mutation.is_empty() { result == "holds" } else { broken.is_some() };
    let steps =
        broken.into_iter().flat_map(|(_, steps)| steps).map(|(step, state)| format!("  {step}: {state:?}\n"));
    let explained = (!expected).then(|| line.clone() + &steps.collect::<String>());
    (line, explained)
}

/// Executes `runs`, two at a time. Returns the table, and an explanation of each run that is not as expected.
pub(crate) fn execute(runs: &[Run]) -> (String, Vec<String>) {
    let (queue, outcomes) = (Mutex::new(runs.iter().enumerate()), Mutex::new(vec![]));
    let work = || {
        let next = || queue.lock().expect("no run panics with the lock").next();
        while let Some((index, run)) = next() {
            let outcome = run();
            outcomes.lock().expect("no run panics with the lock").push((index, outcome));
        }
    };
    thread::scope(|threads| _ = [threads.spawn(work), threads.spawn(work)]);
    let mut outcomes = outcomes.into_inner().expect("no run panics with the lock");
    outcomes.sort_unstable();
    let head =
        "| what | scope | taken out | states | seconds | result |\n|---|---|---|--:|--:|---|\n".to_owned();
    let table = outcomes.iter().fold(head, |table, (_, (line, _))| table + line);
    (table, outcomes.into_iter().filter_map(|(_, (_, unexpected))| unexpected).collect())
}
