//! The client `fred`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::clients::Client as FredClient;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::{ClientLike, EventInterface as _, PubsubInterface as _, TrackingInterface as _};
use fred::types::config::{
    ClusterDiscoveryPolicy, Config, ConnectionConfig, Options, Server, ServerConfig, TcpConfig,
};
use fred::types::{ClusterHash, CustomCommand, Resp3Frame, RespVersion, Value};
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::sync::broadcast::error::RecvError;
use tokio::task::AbortHandle;

use super::link::{Link, Tolerance};
use super::{Arg, Client, Command, Failure, FailureKind, Heard, Hearer, Listener, Messages, Reply, Runner};
use crate::config::Timing;
use crate::lanes::lane;
use crate::names::slot;
use crate::target::{Target, Topology};

pub(crate) struct Fred {
    /// Makes another client, which is not connected.
    another: Arc<dyn Fn() -> FredClient + Send + Sync>,
    connecting: Duration,
    /// The connections, one for each lane or shared by lanes. Messages arrive over the first.
    links: Vec<Link<Arc<Connected>>>,
    messages: Messages,
    is_cluster: bool,
    timeout: Duration,
}

/// A client that is connected once, and never reconnects by itself. A new client replaces it, since a client whose
/// server became a black hole, or whose slots moved, may stay connected and answer nothing (fred 10.1).
struct Connected {
    client: FredClient,
    tasks: Vec<AbortHandle>,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl fmt::Debug for Fred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("fred")
            .field("links", &self.links)
            .field("cluster", &self.is_cluster)
            .finish_non_exhaustive()
    }
}

impl Fred {
    /// Uses clients that their owner keeps alive. A client that stops answering is replaced by a new one with its
    /// settings.
    pub(crate) fn over(clients: Vec<FredClient>, timing: Timing) -> Self {
        let messages = Messages::default();
        let is_cluster = clients[0].is_clustered();
        let link = |(number, client): (usize, FredClient)| {
            let told = if number == 0 { messages.clone() } else { Messages::default() };
            let given = AtomicBool::new(false);
            let tolerance = Tolerance { timeouts: 5, forgives: !is_cluster, losses: false };
            Link::new(timing.longest_pause, tolerance, move || {
                let (client, told) = (client.clone(), told.clone());
                if given.swap(true, Ordering::Relaxed) {
                    dialed(client.clone_new(), told, timing.connect).boxed()
                } else {
                    async move { Ok(listening(client, told, vec![])) }.boxed()
                }
            })
        };
        let like = clients[0].clone();
        let another = Arc::new(move || like.clone_new());
        let links = clients.into_iter().enumerate().map(link).collect();
        Self { another, connecting: timing.connect, links, messages, is_cluster, timeout: timing.command }
    }

    /// Returns a client that will connect to a URL.
    pub(crate) fn new(target: &Target, timing: Timing) -> larder::Result<Self> {
        // the library's error can repeat a part of the URL (prevents: a password in an error)
        let client =
            configured(target, timing).map_err(|_| larder::Error::config(crate::target::WRONG_URL))?;
        let (messages, is_cluster) = (Messages::default(), client.is_clustered());
        // one silent node of a cluster is no reason to drop the connections to the others
        let timeouts = if is_cluster { 5 } else { 1 };
        let tolerance = Tolerance { timeouts, forgives: !is_cluster, losses: true };
        let turn = AtomicUsize::new(0);
        let another: Arc<dyn Fn() -> FredClient + Send + Sync> =
            Arc::new(move || turned(&client, turn.fetch_add(1, Ordering::Relaxed)));
        let link = |number| {
            let another = Arc::clone(&another);
            let told = if number == 0 { messages.clone() } else { Messages::default() };
            Link::new(timing.longest_pause, tolerance, move || {
                dialed(another(), told.clone(), timing.connect).boxed()
            })
        };
        let links = (0..timing.connections).map(link).collect();
        Ok(Self { another, connecting: timing.connect, links, messages, is_cluster, timeout: timing.command })
    }

