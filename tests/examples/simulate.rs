//! cargo run --release -p larder-testkit --example simulate -- --seconds 60 --seed 1
//!
//! Simulates as long as it is told to, on all cores, and prints what it did as the rows of a table. A broken promise ends it
//! with the seed, the shortest history that breaks it and the timeline of the key. `--replay SEED` runs one history again.

#[path = "../sim/mod.rs"]
mod memory;

use std::process::ExitCode;
use std::time::Duration;

use larder_testkit::check::timeline;
use larder_testkit::sim::{Options, Plan, replay, simulate, trace};
use memory::Server;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |name: &str| -> Option<u64> {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1)?.parse().ok()
    };
    let steps = number("--steps").unwrap_or(240) as usize;
    let processes = number("--processes").unwrap_or(3) as usize;
    if let Some(seed) = number("--replay") {
        let plan = Plan::of(seed, processes, steps);
        println!("{:#?}", plan.setup);
        print!("{}", timeline(&trace::<Server>(&plan), &plan.setup.rules(), number("--key")));
        return match replay::<Server>(&plan) {
            Ok(figures) => {
                println!("{figures:?}");
                ExitCode::SUCCESS
            }
            Err(violation) => {
                println!("{violation}");
                ExitCode::FAILURE
            }
        };
    }
    let options = Options::new(number("--seed").unwrap_or(1)).steps(steps).processes(processes);
    let options = options.time(Duration::from_secs(number("--seconds").unwrap_or(10)));
    let options = match number("--threads") {
        Some(threads) => options.on_threads(threads as usize),
        None => options,
    };
    let report = simulate::<Server>(&options);
    print!("{report}");
    ExitCode::from(u8::from(report.failed.is_some()))
}
