//! The simulation over the server in memory. For longer: `cargo run --release -p larder-testkit --example simulate`.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../sim/mod.rs"]
mod memory;

use larder_testkit::check::timeline;
use larder_testkit::sim::{Options, Plan, simulate, trace};
use memory::Server;

#[test]
fn every_history_keeps_every_promise() {
    let report = simulate::<Server>(&Options::new(1).histories(200));
    println!("{report}");
    assert!(report.failed.is_none(), "a promise is broken: see above");
    assert!(report.figures.bound_reads > 10_000, "{report}");
}

#[test]
fn the_same_seed_gives_the_same_history() {
    for seed in 0..60 {
        let plan = Plan::of(seed, 3, 240);
        let (one, two) = (trace::<Server>(&plan), trace::<Server>(&plan));
        if one != two {
            let rules = plan.setup.rules();
            let [one, two] = [&one, &two].map(|events| timeline(events, &rules, None));
            let differs = one.lines().zip(two.lines()).find(|(one, two)| one != two);
            panic!("seed {seed} differs from itself: {differs:#?}");
        }
    }
}
