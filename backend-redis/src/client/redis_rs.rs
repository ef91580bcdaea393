//! The client `redis` (redis-rs).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::cluster::{ClusterClient, ClusterConfig};
use redis::cluster_async::ClusterConnection;
use redis::cluster_routing::{Route, RoutingInfo, SingleNodeRoutingInfo, SlotAddr};
use redis::{AsyncConnectionConfig, Cmd, ErrorKind, PushInfo, PushKind, RedisError, ServerError, Value};

use super::gather::gather;
use super::link::{Link, Tolerance};
use super::wire::{self, Wire};
use super::{
    Arg, Client, Command, Failure, FailureKind, Heard, Hearer, Listener, Messages, Reply, Runner, kind_of,
};
use crate::config::Timing;
use crate::lanes::lane;

/// The way to make a connection; used again after each loss.
pub(crate) enum Dial {
    Node(Box<redis::Client>),
    Cluster(Box<ClusterClient>),
    Sentinel(Box<dyn Fn() -> redis::RedisResult<redis::sentinel::SentinelClient> + Send + Sync>),
}

#[derive(Clone)]
enum Connection {
    /// A server without TLS, which needs no more than a socket.
    Wire(Wire),
    Node(MultiplexedConnection),
    Cluster(ClusterConnection),
}

pub(crate) struct RedisRs {
    dial: Arc<Dial>,
    /// The connections, one for each lane or shared by lanes. Messages arrive over the first.
    links: Vec<Link<Connection>>,
    messages: Messages,
    is_cluster: bool,
    timing: Timing,
}

impl fmt::Debug for RedisRs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("redis-rs").field("links", &self.links).field("cluster", &self.is_cluster).finish()
    }
}

impl RedisRs {
    pub(crate) fn new(dial: Dial, timing: Timing) -> Self {
        let messages = Messages::default();
        let is_cluster = matches!(dial, Dial::Cluster(_));
        let dial = Arc::new(dial);
        // a cluster's connection dials lost nodes again, but never gives up a silent one
        let timeouts = if is_cluster { 5 } else { 1 };
        let tolerance = Tolerance { timeouts, forgives: !is_cluster, losses: !is_cluster };
        let link = |number| {
            let dial = Arc::clone(&dial);
            let told = if number == 0 { messages.clone() } else { Messages::default() };
            Link::new(timing.longest_pause, tolerance, move || {
                connected(Arc::clone(&dial), told.clone(), timing.connect).boxed()
            })
        };
        let links = (0..timing.connections).map(link).collect();
        Self { dial, links, messages, is_cluster, timing }
    }

    /// Connects now, so that errors which no retry can fix are reported at once.
    pub(crate) async fn connect(&self) -> Result<(), Failure> {
        self.links[0].live().await.map(|_| ())
    }
}

async fn connected(dial: Arc<Dial>, messages: Messages, limit: Duration) -> Result<Connection, Failure> {
    let heard = messages.clone();
    let connection = dialed(&dial, move |push| hear(&heard, push), limit).await?;
    for name in messages.names() {
        connection.clone().subscribe(&name).await?;
    }
    messages.wake_all();
    Ok(connection)
}

/// Connects. `heard` is called with each notification, on the connection's own task, and must not wait.
async fn dialed(
    dial: &Dial,
    heard: impl Fn(Heard) + Clone + Send + Sync + 'static,
    limit: Duration,
) -> Result<Connection, Failure> {
    let connecting = async {
        match dial {
            Dial::Node(client) => node(client, heard, limit).await,
            Dial::Sentinel(build) => {
                let client = build().map_err(login_failure)?.async_get_client().await;
                let client = client.map_err(login_failure)?;
                node(&client, heard, limit).await
            }
            Dial::Cluster(client) => {
                // a silent node must leave time for the others
                let config =
                    ClusterConfig::new().set_connection_timeout(limit / 3).set_push_sender(telling(heard));
                let connection = client.get_async_connection_with_config(config).await;
                Ok(Connection::Cluster(connection.map_err(login_failure)?))
            }
        }
    };
    match tokio::time::timeout(limit, connecting).await {
        Ok(connection) => connection,
        Err(_elapsed) => Err(Failure::new(FailureKind::Timeout, format!("no connection within {limit:?}"))),
    }
}

