//! On what was measured.

use std::process::Command;

/// The crates whose versions matter.
const CRATES: [&str; 15] = [
    "larder",
    "amalgam-cache",
    "cached",
    "cachet",
    "foyer-memory",
    "fred",
    "hitbox-backend",
    "hitbox-moka",
    "hitbox-redis",
    "moka",
    "multi-tier-cache",
    "oxcache",
    "quick_cache",
    "redis",
    "tokio",
];

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim().to_owned()
}

fn answer(program: &str, argument: &str) -> String {
    let output = Command::new(program).arg(argument).output();
    output.map_or_else(
        |_| format!("no {program}"),
        |output| first_line(&String::from_utf8_lossy(&output.stdout)),
    )
}

fn field(file: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line[name.len()..].trim_start_matches([':', '=', ' ', '\t']).trim_matches('"').to_owned())
}

/// The versions in the lock file, `None` for what is not in it.
fn version(name: &str) -> Option<&'static str> {
    let lock = include_str!("../Cargo.lock");
    let package =
        lock.split("[[package]]").find(|package| package.contains(&format!("\nname = \"{name}\"\n")))?;
    package.split("version = \"").nth(1)?.split('"').next()
}

/// In Markdown.
pub fn description() -> String {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let cpu = field("/proc/cpuinfo", "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
    let os = field("/etc/os-release", "PRETTY_NAME").unwrap_or_else(|| std::env::consts::OS.to_owned());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    let (rustc, redis) = (answer("rustc", "--version"), answer("redis-server", "--version"));
    let versions: Vec<String> =
        CRATES.iter().filter_map(|name| Some(format!("{name} {}", version(name)?))).collect();
    format!(
        "{cores} cores of {cpu}, {memory} of memory, {os}, Linux {}; {rustc}; {redis}. Load average when it began: {load}.\n\n{}.\n",
        kernel.trim(),
        versions.join(", ")
    )
}
