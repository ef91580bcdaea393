//! The client `fred`.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::clients::Client as Connection;
use fred::error::{Error as FredError, ErrorKind};
use fred::interfaces::{ClientLike as _, EventInterface as _, PubsubInterface as _};
use fred::types::config::{
    ClusterDiscoveryPolicy, Config, ConnectionConfig, PerformanceConfig, ReconnectPolicy, Server,
    ServerConfig, TcpConfig, UnresponsiveConfig,
};
use fred::types::{ClusterHash, CustomCommand, Resp3Frame, RespVersion, Value};
use futures_util::future::join_all;
use tokio::task::JoinHandle;

use super::{Arg, Client, Command, Failure, FailureKind, Messages, Reply, kind_of};
use crate::config::Timing;
use crate::names::slot;
use crate::target::{Target, Topology};

pub(crate) struct Fred {
    /// One, or those of a pool.
    connections: Vec<Connection>,
    next: AtomicUsize,
    messages: Messages,
    timeout: Duration,
    listening: JoinHandle<()>,
}

impl fmt::Debug for Fred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("fred").field("connections", &self.connections.len()).finish_non_exhaustive()
    }
}

impl Fred {
    /// Over connections that their owner keeps alive.
    pub(crate) fn over(connections: Vec<Connection>, timing: Timing) -> Self {
        let messages = Messages::default();
        let listening = tokio::spawn(listen(connections[0].clone(), messages.clone()));
        Self { connections, next: AtomicUsize::new(0), messages, timeout: timing.command, listening }
    }

    /// Begins to connect, and tells how the first attempt went.
    pub(crate) async fn connect(
        target: &Target,
        timing: Timing,
    ) -> larder::Result<(Self, Result<(), Failure>)> {
        let connection = configured(target, timing)
            .map_err(|cause| larder::Error::config("the URL is not one of Redis").because(cause))?;
        let mut errors = connection.error_rx();
        drop(connection.connect());
        let first = tokio::time::timeout(timing.connect, async {
            tokio::select! {
                connected = connection.wait_for_connect() => connected.map_err(failure),
                Ok((error, _)) = errors.recv() => Err(failure(error)),
            }
        });
        let connected = first.await.unwrap_or_else(|_elapsed| {
            Err(Failure::new(FailureKind::Timeout, format!("no connection within {:?}", timing.connect)))
        });
        if connected.as_ref().is_err_and(|failure| failure.kind == FailureKind::Refused) {
            // nobody will use it: it must not go on asking
            _ = connection.quit().await;
        }
        Ok((Self::over(vec![connection], timing), connected))
    }

    fn connection(&self) -> Result<&Connection, Failure> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let connection = &self.connections[turn % self.connections.len()];
        // it would keep the command until it is connected again
        if !connection.is_connected() {
            return Err(Failure::new(FailureKind::Lost, "not connected"));
        }
        Ok(connection)
    }

    async fn within<T>(&self, asked: impl Future<Output = Result<T, FredError>>) -> Result<T, Failure> {
        match tokio::time::timeout(self.timeout, asked).await {
            Ok(answer) => answer.map_err(failure),
            Err(_elapsed) => {
                Err(Failure::new(FailureKind::Timeout, format!("no answer within {:?}", self.timeout)))
            }
        }
    }

    async fn one(&self, command: &Command<'_>) -> Result<Reply, Failure> {
        let connection = self.connection()?;
        let custom = CustomCommand::new_static(command.name, ClusterHash::Custom(slot(command.key)), false);
        let arguments = command.arguments.iter().map(value).collect();
        reply(self.within(connection.custom_raw::<Value>(custom, arguments)).await?)
    }
}