/// Connects to one server.
async fn node(
    client: &redis::Client,
    heard: impl Fn(Heard) + Clone + Send + Sync + 'static,
    limit: Duration,
) -> Result<Connection, Failure> {
    let info = client.get_connection_info();
    if wire::is_plain(info) {
        return wire::connect(info, heard).await.map(Connection::Wire);
    }
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(None)
        .set_push_sender(telling(heard));
    let connection = client.get_multiplexed_async_connection_with_config(&config).await;
    connection.map(Connection::Node).map_err(login_failure)
}

/// The callback for pushes that is given to the client library.
fn telling(heard: impl Fn(Heard)) -> impl Fn(PushInfo) -> Result<(), ()> {
    move |push| {
        told(push).into_iter().for_each(&heard);
        Ok(())
    }
}

/// Wakes the waiters of locks that a notification concerns.
#[allow(clippy::needless_pass_by_value, reason = "as all who hear take it")]
fn hear(messages: &Messages, heard: Heard) {
    match heard {
        Heard::Message { channel, .. } => messages.arrived(&channel),
        Heard::Lost => messages.wake_all(),
        Heard::Changed(_) | Heard::Flushed => {}
    }
}

/// Converts a push to a notification.
fn told(push: PushInfo) -> Option<Heard> {
    match push.kind {
        PushKind::Invalidate => {
            let names = push.data.into_iter().map(|keys| match keys {
                Value::Array(keys) => {
                    keys.into_iter().map(reply).map(|key| key.ok()?.bytes().ok()?).collect()
                }
                // a flush of all keys, or an unknown push
                _ => None,
            });
            let names: Option<Vec<Vec<_>>> = names.collect();
            Some(names.map_or(Heard::Flushed, |names| Heard::Changed(names.concat())))
        }
        PushKind::Message => {
            let message = redis::Msg::from_push_info(push)?;
            let channel = message.get_channel_name().to_owned();
            Some(Heard::Message { channel, text: message.get_payload_bytes().to_vec().into() })
        }
        PushKind::Disconnection => Some(Heard::Lost),
        _ => None,
    }
}

struct Listening {
    connection: Connection,
    limit: Duration,
}

#[async_trait]
impl Runner for Listening {
    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        let run = self.connection.clone().run(commands);
        let answers = match tokio::time::timeout(self.limit, run).await {
            Ok(answers) => answers,
            Err(_elapsed) => {
                Err(Failure::new(FailureKind::Timeout, format!("no answer within {:?}", self.limit)))
            }
        };
        answers.unwrap_or_else(|failure| commands.iter().map(|_| Err(failure.clone())).collect())
    }
}

#[async_trait]
impl Listener for Listening {
    async fn subscribe(&self, channel: &str) -> Result<(), Failure> {
        let mut connection = self.connection.clone();
        match tokio::time::timeout(self.limit, connection.subscribe(channel)).await {
            Ok(subscribed) => subscribed,
            Err(_elapsed) => {
                Err(Failure::new(FailureKind::Timeout, format!("no answer within {:?}", self.limit)))
            }
        }
    }
}

impl Connection {
    async fn subscribe(&mut self, channel: &str) -> Result<(), Failure> {
        match self {
            Self::Wire(wire) => wire.subscription("SUBSCRIBE", channel).await,
            Self::Node(connection) => connection.subscribe(channel).await.map_err(failure),
            Self::Cluster(connection) => connection.subscribe(channel).await.map_err(failure),
        }
    }

