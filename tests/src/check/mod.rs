//! Checks if a recorded history keeps larder's guarantees. The history may be the simulation's or that of a real
//! system.
//!
//! A [`History`] is a list of events, in order: commits of the source, requests to the cache and their answers.
//! [`check`] reads it once, front to back, and returns the first [`Violation`]. Its memory grows with the number of
//! writes and invalidations. Each read costs a binary search in the invalidations that cover it.
//!
//! | rule | guarantee |
//! |---|---|
//! | [`Rule::FreshAfterAck`] | a read that starts after an invalidation was acknowledged returns nothing that was replaced before that invalidation was requested (in other processes with a near tier: after `max_staleness`) |
//! | [`Rule::ReadYourWrites`] | in the process that invalidated this holds at once, even if the invalidation failed or was abandoned |
//! | [`Rule::Unwritten`] | a value was committed before it is read, under that key |
//! | [`Rule::TooOld`] | a value that was never invalidated is served no longer than its life allows |
//! | [`Rule::NotRefreshed`] | a refresh sees everything committed before it |
//! | [`Rule::NotConverged`] | when faults have ended and lives have passed, all processes read the last version |
//! | [`Rule::LoadsAtOnce`] | one load of a key at a time, in a process or (with locks) in the cluster |
//! | [`Rule::TwoHolders`] | a lock has one holder while its lease lasts |
//! | [`Rule::NeedlessError`] | a read does not fail because the store does |
//! | [`Rule::Unanswered`] | every operation ends |
//! | [`Rule::Protocol`] | each request that the store has executed is a step of the protocol, and nothing that it holds is older than what was acknowledged |
//! | [`Rule::Leak`] | nothing is left over: flights, fences, tasks |
//!
//! # Examples
//! ```
//! use larder_testkit::check::{check, Answer, Ask, History, Rule, Rules, Scope, Seen, What};
//!
//! let history = History::new();
//! history.record(1, What::Committed { key: 7, version: 1, absent: false, guard: None });
//! history.record(1, What::Committed { key: 7, version: 2, absent: false, guard: None });
//! let write = history.ask(1, Ask::Invalidate(vec![Scope::Key(7)]));
//! history.answer(1, write, Answer::Acknowledged);
//! let read = history.ask(2, Ask::Read { key: 7 });
//! history.answer(2, read, Answer::Found { seen: Seen::Version { key: 7, version: 1 }, from: "far" });
//! let violation = check(&history.events(), &Rules::default()).unwrap_err();
//! assert_eq!((violation.rule, violation.key), (Rule::FreshAfterAck, Some(7)));
//! ```

mod checker;
mod floors;
mod history;
mod protocol;
mod rules;
mod shrink;
mod timeline;
mod traffic;
mod versions;

pub use checker::check;
pub use history::{Answer, Ask, Event, Failure, History, Scope, Seen, Step, What};
pub use rules::{Figures, Loads, Rule, Rules, TagsOf, Violation};
pub use shrink::shrink;
pub use timeline::timeline;
