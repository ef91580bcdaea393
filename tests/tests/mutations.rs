//! RUSTFLAGS="--cfg larder_mutations" cargo test --release -p larder-testkit --test mutations -- --nocapture
//!
//! Takes one mechanism after the other out, and sees that the checker notices: who checks a promise must be able to fail.
#![cfg(larder_mutations)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../sim/mod.rs"]
mod memory;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use larder::mutation;
use larder_testkit::check::Rule;
use larder_testkit::sim::{Plan, replay};
use memory::Server;

/// Within how many histories each must be noticed.
const LIMIT: u64 = 40_000;

/// Each mechanism that is taken out, in the words of the place where it is.
const MUTATIONS: [&str; 37] = [
    // fences
    "a removal leaves the fence",
    "a removal leaves the fence (in process)",
    "a fill needs no fence",
    "all loads have one nonce",
    "a process has one nonce",
    "a fence is named by its client",
    "a tombstone stands for the nonce",
    "a refused insert removes nothing",
    "clear leaves the fences",
    "a refresh is stored without its fence",
    // sharing loads
    "flights are shared whenever they began",
    "a fill is current when its answer comes",
    "a hit is current when its answer comes",
    "an invalidation detaches no flight",
    "a failed load stays in flight",
    "a load has no budget",
    "a lock is given back without its token",
    // invalidations that fail
    "a failed invalidation is forgotten",
    "an abandoned invalidation is none",
    "what was read while an invalidation failed is served",
    "a success settles what failed after it began",
    // clocks
    "the server's times are read by the process's clock",
    // the near tier
    "a near entry is of the generation in which it arrives",
    "a near tier is served without proof",
    "what is placed unproven has no bound",
    "the near entry goes before the far one",
    "a write leaves what is near",
    "a near tier does not follow tags",
    "what stood once is not judged again",
    "a flush is not pushed",
    "lost pushes are not noticed",
    // tags
    "the stamp is taken after the load",
    "a forgotten tag was never invalidated",
    "any ledger will do",
    // write guards
    "a guard has one slot",
    "a guard has one slot (in process)",
    "a guard stops no announcement",
];

/// After how many histories, and by which rule, a mutation was noticed.
fn noticed(name: &'static str) -> Option<(u64, Rule)> {
    mutation::set(name);
    let found = (1..=LIMIT).find_map(|seed| {
        replay::<Server>(&Plan::of(seed, 3, 240)).err().map(|violation| (seed, violation.rule))
    });
    mutation::set("");
    if let Some((seed, _)) = found {
        replay::<Server>(&Plan::of(seed, 3, 240))
            .expect("with the mechanism in its place the same history is sound");
    }
    found
}

#[test]
fn every_mutation_is_noticed() {
    let only = std::env::var("LARDER_MUTATION").unwrap_or_default();
    let chosen: Vec<_> = MUTATIONS.into_iter().filter(|name| name.contains(&only)).collect();
    let (next, found) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while let Some(name) = chosen.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let began = Instant::now();
                    let noticed = noticed(name);
                    println!("{name}: {noticed:?} in {:.1?}", began.elapsed());
                    found.lock().unwrap().insert(*name, noticed);
                }
            });
        }
    });
    let found = found.into_inner().unwrap();
    println!("\n| taken out | noticed after so many histories | as |\n|---|---|---|");
    for name in &chosen {
        match found[name] {
            Some((histories, rule)) => println!("| {name} | {histories} | `{rule:?}` |"),
            None => println!("| {name} | **not within {LIMIT}** | |"),
        }
    }
    let unnoticed: Vec<_> =
        found.iter().filter(|(_, noticed)| noticed.is_none()).map(|(name, _)| name).collect();
    assert!(unnoticed.is_empty(), "not noticed: {unnoticed:#?}");
}
