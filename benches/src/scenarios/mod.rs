//! The scenarios that are measured: one file each.

mod far;
mod growth;
mod local;
mod many;
mod memory;
mod miss;
mod recovery;
mod stampede;
mod tags;
mod tiered;

use crate::report::Table;

/// The time to spend.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    pub quick: bool,
}

impl Effort {
    /// The first when in a hurry.
    pub fn pick<T>(self, quick: T, thorough: T) -> T {
        if self.quick { quick } else { thorough }
    }
}

pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(Effort) -> Vec<Table>,
}

pub const ALL: &[Scenario] = &[
    Scenario { name: "local", about: "a hit in this process", run: local::run },
    Scenario { name: "miss", about: "a miss in this process: look, load, keep", run: miss::run },
    Scenario { name: "far", about: "a hit in Redis", run: far::run },
    Scenario { name: "many", about: "a hundred keys at once from Redis, and misses", run: many::run },
    Scenario {
        name: "tiered",
        about: "several processes that read and write, and how old reads are",
        run: tiered::run,
    },
    Scenario {
        name: "stampede",
        about: "1,000 tasks in four processes want one missing key",
        run: stampede::run,
    },
    Scenario { name: "recovery", about: "a cache that is emptied under load", run: recovery::run },
    Scenario { name: "tags", about: "the invalidation of a tag", run: tags::run },
    Scenario { name: "memory", about: "what an entry takes beside its value", run: memory::run },
    Scenario { name: "growth", about: "more keys, more caches, more tags", run: growth::run },
];

/// Runs a process that a scenario started. `arguments`: the name of the scenario and the arguments it gave.
pub fn process(arguments: &[String]) {
    match arguments {
        [name, contender, url, _number] if name == "stampede" => stampede::process(contender, url),
        [name, rest @ ..] if name == "tiered" => tiered::process(rest),
        _ => panic!("nobody starts a process like this: {arguments:?}"),
    }
}