    /// Connects now, so that errors which no retry can fix are reported at once.
    pub(crate) async fn connect(&self) -> Result<(), Failure> {
        self.links[0].live().await.map(|_| ())
    }

    async fn one(&self, link: &Link<Arc<Connected>>, command: &Command<'_>) -> Result<Reply, Failure> {
        link.within(self.timeout, async |connected: Arc<Connected>| connected.one(command).await).await
    }
}

impl Connected {
    async fn one(&self, command: &Command<'_>) -> Result<Reply, Failure> {
        let client = self.client()?;
        if !client.is_clustered() {
            return sent(client, command).await.map_err(failure).and_then(reply);
        }
        // fred (10.1) follows `MOVED`; after `ASK` it sends the command to the first server again, and its router
        // ends once the redirections are used up
        let once = Options { max_redirections: Some(1), ..Options::default() };
        match sent(&client.with_options(&once), command).await {
            Err(error) if command.name == "UNLINK" && *error.kind() == ErrorKind::Routing => {
                let asked = Box::pin(self.asked_elsewhere(client, command)).await;
                asked.unwrap_or_else(|| Err(failure(error)))
            }
            sent => sent.map_err(failure).and_then(reply),
        }
    }

    /// Sends a command to the server to which the slot of its key is moving, over a separate connection. Used for
    /// an invalidation, which must not wait until the slot has moved. Returns `None` if the slot is not moving.
    async fn asked_elsewhere(
        &self,
        client: &FredClient,
        command: &Command<'_>,
    ) -> Option<Result<Reply, Failure>> {
        let slot = slot(command.key);
        let question = CustomCommand::new_static("CLUSTER", ClusterHash::Custom(slot), false);
        let answer = client.custom_raw::<Value>(question, vec!["NODES".into()]).await.ok().map(reply)?;
        let nodes = answer.ok()?.bytes().ok()??;
        let server = server(&importing(std::str::from_utf8(&nodes).ok()?, slot)?).ok()?;
        let config = Config { server: ServerConfig::Centralized { server }, ..client.client_config() };
        let other = FredClient::new(config, None, Some(client.connection_config().clone()), None);
        let connected = match dialed(other, Messages::default(), REDIRECTED).await {
            Ok(connected) => connected,
            Err(failure) => return Some(Err(failure)),
        };
        let asking = Command { name: "ASKING", arguments: vec![], key: command.key };
        let asked = match sent(&connected.client, &asking).await {
            Ok(_) => sent(&connected.client, command).await,
            Err(error) => Err(error),
        };
        Some(asked.map_err(failure).and_then(reply))
    }

    fn client(&self) -> Result<&FredClient, Failure> {
        // fred would queue the command until it is connected again
        if !self.client.is_connected() {
            return Err(Failure::new(FailureKind::Lost, "not connected"));
        }
        Ok(&self.client)
    }
}

/// The maximum time for a connection to the server to which a slot is moving. The command's own timeout also
/// applies.
const REDIRECTED: Duration = Duration::from_secs(1);

async fn sent(client: &impl ClientLike, command: &Command<'_>) -> Result<Resp3Frame, FredError> {
    let custom = CustomCommand::new_static(command.name, ClusterHash::Custom(slot(command.key)), false);
    let arguments = command.arguments.iter().map(value).collect();
    client.custom_raw::<Value>(custom, arguments).await
}

