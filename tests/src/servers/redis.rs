//! Runs `redis-server`: alone, as a cluster, behind sentinels.

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::resp::ask;
use super::{Binary, Folder, Process, free_port};

/// The maximum time until a server or a group is ready.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) fn until(what: &str, mut ready: impl FnMut() -> bool) {
    let began = Instant::now();
    while !ready() {
        assert!(began.elapsed() < PATIENCE, "{what} took longer than {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A single server. It writes nothing to disk by default.
///
/// # Examples
/// ```
/// use larder_testkit::servers::RedisServer;
/// if let Some(server) = RedisServer::start(&[]) {
///     assert_eq!(server.command(&["PING"]), "PONG");
/// }
/// ```
#[derive(Debug)]
pub struct RedisServer {
    binary: Binary,
    port: u16,
    options: Vec<String>,
    folder: Folder,
    process: Mutex<Process>,
}

impl RedisServer {
    /// Starts a server with further options, as in `["--maxmemory", "1mb"]`. Returns `None` if there is no
    /// `redis-server`.
    ///
    /// # Panics
    /// If the server does not start.
    #[must_use]
    pub fn start(options: &[&str]) -> Option<Self> {
        Some(Self::at(&Binary::find("redis-server")?, free_port(), options))
    }

    fn at(binary: &Binary, port: u16, options: &[&str]) -> Self {
        let folder = Folder::new("redis");
        let options: Vec<String> = options.iter().map(ToString::to_string).collect();
        let process = Mutex::new(run(binary, port, &folder, &options));
        let server = Self { binary: binary.clone(), port, options, folder, process };
        server.wait();
        server
    }

    fn wait(&self) {
        until("a redis-server", || ask(self.port, &["PING"]).is_ok_and(|pong| !pong.starts_with("-LOADING")));
    }

    /// Returns the server's port on the loopback.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the server's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Returns the path of the server's socket, if it was started with `["--unixsocket", "socket"]`.
    #[must_use]
    pub fn socket(&self) -> String {
        self.folder.path().join("socket").display().to_string()
    }

    /// Sends a command on a separate connection. Lists come back with one part on a line.
    ///
    /// # Panics
    /// If there is no answer.
    pub fn command(&self, command: &[&str]) -> String {
        ask(self.port, command).unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// As [`command`](Self::command), for tests in which connections may be cut.
    ///
    /// # Errors
    /// If there is no answer.
    pub fn try_command(&self, command: &[&str]) -> std::io::Result<String> {
        ask(self.port, command)
    }

    fn process<T>(&self, with: impl FnOnce(&Process) -> T) -> T {
        with(&self.process.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Kills the server at once (`SIGKILL`).
    pub fn kill(&self) {
        self.process(Process::kill);
    }

    /// Starts the server again after [`kill`](Self::kill), with the data in its folder, and waits until it is
    /// ready.
    pub fn start_again(&self) {
        self.kill();
        let process = run(&self.binary, self.port, &self.folder, &self.options);
        *self.process.lock().unwrap_or_else(PoisonError::into_inner) = process;
        self.wait();
    }

    /// Freezes the server (`SIGSTOP`): connections stay open, nothing is answered.
    pub fn freeze(&self) {
        self.process(Process::freeze);
    }

    /// Resumes the server (`SIGCONT`).
    pub fn thaw(&self) {
        self.process(Process::thaw);
    }
}

fn run(binary: &Binary, port: u16, folder: &Folder, options: &[String]) -> Process {
    let mut command = binary.command();
    command.current_dir(folder.path()).args(["--port", &port.to_string(), "--bind", "127.0.0.1"]);
    // `save ""` and the like would be written into the options if they were wanted
    command.args(["--save", "", "--appendonly", "no", "--protected-mode", "no"]).args(options);
    Process::start(&mut command)
}

/// A cluster of three primaries, each with a replica.
///
/// # Examples
/// ```no_run
/// use larder_testkit::servers::RedisCluster;
/// if let Some(cluster) = RedisCluster::start() {
///     assert_eq!(cluster.nodes().len(), 6);
/// }
/// ```
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts a cluster, and waits until it is whole. Returns `None` if there is no `redis-server`.
    ///
    /// # Panics
    /// If the cluster does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let binary = Binary::find("redis-server")?;
        let node = |_| {
            let bus = free_port().to_string();
            let options =
                ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "1000"];
            let more = ["--repl-diskless-sync-delay", "0", "--cluster-replica-validity-factor", "0"];
            RedisServer::at(&binary, free_port(), &[&options[..], &more[..]].concat())
        };
        let nodes: Vec<RedisServer> = (0..6).map(node).collect();
        for (index, slots) in [("0", "5460"), ("5461", "10922"), ("10923", "16383")].into_iter().enumerate() {
            nodes[index].command(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]);
        }
        let bus = |node: &RedisServer| node.options[3].clone();
        for node in &nodes[1..] {
            nodes[0].command(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &bus(node)]);
        }
        let known = |node: &RedisServer| node.command(&["CLUSTER", "NODES"]).lines().count();
        until("the nodes' acquaintance", || nodes.iter().all(|node| known(node) == nodes.len()));
        for (primary, replica) in [(0, 3), (1, 4), (2, 5)] {
            let id = nodes[primary].command(&["CLUSTER", "MYID"]);
            until("replication", || nodes[replica].command(&["CLUSTER", "REPLICATE", &id]) == "OK");
        }
        let cluster = Self { nodes };
        until("the cluster", || {
            cluster.nodes.iter().all(|node| node.command(&["CLUSTER", "INFO"]).contains("cluster_state:ok"))
        });
        until("the replicas", || {
            cluster.nodes[3..]
                .iter()
                .all(|node| node.command(&["INFO", "replication"]).contains("master_link_status:up"))
        });
        Some(cluster)
    }

    /// Forbids automatic failovers to replicas.
    ///
    /// For tests that are not about failovers. If a machine stalls longer than the node timeout, a replica is
    /// promoted that lacks the last acknowledged writes. A slow `fsync` of the cluster's configuration is enough.
    pub fn forbid_failovers(&self) {
        for node in &self.nodes {
            assert_eq!(node.command(&["CONFIG", "SET", "cluster-replica-no-failover", "yes"]), "OK");
        }
    }

    /// Returns the nodes: three that began as primaries, three as replicas.
    #[must_use]
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Returns the cluster's URL.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> = self.nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        format!("redis-cluster://{}", hosts.join(","))
    }
}