impl Drop for Fred {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

/// Hands on what is pushed, and asks again for it after each reconnection.
async fn listen(connection: Connection, messages: Messages) {
    let mut arrived = connection.message_rx();
    let mut reconnected = connection.reconnect_rx();
    loop {
        tokio::select! {
            message = arrived.recv() => match message {
                Ok(message) => messages.arrived(&message.channel),
                Err(tokio::sync::broadcast::error::RecvError::Lagged(_)) => messages.wake_all(),
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            },
            Ok(_) = reconnected.recv() => {
                let names = messages.names();
                if !names.is_empty() && let Err(error) = connection.subscribe(names).await {
                    tracing::debug!(%error, "waiters of locks are not woken until the next reconnection");
                }
                messages.wake_all();
            }
        }
    }
}

fn configured(target: &Target, timing: Timing) -> Result<Connection, FredError> {
    let first = &target.hosts[0];
    // for the login, which is written in the URL's own way
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
        fail_fast: false,
        database: u8::try_from(target.database).ok(),
        ..Config::from_url_centralized(&url)?
    };
    let performance =
        PerformanceConfig { default_command_timeout: timing.command, ..PerformanceConfig::default() };
    let connecting = ConnectionConfig {
        connection_timeout: timing.connect,
        internal_command_timeout: timing.connect,
        // a black hole: it is not waited for
        unresponsive: UnresponsiveConfig { max_timeout: Some(timing.command), interval: timing.command / 4 },
        tcp: TcpConfig { nodelay: Some(true), ..TcpConfig::default() },
        max_command_attempts: 1,
        ..ConnectionConfig::default()
    };
    let longest = u32::try_from(timing.longest_pause.as_millis()).unwrap_or(u32::MAX);
    let policy = ReconnectPolicy::new_exponential(0, 20.min(longest), longest, 2);
    Ok(Connection::new(config, Some(performance), Some(connecting), Some(policy)))
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
        Resp3Frame::BlobString { data, .. } | Resp3Frame::SimpleString { data, .. } => Reply::Bytes(data),
        Resp3Frame::Array { data, .. } => Reply::List(data.into_iter().map(reply).collect::<Result<_, _>>()?),
        Resp3Frame::SimpleError { data, .. } => return Err(said(&data)),
        Resp3Frame::BlobError { data, .. } => return Err(said(&String::from_utf8_lossy(&data))),
        other => {
            let message = format!("an answer of a kind that is not used: {other:?}");
            return Err(Failure::new(FailureKind::Server, message));
        }
    })
}

/// What the server says of a command.
fn said(text: &str) -> Failure {
    Failure::new(kind_of(text.split(' ').next().unwrap_or_default()), text)
}

fn failure(error: FredError) -> Failure {
    let code = error.details().split(' ').next().unwrap_or_default();
    let kind = match error.kind() {
        ErrorKind::Timeout => FailureKind::Timeout,
        ErrorKind::IO | ErrorKind::Canceled => FailureKind::Lost,
        ErrorKind::Auth | ErrorKind::Config | ErrorKind::Url | ErrorKind::Protocol | ErrorKind::Parse => {
            FailureKind::Refused
        }
        ErrorKind::Cluster | ErrorKind::Sentinel | ErrorKind::Routing | ErrorKind::Backpressure => {
            FailureKind::Busy
        }
        _ => kind_of(code),
    };
    Failure::new(kind, error.to_string()).because(error)
}

#[async_trait]
impl Client for Fred {
    fn is_cluster(&self) -> bool {
        self.connections[0].is_clustered()
    }

    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
        // written together: fred gathers what is asked before it flushes
        match commands {
            [command] => vec![self.one(command).await],
            commands => join_all(commands.iter().map(|command| self.one(command))).await,
        }
    }

    async fn subscribe(&self, channel: &str) -> Result<(), Failure> {
        self.within(self.connections[0].subscribe(channel)).await
    }

    async fn unsubscribe(&self, channel: &str) -> Result<(), Failure> {
        self.within(self.connections[0].unsubscribe(channel)).await
    }

    fn messages(&self) -> &Messages {
        &self.messages
    }
}
