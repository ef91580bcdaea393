//! The list of runs.

use crate::check::{Run, run};
use crate::flights::Flights;
use crate::locks::Locks;
use crate::near::Near;
use crate::store::Store;
use crate::tags::Tags;

/// Returns the runs of a size: `tiny` (a second, also in a debug build), `small` or `large`.
///
/// Panics at a line that is not understood.
pub(crate) fn of_size(wanted: &str) -> Vec<Run> {
    let mut runs = vec![];
    for line in include_str!("../runs.txt").lines().filter(|line| !line.starts_with('#')) {
        let parts: Vec<&str> = line.split('|').map(str::trim).collect();
        let [size, subject, scope, mutations] = parts[..] else { panic!("a run has four parts: {line}") };
        let make = match subject {
            "far tier" => run::<Store>,
            "single flight" => run::<Flights>,
            "near tier" => run::<Near>,
            "tag ledger" => run::<Tags>,
            "locks" => run::<Locks>,
            _ => panic!("no model has this name: {subject}"),
        };
        let of_line = mutations.split("; ").map(|mutation| make(scope, mutation));
        runs.extend(of_line.filter(|_| size == wanted));
    }
    runs
}