/// A primary, a replica and three sentinels that watch them as `cache`.
///
/// # Examples
/// ```no_run
/// use larder_testkit::servers::RedisSentinels;
/// if let Some(sentinels) = RedisSentinels::start() {
///     assert!(sentinels.url().ends_with("/cache"));
/// }
/// ```
#[derive(Debug)]
pub struct RedisSentinels {
    servers: [RedisServer; 2],
    sentinels: Vec<(u16, Process, Folder)>,
}

impl RedisSentinels {
    /// Starts the group, and waits until the sentinels know each other. Returns `None` if there is no
    /// `redis-server`.
    ///
    /// # Panics
    /// If the group does not start.
    #[must_use]
    pub fn start() -> Option<Self> {
        let binary = Binary::find("redis-server")?;
        let primary = RedisServer::at(&binary, free_port(), &["--repl-diskless-sync-delay", "0"]);
        let port = primary.port.to_string();
        let replica = RedisServer::at(&binary, free_port(), &["--replicaof", "127.0.0.1", &port]);
        until("the replica", || replica.command(&["INFO", "replication"]).contains("master_link_status:up"));
        let sentinel = |_| {
            let (own, folder) = (free_port(), Folder::new("sentinel"));
            let configuration = format!(
                "port {own}\nbind 127.0.0.1\nprotected-mode no\nsentinel monitor cache 127.0.0.1 {port} 2\n\
                 sentinel down-after-milliseconds cache 500\nsentinel failover-timeout cache 2000\n"
            );
            let file = folder.path().join("sentinel.conf");
            std::fs::write(&file, configuration).expect("the temporary folder can be written");
            let process =
                Process::start(binary.command().arg(&file).arg("--sentinel").current_dir(folder.path()));
            (own, process, folder)
        };
        let sentinels: Vec<_> = (0..3).map(sentinel).collect();
        let group = Self { servers: [primary, replica], sentinels };
        until("the sentinels", || {
            group.sentinels.iter().all(|(own, ..)| {
                ask(*own, &["SENTINEL", "CKQUORUM", "cache"]).is_ok_and(|answer| answer.contains("OK 3"))
                    && ask(*own, &["SENTINEL", "REPLICAS", "cache"])
                        .is_ok_and(|answer| answer.contains("slave"))
            })
        });
        Some(group)
    }

    /// Returns the server that began as the primary, and the one that began as its replica.
    #[must_use]
    pub fn servers(&self) -> &[RedisServer; 2] {
        &self.servers
    }

    /// Returns the port of the primary, as the sentinels report it.
    #[must_use]
    pub fn primary(&self) -> Option<u16> {
        let command = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", "cache"];
        self.sentinels.iter().find_map(|(own, ..)| ask(*own, &command).ok()?.lines().nth(1)?.parse().ok())
    }

    /// Returns the URL of the service.
    #[must_use]
    pub fn url(&self) -> String {
        let hosts: Vec<String> =
            self.sentinels.iter().map(|(port, ..)| format!("127.0.0.1:{port}")).collect();
        format!("redis-sentinel://{}/cache", hosts.join(","))
    }
}

/// A server that the tests of one binary share: started by the first user, ended with the last one.
///
/// # Examples
/// ```
/// use larder_testkit::servers::{RedisServer, Shared};
/// static NODE: Shared<RedisServer> = Shared::new(|| RedisServer::start(&[]));
/// if let (Some(one), Some(other)) = (NODE.get(), NODE.get()) {
///     assert_eq!(one.port(), other.port());
/// }
/// ```
#[derive(Debug)]
pub struct Shared<T> {
    start: fn() -> Option<T>,
    running: Mutex<Weak<T>>,
}

impl<T> Shared<T> {
    /// Returns a shared server that `start` starts.
    #[must_use]
    pub const fn new(start: fn() -> Option<T>) -> Self {
        Self { start, running: Mutex::new(Weak::new()) }
    }

    /// Returns the server, or `None` if this machine cannot start it.
    pub fn get(&self) -> Option<Arc<T>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = running.upgrade() {
            return Some(server);
        }
        let server = Arc::new((self.start)()?);
        *running = Arc::downgrade(&server);
        Some(server)
    }
}
