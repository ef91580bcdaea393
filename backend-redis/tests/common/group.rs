//! Servers of one kind, and what may become of them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use larder_testkit::servers::{RedisCluster, RedisSentinels, RedisServer};

/// The maximum time of a failover.
const PATIENCE: Duration = Duration::from_secs(30);

/// The arrangement of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Node,
    Cluster,
    Sentinels,
}

/// The address that processes connect to.
#[derive(Debug)]
pub(crate) enum Group {
    Node(RedisServer),
    Cluster(RedisCluster),
    Sentinels(RedisSentinels),
}

/// Waits for it; says how things stand when it does not come.
fn until(group: &Group, what: &str, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        if began.elapsed() > PATIENCE {
            let roles = group.nodes().iter().map(|node| (node.port(), node.try_command(&["ROLE"])));
            panic!("{what} took longer than {PATIENCE:?}: {:?}", roles.collect::<Vec<_>>());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns a line of `INFO replication`. Sentinels that reconfigure a node cut off its clients, so this asks again.
fn replication(node: &RedisServer, name: &str) -> Option<String> {
    let question = ["INFO", "replication"];
    let told =
        (0..5).find_map(|_| node.try_command(&question).ok()).unwrap_or_else(|| node.command(&question));
    told.lines().find_map(|line| Some(line.trim().strip_prefix(name)?.strip_prefix(':')?.to_owned()))
}

fn offset(node: &RedisServer, name: &str) -> Option<u64> {
    replication(node, name)?.parse().ok()
}

fn is_primary(node: &RedisServer) -> bool {
    replication(node, "role").as_deref() == Some("master")
}

fn follows(node: &RedisServer, primary: &RedisServer) -> bool {
    replication(node, "master_port") == Some(primary.port().to_string())
        && replication(node, "master_link_status").as_deref() == Some("up")
}

impl Group {
    /// Starts them; `None` when there is no `redis-server`.
    pub(crate) fn start(kind: Kind) -> Option<Self> {
        Some(match kind {
            Kind::Node => Self::Node(RedisServer::start(&[])?),
            Kind::Cluster => Self::Cluster(RedisCluster::start()?),
            Kind::Sentinels => Self::Sentinels(RedisSentinels::start()?),
        })
    }

    pub(crate) fn url(&self) -> String {
        match self {
            Self::Node(node) => node.url(),
            Self::Cluster(cluster) => cluster.url(),
            Self::Sentinels(sentinels) => sentinels.url(),
        }
    }

    /// All that keep data.
    pub(crate) fn nodes(&self) -> &[RedisServer] {
        match self {
            Self::Node(node) => std::slice::from_ref(node),
            Self::Cluster(cluster) => cluster.nodes(),
            Self::Sentinels(sentinels) => sentinels.servers(),
        }
    }

    /// Those that are written to, when nothing is amiss.
    pub(crate) fn primaries(&self) -> Vec<usize> {
        (0..self.nodes().len()).filter(|&place| is_primary(&self.nodes()[place])).collect()
    }

    /// One of them, each in its turn.
    pub(crate) fn primary(&self, turn: usize) -> usize {
        let primaries = self.primaries();
        primaries[turn % primaries.len()]
    }

    fn replica(&self, primary: usize) -> Option<usize> {
        let nodes = self.nodes();
        (0..nodes.len()).find(|&place| follows(&nodes[place], &nodes[primary]))
    }

    /// Sends a command to all primaries; answers what they say.
    pub(crate) fn everywhere(&self, command: &[&str]) -> Vec<String> {
        self.primaries().into_iter().map(|place| self.nodes()[place].command(command)).collect()
    }

    /// Makes sure that what was acknowledged before is still there after [`die`](Self::die) and
    /// [`come_back`](Self::come_back): replicas have it, or the disk.
    pub(crate) fn remember(&self) -> bool {
        match self {
            Self::Node(node) => {
                let saved = node.command(&["SAVE"]) == "OK";
                saved && std::fs::rename(dump(node), kept(node)).is_ok()
            }
            _ => self.primaries().into_iter().all(|primary| self.is_replicated(primary)),
        }
    }

    /// Returns `true` if a replica soon has the data that its primary has now.
    fn is_replicated(&self, primary: usize) -> bool {
        let (Some(needed), Some(replica)) =
            (offset(&self.nodes()[primary], "master_repl_offset"), self.replica(primary))
        else {
            return false;
        };
        (0..30).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            offset(&self.nodes()[replica], "slave_repl_offset").is_some_and(|offset| offset >= needed)
        })
    }

    /// Ends a primary in the middle of its work; answers which, and who is to follow it.
    pub(crate) fn die(&self, turn: usize) -> Option<[usize; 2]> {
        let victim = self.primary(turn);
        let heir = match self {
            Self::Node(_) => victim,
            _ => self.replica(victim)?,
        };
        self.nodes()[victim].kill();
        Some([victim, heir])
    }

    /// Waits until another has taken the place of one that died, which then is its replica; a node alone has what it
    /// remembered.
    pub(crate) fn come_back(&self, [victim, heir]: [usize; 2]) {
        let (victim, heir) = (&self.nodes()[victim], &self.nodes()[heir]);
        match self {
            Self::Node(node) => {
                std::fs::copy(kept(node), dump(node)).expect("it was saved");
                node.start_again();
                _ = std::fs::remove_file(dump(node));
                return;
            }
            Self::Cluster(_) => {
                until(self, "an election", || is_primary(heir));
                victim.start_again();
            }
            Self::Sentinels(sentinels) => {
                until(self, "a promotion", || is_primary(heir) && sentinels.primary() == Some(heir.port()));
                victim.start_again();
            }
        }
        self.follow(victim, heir);
    }

    /// Waits until one is a replica of the other.
    fn follow(&self, replica: &RedisServer, primary: &RedisServer) {
        until(self, &format!("a replica at {} of {}", replica.port(), primary.port()), || {
            if let Self::Sentinels(_) = self {
                // as an operator would: the sentinels take their time
                _ = replica.try_command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
            }
            follows(replica, primary)
        });
    }

    /// Restarts a node without replicas, without its data; or a replica, which no client should notice.
    pub(crate) fn restart_one(&self, turn: usize) -> bool {
        let primary = self.primary(turn);
        let place = match self {
            Self::Node(_) => Some(primary),
            _ => self.replica(primary),
        };
        let Some(node) = place.map(|place| &self.nodes()[place]) else { return false };
        node.kill();
        node.start_again();
        if !matches!(self, Self::Node(_)) {
            self.follow(node, &self.nodes()[primary]);
        }
        true
    }
}

/// Returns the path of the data that a node reads when it starts.
fn dump(node: &RedisServer) -> PathBuf {
    folder(node).join("dump.rdb")
}

fn kept(node: &RedisServer) -> PathBuf {
    folder(node).join("kept.rdb")
}

fn folder(node: &RedisServer) -> PathBuf {
    let socket = PathBuf::from(node.socket());
    socket.parent().map(PathBuf::from).unwrap_or_default()
}