/// The server to which a slot is moving, from `CLUSTER NODES` of its current server: `[slot->-id]` in the `myself`
/// line.
fn importing(nodes: &str, slot: u16) -> Option<String> {
    let words = |line: &str| -> Vec<String> { line.split(' ').map(str::to_owned).collect() };
    let own = nodes.lines().find(|line| line.contains("myself"))?;
    let sign = format!("[{slot}->-");
    let id = words(own)
        .into_iter()
        .find_map(|word| Some(word.strip_prefix(&sign)?.strip_suffix(']')?.to_owned()))?;
    let target = nodes.lines().map(words).find(|words| words.first() == Some(&id))?;
    // address:port@bus, and a name if it has one
    let (address, rest) = target.get(1)?.split_once('@')?;
    let name = rest.split(',').nth(1).filter(|name| !name.is_empty());
    let (_, port) = address.rsplit_once(':')?;
    Some(name.map_or_else(|| address.to_owned(), |name| format!("{name}:{port}")))
}

async fn dialed(client: FredClient, messages: Messages, limit: Duration) -> Result<Arc<Connected>, Failure> {
    let mut errors = client.error_rx();
    let router = client.connect().abort_handle();
    let connected = listening(client.clone(), messages.clone(), vec![router]);
    let connecting = async {
        while !client.is_connected() {
            tokio::select! {
                ready = client.wait_for_connect() => ready.map_err(login_failure)?,
                Ok((error, _)) = errors.recv() => return Err(login_failure(error)),
                // the state may have changed before the receiver existed
                () = tokio::time::sleep(Duration::from_millis(10)) => {}
            }
        }
        let names = messages.names();
        if !names.is_empty() {
            client.subscribe(names).await.map_err(failure)?;
        }
        Ok(())
    };
    match tokio::time::timeout(limit, connecting).await {
        Ok(ready) => ready?,
        Err(_elapsed) => {
            return Err(Failure::new(FailureKind::Timeout, format!("no connection within {limit:?}")));
        }
    }
    messages.wake_all();
    Ok(connected)
}

fn listening(client: FredClient, messages: Messages, mut tasks: Vec<AbortHandle>) -> Arc<Connected> {
    tasks.push(tokio::spawn(listen(client.clone(), messages)).abort_handle());
    Arc::new(Connected { client, tasks })
}

/// Dispatches pushed messages, and subscribes again when a client of the user has reconnected.
async fn listen(client: FredClient, messages: Messages) {
    let mut arrived = client.message_rx();
    let mut reconnected = client.reconnect_rx();
    loop {
        tokio::select! {
            message = arrived.recv() => match message {
                Ok(message) => messages.arrived(&message.channel),
                Err(RecvError::Lagged(_)) => messages.wake_all(),
                Err(RecvError::Closed) => return,
            },
            Ok(_) = reconnected.recv() => {
                let names = messages.names();
                if !names.is_empty() && let Err(error) = client.subscribe(names).await {
                    tracing::debug!(%error, "waiters of locks look by themselves until the next reconnection");
                }
                messages.wake_all();
            }
        }
    }
}

struct Listening {
    connected: Arc<Connected>,
    telling: AbortHandle,
    limit: Duration,
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.telling.abort();
    }
}

#[async_trait]
impl Runner for Listening {
    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        let run = join_all(commands.iter().map(|command| self.connected.one(command)));
        let elapsed = || Failure::new(FailureKind::Timeout, format!("no answer within {:?}", self.limit));
        match tokio::time::timeout(self.limit, run).await {
            Ok(answers) => answers,
            Err(_elapsed) => commands.iter().map(|_| Err(elapsed())).collect(),
        }
    }
}

#[async_trait]
impl Listener for Listening {
    async fn subscribe(&self, channel: &str) -> Result<(), Failure> {
        let client = self.connected.client()?;
        match tokio::time::timeout(self.limit, client.subscribe(channel)).await {
            Ok(subscribed) => subscribed.map_err(failure),
            Err(_elapsed) => {
                Err(Failure::new(FailureKind::Timeout, format!("no answer within {:?}", self.limit)))
            }
        }
    }
}

