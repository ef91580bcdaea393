//! The simulation's histories over a real Redis: the same processes, callers, sources and lossy networks, and the same
//! checker, while the server is killed, flushed and frozen, and its clients are.

mod common;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::{LIBRARIES, Library, or_skip};
use larder::codec::Json;
use larder::{Encoded, LockProvider};
use larder_redis::RedisBackend;
use larder_testkit::check::{Figures, check, timeline};
use larder_testkit::servers::RedisServer;
use larder_testkit::sim::{Plan, Setup, Store, Trouble, trace_in_real_time};

/// How many histories run side by side on one server, each in a namespace of its own.
const HISTORIES: u64 = 6;
/// How many steps each has.
const STEPS: usize = 150;

/// One history's part of a server that all share.
struct Redis {
    server: Arc<RedisServer>,
    handles: Vec<RedisBackend>,
    prefix: String,
    /// Whether this history may break the server, which breaks it for the others too.
    breaks: bool,
    frozen: Mutex<bool>,
}

impl Redis {
    async fn reach(server: &Arc<RedisServer>, library: Library, number: u64) -> Self {
        let mut handles = vec![];
        for _ in 0..3 {
            let config = library.config(&server.url()).command_timeout(Duration::from_millis(500));
            handles.push(config.connect().await.expect("the server is there"));
        }
        let prefix = format!("history-{number}");
        Self { server: Arc::clone(server), handles, prefix, breaks: false, frozen: Mutex::new(false) }
    }

    fn handle(&self, process: &str) -> &RedisBackend {
        let place: usize = process.parse().unwrap_or_default();
        &self.handles[place % self.handles.len()]
    }
}

impl Store for Redis {
    type Far = larder::Prefix<Encoded<RedisBackend, Json>>;

    fn open(_setup: &Setup) -> Self {
        unreachable!("histories in real time are given their store")
    }

    fn connect(&self, process: &str) -> Self::Far {
        larder::Prefix::new(&self.prefix, self.handle(process).encoded(Json))
    }

    fn locks(&self, process: &str) -> Option<Arc<dyn LockProvider>> {
        Some(Arc::new(self.handle(process).locks()))
    }

    fn suffers(&self, trouble: &Trouble) -> bool {
        let server = &self.server;
        let mut frozen = self.frozen.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            _ if !self.breaks => return false,
            // nothing answers until it is mended
            Trouble::Cut(_) if !*frozen => {
                server.freeze();
                *frozen = true;
            }
            Trouble::Mend(_) if *frozen => {
                server.thaw();
                *frozen = false;
            }
            _ if *frozen => return false,
            Trouble::Flush => _ = server.command(&["FLUSHALL"]),
            Trouble::RestartEmpty => {
                server.kill();
                server.start_again();
            }
            Trouble::Evict(count) => {
                for _ in 0..*count {
                    let name = server.command(&["RANDOMKEY"]);
                    // not a guard, which eviction would void: larder asks for a server that keeps them
                    if name.contains(":v:") || name.contains(":f:") {
                        server.command(&["UNLINK", &name]);
                    }
                }
            }
            Trouble::LosePushes(true) => _ = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]),
            Trouble::PruneTags => _ = server.command(&["CLIENT", "KILL", "TYPE", "normal"]),
            _ => return false,
        }
        true
    }

    fn left(&self) -> Vec<String> {
        vec![]
    }
}

/// Runs histories from a seed on, side by side on one server, and checks each; answers how many reads were bound by an
/// invalidation.
async fn keep_every_promise(server: RedisServer, library: Library, first: u64, breaks: bool) -> u64 {
    let server = Arc::new(server);
    let mut running = tokio::task::JoinSet::new();
    // a history that breaks the server has it for itself
    let histories = if breaks { 1 } else { HISTORIES };
    for seed in first..first + histories {
        let store = Redis { breaks, ..Redis::reach(&server, library, seed).await };
        running.spawn(async move {
            let plan = Plan::of(seed, 3, STEPS);
            let rules = plan.setup.rules_in_real_time();
            let history = trace_in_real_time(store, &plan).await;
            match check(&history, &rules) {
                Ok(figures) => figures,
                Err(violation) => {
                    let timeline = timeline(&history, &rules, violation.key);
                    panic!("seed {seed} with {library:?}: {violation}\n{:#?}\n{timeline}", plan.setup)
                }
            }
        });
    }
    let mut bound_reads = 0;
    while let Some(ended) = running.join_next().await {
        let figures: Figures = ended.expect("every history keeps every promise");
        println!("{library:?}: {figures:?}");
        bound_reads += figures.bound_reads;
    }
    bound_reads
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_a_network_that_loses_and_delays() {
    for &library in LIBRARIES {
        let server = or_skip!(RedisServer::start(&[]));
        let bound_reads = keep_every_promise(server, library, 100, false).await;
        assert!(bound_reads > 100, "only {bound_reads} reads were bound by an invalidation");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_servers_that_are_killed_flushed_and_frozen() {
    for &library in LIBRARIES {
        let mut running = tokio::task::JoinSet::new();
        for seed in 200..205 {
            // each has a server of its own
            let server = or_skip!(RedisServer::start(&[]));
            running.spawn(keep_every_promise(server, library, seed, true));
        }
        let mut bound_reads = 0;
        while let Some(ended) = running.join_next().await {
            bound_reads += ended.expect("every history keeps every promise");
        }
        assert!(bound_reads > 100, "only {bound_reads} reads were bound by an invalidation");
    }
}
