//! The protocol of larder, checked exhaustively in small scopes.
//!
//! Each model states one part of the protocol as it is implemented. A run visits every state that its scope allows: every order of
//! requests, answers and faults. Then one mechanism after the other is taken out, and each must give a counterexample.
//! `--large` adds scopes that take minutes and gigabytes.

mod check;
mod flights;
mod locks;
mod near;
mod process;
mod runs;
mod store;
mod tags;

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut runs = runs::of_size("tiny");
    runs.extend(runs::of_size("small"));
    if env::args().any(|argument| argument == "--large") {
        runs.extend(runs::of_size("large"));
    }
    let (table, unexpected) = check::execute(&runs);
    print!("{table}");
    unexpected.iter().for_each(|run| eprint!("not as expected: {run}"));
    if unexpected.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[test]
fn tiny_scopes_are_as_expected() {
    let (_, unexpected) = check::execute(&runs::of_size("tiny"));
    assert!(unexpected.is_empty(), "{}", unexpected.concat());
}