    async fn unsubscribe(&mut self, channel: &str) -> Result<(), Failure> {
        match self {
            Self::Wire(wire) => wire.subscription("UNSUBSCRIBE", channel).await,
            Self::Node(connection) => connection.unsubscribe(channel).await.map_err(failure),
            Self::Cluster(connection) => connection.unsubscribe(channel).await.map_err(failure),
        }
    }

    /// Runs commands. The outer error is the connection's, the inner errors are the commands' own.
    async fn run(self, commands: &[Command<'_>]) -> Result<Vec<Result<Reply, Failure>>, Failure> {
        let mut answers: Vec<_> = match (self, commands) {
            (Self::Wire(wire), commands) => return wire.run(commands).await,
            (Self::Node(mut connection), [command]) => {
                let answer = connection.send_packed_command(&packed(command)).await;
                vec![Ok(reply(answer.map_err(failure)?)?)]
            }
            (Self::Node(mut connection), commands) => {
                let mut pipe = redis::Pipeline::with_capacity(commands.len());
                commands.iter().for_each(|command| _ = pipe.add_command(packed(command)));
                pipe.ignore_errors();
                let answers =
                    connection.send_packed_commands(&pipe, 0, commands.len()).await.map_err(failure)?;
                answers.into_iter().map(reply).collect()
            }
            (Self::Cluster(connection), commands) => {
                join_all(commands.iter().map(|command| {
                    let mut connection = connection.clone();
                    async move {
                        let route = Route::with_key(command.key, SlotAddr::Master);
                        let routing = RoutingInfo::SingleNode(SingleNodeRoutingInfo::SpecificNode(route));
                        reply(connection.route_command(packed(command), routing).await.map_err(failure)?)
                    }
                }))
                .await
            }
        };
        // our own socket returns slices of one buffer; the library allocates each value
        gather(&mut answers);
        Ok(answers)
    }
}

fn packed(command: &Command<'_>) -> Cmd {
    let size: usize = command
        .arguments
        .iter()
        .map(|argument| match argument {
            Arg::Bytes(bytes) => bytes.len(),
            Arg::Number(_) => 20,
        })
        .sum();
    let mut packed = Cmd::with_capacity(command.arguments.len() + 1, size + command.name.len());
    packed.arg(command.name);
    for argument in &command.arguments {
        match argument {
            Arg::Bytes(bytes) => packed.arg(*bytes),
            Arg::Number(number) => packed.arg(*number),
        };
    }
    packed
}

fn reply(value: Value) -> Result<Reply, Failure> {
    Ok(match value {
        Value::Nil => Reply::Nil,
        Value::Int(number) => Reply::Number(number),
        Value::Boolean(truth) => Reply::Number(i64::from(truth)),
        // not copied: the bytes keep their buffer
        Value::BulkString(bytes) => Reply::Bytes(bytes.into()),
        Value::SimpleString(text) | Value::VerbatimString { text, .. } => Reply::Bytes(text.into()),
        Value::Okay => Reply::Bytes("OK".into()),
        Value::Array(values) | Value::Set(values) => {
            let mut replies = Vec::with_capacity(values.len());
            for value in values {
                replies.push(reply(value)?);
            }
            Reply::List(replies)
        }
        Value::ServerError(error) => return Err(failed(&error)),
        other => {
            drop(other);
            return Err(Failure::new(
                FailureKind::Server,
                "the server answered with a kind of reply that is not used",
            ));
        }
    })
}

fn failed(error: &ServerError) -> Failure {
    // the library's `CODE: text` becomes `CODE text` again
    Failure::said(&format!("{} {}", error.code(), error.details().unwrap_or_default()))
}

fn failure(error: RedisError) -> Failure {
    let kind = match error.kind() {
        _ if error.is_timeout() => FailureKind::Timeout,
        ErrorKind::AuthenticationFailed
        | ErrorKind::InvalidClientConfig
        | ErrorKind::RESP3NotSupported
        | ErrorKind::Parse => FailureKind::Refused,
        ErrorKind::Server(_) => error.code().map_or(FailureKind::Server, kind_of),
        _ if error.is_unrecoverable_error() || error.is_io_error() => FailureKind::Lost,
        ErrorKind::MasterNameNotFoundBySentinel
        | ErrorKind::EmptySentinelList
        | ErrorKind::NoValidReplicasFoundBySentinel => FailureKind::Busy,
        _ => error.code().map_or(FailureKind::Server, kind_of),
    };
    let text = match error.detail() {
        Some(detail) => format!("{} {detail}", error.code().unwrap_or(error.category())),
        None => error.to_string(),
    };
    let said = Failure::said(&text);
    let kind = if kind == FailureKind::Server { said.kind } else { kind };
    let failure = Failure::new(kind, said.to_string());
    // any other source would repeat the server's text
    if error.is_io_error() && error.detail().is_none() { failure.with_source(error) } else { failure }
}

/// Converts an error of connecting to a failure. Its detail may be the server's reply to `HELLO` or `AUTH`.
fn login_failure(error: RedisError) -> Failure {
    let has_detail = error.detail().is_some();
    let category = format!("no connection: {}", error.category());
    let failure = failure(error).of_login();
    match failure.kind {
        // of a cluster, collected from all nodes
        FailureKind::Lost | FailureKind::Timeout if has_detail => Failure::new(failure.kind, category),
        _ => failure,
    }
}

impl RedisRs {
    /// Runs commands under one timeout.
    async fn together(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        let asked = self.links[lane() % self.links.len()].within(
            self.timing.command,
            async |connection: Connection| {
                let answers = connection.run(commands).await?;
                // if one of many reports a lost connection, it is lost for all
                let lost = |answer: &Result<Reply, Failure>| {
                    answer.as_ref().err().filter(|failure| failure.kind == FailureKind::Lost).cloned()
                };
                match answers.iter().find_map(lost) {
                    Some(lost) if !self.is_cluster => Err(lost),
                    _ => Ok(answers),
                }
            },
        );
        asked.await.unwrap_or_else(|failure| commands.iter().map(|_| Err(failure.clone())).collect())
    }
}

#[async_trait]
impl Runner for RedisRs {
    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        if !self.is_cluster || commands.len() < 2 {
            return self.together(commands).await;
        }
        // separately: a silent node does not delay the answers of the other nodes
        let all = commands.iter().map(|command| self.together(std::slice::from_ref(command)));
        join_all(all).await.concat()
    }
}