/// Dispatches notifications until the connection is lost. Fred does not report that all keys were flushed; a
/// heartbeat detects it.
fn tell(client: &FredClient, hearer: Hearer) -> impl Future<Output = ()> + use<> {
    // created now, not when the task starts (prevents: a notification lost between the two)
    let (mut changes, mut messages) = (client.invalidation_rx(), client.message_rx());
    let (mut reconnected, mut failed) = (client.reconnect_rx(), client.error_rx());
    async move {
        loop {
            let heard = tokio::select! {
                changed = changes.recv() => match changed {
                    Ok(changed) => Heard::Changed(changed.keys.into_iter().map(fred::types::Key::into_bytes).collect()),
                    Err(_) => Heard::Lost,
                },
                message = messages.recv() => match message {
                    Ok(message) => Heard::Message {
                        channel: message.channel.to_string(),
                        text: message.value.into_bytes().unwrap_or_default(),
                    },
                    Err(_) => Heard::Lost,
                },
                _ = reconnected.recv() => Heard::Lost,
                _ = failed.recv() => Heard::Lost,
            };
            let is_over = matches!(heard, Heard::Lost);
            if hearer.send(heard).is_err() || is_over {
                return;
            }
        }
    }
}

fn configured(target: &Target, timing: Timing) -> Result<FredClient, FredError> {
    let first = &target.hosts[0];
    // sets the login, which is percent-encoded in the URL
    let url = match target.topology {
        Topology::Unix => format!("redis://{}localhost", target.login),
        _ => target.node_url(first),
    };
    let servers =
        || -> Result<Vec<Server>, FredError> { target.hosts.iter().map(|host| server(host)).collect() };
    let server = match &target.topology {
        Topology::Node => ServerConfig::Centralized { server: server(first)? },
        Topology::Unix => ServerConfig::Unix { path: first.into() },
        Topology::Cluster => {
            ServerConfig::Clustered { hosts: servers()?, policy: ClusterDiscoveryPolicy::ConfigEndpoint }
        }
        Topology::Sentinel { service } => {
            ServerConfig::Sentinel { hosts: servers()?, service_name: service.clone() }
        }
    };
    let config = Config {
        server,
        version: RespVersion::RESP3,
        // fred would send `SELECT 0`, which needs one more permission
        database: u8::try_from(target.database).ok().filter(|&number| number > 0),
        ..Config::from_url_centralized(&url)?
    };
    // one silent node of several must leave time for the others
    let node = if target.hosts.len() > 1 { timing.connect / 3 } else { timing.connect };
    let connecting = ConnectionConfig {
        connection_timeout: node,
        internal_command_timeout: node,
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        ..ConnectionConfig::default()
    };
    Ok(FredClient::new(config, None, Some(connecting), None))
}

/// A client that asks the same servers, starting with another one at each turn, so that a silent server does not
/// stay the first.
fn turned(client: &FredClient, turn: usize) -> FredClient {
    let mut config = client.client_config();
    if let ServerConfig::Clustered { hosts, .. } | ServerConfig::Sentinel { hosts, .. } = &mut config.server {
        let first = turn % hosts.len().max(1);
        hosts.rotate_left(first);
    }
    FredClient::new(config, None, Some(client.connection_config().clone()), None)
}

fn server(host: &str) -> Result<Server, FredError> {
    let unreadable = || FredError::new(ErrorKind::Url, format!("{host:?} is no host and port"));
    let (name, port) = host.rsplit_once(':').ok_or_else(unreadable)?;
    let name = name.trim_start_matches('[').trim_end_matches(']');
    Ok(Server::new(name, port.parse().map_err(|_| unreadable())?))
}

fn value(argument: &Arg<'_>) -> Value {
    match argument {
        Arg::Bytes(bytes) => Value::Bytes(Bytes::copy_from_slice(bytes)),
        Arg::Number(number) => Value::Integer(*number),
    }
}

