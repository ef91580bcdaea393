//! The summary.

use larder::Stats;

use crate::load::Outcome;

pub(crate) fn print(without: &Outcome, with: &Outcome, stats: &Stats) {
    let faster = with.reads_per_second() / without.reads_per_second();
    let saved = with.reads.saturating_sub(stats.loads);
    let latency = |share| format!("{:?}", stats.miss_latency.percentile(share));
    println!();
    row("reads/s without a cache", &format!("{:.0}", without.reads_per_second()));
    row("reads/s with larder", &format!("{:.0} ({faster:.1} times as many)", with.reads_per_second()));
    row("hit rate", &format!("{:.2} %", stats.hit_rate() * 100.0));
    row("miss latency", &format!("p50 {}, p99 {}, p99.9 {}", latency(0.5), latency(0.99), latency(0.999)));
    row("loads saved", &format!("{saved} of {} reads did not reach the database", with.reads));
    row("evictions", &stats.evictions.to_string());
    row("invalidations", &format!("{} ({} writes)", stats.invalidations, with.writes));
    row("fills refused", &format!("{} (invalidated while they were loaded)", stats.refused_fills));
    let (stale, checked) = (without.stale + with.stale, without.reads + with.reads);
    row(
        "stale reads",
        &format!("{stale} of {checked} checked (older than a write acknowledged before they began)"),
    );
    println!("\n{}", if stale == 0 { "every read was fresh" } else { "STALE READS: this must not happen" });
}

/// Prints the report of the second process.
pub(crate) fn joined(with: &Outcome, stats: &Stats) {
    println!("the second process, on the same database and cache:");
    row("reads/s with larder", &format!("{:.0}", with.reads_per_second()));
    row("hit rate", &format!("{:.2} %", stats.hit_rate() * 100.0));
    row("stale reads", &format!("{} of {} checked", with.stale, with.reads));
}

fn row(name: &str, figure: &str) {
    println!("  {name:<24} {figure}");
}