#[async_trait]
impl Client for RedisRs {
    fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    async fn subscribe(&self, channel: &str) -> Result<(), Failure> {
        self.links[0]
            .within(self.timing.command, async |mut connection: Connection| {
                connection.subscribe(channel).await
            })
            .await
    }

    async fn unsubscribe(&self, channel: &str) -> Result<(), Failure> {
        self.links[0]
            .within(self.timing.command, async |mut connection: Connection| {
                connection.unsubscribe(channel).await
            })
            .await
    }

    async fn listen(&self, hearer: Hearer) -> Result<Arc<dyn Listener>, Failure> {
        let tell = move |heard| {
            // a hearer that is gone is about to close the connection
            _ = hearer.send(heard);
        };
        let connection = dialed(&self.dial, tell, self.timing.connect).await?;
        Ok(Arc::new(Listening { connection, limit: self.timing.command }))
    }

    fn messages(&self) -> &Messages {
        &self.messages
    }
}

/// Returns a client with the connection settings of the user's client and RESP3, without which servers push
/// nothing.
pub(crate) fn with_resp3(client: &redis::Client) -> redis::RedisResult<redis::Client> {
    let info = client.get_connection_info().clone();
    let settings = info.redis_settings().clone().set_protocol(redis::ProtocolVersion::RESP3);
    redis::Client::open(info.set_redis_settings(settings))
}

#[cfg(test)]
#[path = "push_tests.rs"]
#[allow(clippy::unwrap_used, reason = "a test fails by panicking")]
mod push_tests;