fn reply(frame: Resp3Frame) -> Result<Reply, Failure> {
    Ok(match frame {
        Resp3Frame::Null => Reply::Nil,
        Resp3Frame::Number { data, .. } => Reply::Number(data),
        Resp3Frame::Boolean { data, .. } => Reply::Number(i64::from(data)),
        Resp3Frame::BlobString { data, .. }
        | Resp3Frame::SimpleString { data, .. }
        | Resp3Frame::VerbatimString { data, .. } => Reply::Bytes(data),
        Resp3Frame::Array { data, .. } => Reply::List(data.into_iter().map(reply).collect::<Result<_, _>>()?),
        Resp3Frame::SimpleError { data, .. } => return Err(said(&data)),
        Resp3Frame::BlobError { data, .. } => return Err(said(&String::from_utf8_lossy(&data))),
        other => {
            drop(other);
            return Err(Failure::new(
                FailureKind::Server,
                "the server answered with a kind of reply that is not used",
            ));
        }
    })
}

/// Converts a server's error reply to a failure.
fn said(text: &str) -> Failure {
    Failure::said(text)
}

fn failure(error: FredError) -> Failure {
    let said = Failure::said(error.details());
    let kind = match error.kind() {
        ErrorKind::Timeout => FailureKind::Timeout,
        ErrorKind::IO | ErrorKind::Canceled => FailureKind::Lost,
        ErrorKind::Auth | ErrorKind::Config | ErrorKind::Url | ErrorKind::Protocol | ErrorKind::Parse => {
            FailureKind::Refused
        }
        ErrorKind::Cluster | ErrorKind::Sentinel | ErrorKind::Routing | ErrorKind::Backpressure => {
            FailureKind::Busy
        }
        _ => said.kind,
    };
    match kind {
        FailureKind::Lost | FailureKind::Timeout => Failure::new(kind, error.to_string()).with_source(error),
        // the source would repeat the server's text
        _ => Failure::new(kind, said.to_string()),
    }
}

/// Converts an error of connecting to a failure.
fn login_failure(error: FredError) -> Failure {
    failure(error).of_login()
}

#[async_trait]
impl Runner for Fred {
    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        let link = &self.links[lane() % self.links.len()];
        // written together: fred queues the commands before it flushes
        match commands {
            [command] => vec![self.one(link, command).await],
            commands => join_all(commands.iter().map(|command| self.one(link, command))).await,
        }
    }
}

#[async_trait]
impl Client for Fred {
    fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    async fn subscribe(&self, channel: &str) -> Result<(), Failure> {
        let subscribe =
            async |connected: Arc<Connected>| connected.client()?.subscribe(channel).await.map_err(failure);
        self.links[0].within(self.timeout, subscribe).await
    }

    async fn unsubscribe(&self, channel: &str) -> Result<(), Failure> {
        let end =
            async |connected: Arc<Connected>| connected.client()?.unsubscribe(channel).await.map_err(failure);
        self.links[0].within(self.timeout, end).await
    }

    async fn listen(&self, hearer: Hearer) -> Result<Arc<dyn Listener>, Failure> {
        let connected = dialed((self.another)(), Messages::default(), self.connecting).await?;
        let telling = tokio::spawn(tell(&connected.client, hearer)).abort_handle();
        Ok(Arc::new(Listening { connected, telling, limit: self.timeout }))
    }

    fn messages(&self) -> &Messages {
        &self.messages
    }
}

#[cfg(test)]
mod tests {
    use super::importing;

    const NODES: &str = "\
a1 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460 [12->-b2] [13->-c3] [7000-<-c3]
b2 127.0.0.1:7001@17001,shop.internal master - 0 0 2 connected 5461-10922
c3 [::1]:7002@17002, master - 0 0 3 connected 10923-16383
";

    #[test]
    fn where_a_slot_is_moving_to_is_found() {
        assert_eq!(importing(NODES, 12).as_deref(), Some("shop.internal:7001"));
        assert_eq!(importing(NODES, 13).as_deref(), Some("[::1]:7002"));
        for slot in [1, 7_000] {
            assert_eq!(importing(NODES, slot), None, "{slot}");
        }
    }
}
