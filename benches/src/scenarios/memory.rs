//! The memory that an entry takes in addition to its value.

use larder_testkit::servers::RedisServer;

use crate::load::{Key as _, VALUE_BYTES};
use crate::measure::{double, kept_bytes};
use crate::peers::far::{self, Far};
use crate::peers::local::all;
use crate::report::{Table, number};

use super::Effort;

pub fn run(effort: Effort) -> Vec<Table> {
    let mut tables = vec![in_process(effort)];
    tables.extend(in_redis(effort));
    tables
}

fn in_process(effort: Effort) -> Table {
    let entries = effort.pick(20_000u64, 200_000);
    let about = format!(
        "Bytes allocated and not given back for each of {} entries with a u64 key, without the 200 bytes of the value itself; the store has room \
         for as many as are put in. What a store reserves for bookkeeping is in it.",
        number(entries as f64)
    );
    let mut table = Table::new(
        "Memory of an entry in this process",
        about,
        &["through", "bytes", "more than quick_cache"],
    );
    let keys: Vec<u64> = (0..entries).map(u64::numbered).collect();
    let mut base = None;
    let mut bars = vec![];
    for peer in all::<u64>() {
        let mut cache = None;
        let kept = kept_bytes(|| {
            let filled = (peer.build)(entries);
            filled.fill(&keys);
            cache = Some(filled);
        });
        let found = cache.as_ref().map_or(0, |cache| cache.read(&keys));
        // not all admit all that fits: what is not there takes nothing
        let bytes = kept / found.max(1) as f64 - VALUE_BYTES as f64;
        let base = *base.get_or_insert(bytes);
        table.row([peer.name.to_owned(), number(bytes), number(bytes - base)]);
        bars.push((peer.name.to_owned(), bytes));
    }
    table.drawn("bytes an entry beside its value: less is better", bars)
}

/// Returns the memory that Redis reports as used; read before and after the entries are stored.
fn used(server: &RedisServer) -> f64 {
    let memory = server.command(&["INFO", "memory"]);
    let line = memory.lines().find_map(|line| line.strip_prefix("used_memory:"));
    line.and_then(|used| used.trim().parse().ok()).unwrap_or(f64::NAN)
}

fn in_redis(effort: Effort) -> Option<Table> {
    let entries = effort.pick(10_000u64, 50_000);
    let about = format!(
        "Bytes that Redis uses more for each of {} entries, without the 200 bytes of the value: names, expiry and what a peer adds to the value.",
        number(entries as f64)
    );
    let mut table =
        Table::new("Memory of an entry in Redis", about, &["through", "bytes", "more than redis-rs"]);
    let runtime = double();
    let mut base = None;
    let mut measure = |name: &str, server: &RedisServer, fill: &dyn Fn()| {
        server.command(&["FLUSHALL"]);
        let before = used(server);
        fill();
        let bytes = (used(server) - before) / entries as f64 - VALUE_BYTES as f64;
        let base = *base.get_or_insert(bytes);
        table.row([name.to_owned(), number(bytes), number(bytes - base)]);
    };
    let server = RedisServer::start(&[])?;
    let url = server.url();
    let fill = |set: &dyn Fn(u64)| (0..entries).for_each(set);
    fn set<F: Far>(runtime: &tokio::runtime::Runtime, peer: &F, key: u64) {
        let mut peer = peer.clone();
        runtime.block_on(peer.set(key));
    }
    let bare = runtime.block_on(far::redis_rs(&url));
    measure("redis-rs", &server, &|| fill(&|key| set(&runtime, &bare, key)));
    let larder = runtime.block_on(far::larder_redis_rs(&url));
    measure("larder", &server, &|| fill(&|key| set(&runtime, &larder, key)));
    let cached = runtime.block_on(far::cached(&url));
    measure("cached", &server, &|| fill(&|key| set(&runtime, &cached, key)));
    let hitbox = far::hitbox(&url);
    measure("hitbox-redis", &server, &|| fill(&|key| set(&runtime, &hitbox, key)));
    let multi_tier = runtime.block_on(far::multi_tier(&url));
    measure("multi-tier-cache", &server, &|| fill(&|key| set(&runtime, &multi_tier, key)));
    let amalgam = runtime.block_on(far::amalgam(&url));
    measure("amalgam-cache", &server, &|| fill(&|key| set(&runtime, &amalgam, key)));
    Some(table)
}
