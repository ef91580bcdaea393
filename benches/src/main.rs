//! larder beside what a user would pick instead: `cargo run --release --manifest-path benches/Cargo.toml -- --help`

mod load;
mod machine;
mod measure;
mod peers;
mod processes;
mod report;
mod scenarios;
mod svg;

use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;
use scenarios::{ALL, Effort, Scenario};

/// Measures larder against what a user would pick instead, in turns, in one process; prints medians with ratios and
/// allocations, and writes them as Markdown (`RESULTS.md`) and as a picture (`chart.svg`).
#[derive(Parser)]
struct Options {
    /// The scenarios to measure; all of them if none is named. `list` prints them.
    scenarios: Vec<String>,
    /// Fewer rounds and smaller sizes: all of it in some minutes. Ratios are rougher then.
    #[arg(long)]
    quick: bool,
    /// The folder for the files. Without it, nothing is written.
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|first| first == "process") {
        scenarios::process(&arguments[2..]);
        return Ok(());
    }
    let options = Options::parse();
    if options.scenarios.iter().any(|name| name == "list") {
        ALL.iter().for_each(|scenario| println!("{:<12} {}", scenario.name, scenario.about));
        return Ok(());
    }
    if let Some(unknown) = options.scenarios.iter().find(|name| ALL.iter().all(|known| known.name != **name))
    {
        return Err(format!("there is no scenario `{unknown}`: `list` tells which there are").into());
    }
    let chosen = |scenario: &&Scenario| {
        options.scenarios.is_empty() || options.scenarios.iter().any(|name| name == scenario.name)
    };
    let machine = machine::description();
    println!("{machine}");
    let mut tables = vec![];
    let mut markdown = format!(
        "# Measured\nWritten by `cargo run --release --manifest-path benches/Cargo.toml -- --out ..`{}: contenders take turns in one process; \
         figures are medians, ratios are taken round by round.\n\n{machine}",
        if options.quick { ", with `--quick`" } else { "" }
    );
    for scenario in ALL.iter().filter(chosen) {
        let began = Instant::now();
        let found = (scenario.run)(Effort { quick: options.quick });
        found.iter().for_each(|table| print!("{}", table.text()));
        println!("\n{} took {:.0} s", scenario.name, began.elapsed().as_secs_f64());
        markdown.push_str(&format!("\n## {}: {}\n", scenario.name, scenario.about));
        found.iter().for_each(|table| markdown.push_str(&table.markdown()));
        tables.extend(found);
    }
    if let Some(folder) = options.out {
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("RESULTS.md"), markdown)?;
        if let Some(picture) = svg::chart(&tables) {
            std::fs::write(folder.join("chart.svg"), picture)?;
        }
        println!("written to {}", folder.display());
    }
    Ok(())
}
