//! The trait that hides the client libraries.

#[cfg(feature = "fred")]
mod fred;
#[cfg(feature = "redis-rs")]
mod gather;
mod link;
mod messages;
#[cfg(feature = "redis-rs")]
mod redis_rs;
#[cfg(feature = "redis-rs")]
mod wire;

use std::error::Error as StdError;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use larder::{Error, ErrorKind};
use tokio::sync::mpsc;

#[cfg(feature = "fred")]
pub(crate) use self::fred::Fred;
pub(crate) use self::messages::Messages;
#[cfg(feature = "redis-rs")]
pub(crate) use self::redis_rs::{Dial, RedisRs, with_resp3};

/// A connection that runs commands.
#[async_trait]
pub(crate) trait Runner: Send + Sync + 'static {
    /// Runs commands together: one round trip to a node, or one to each node of a cluster. The answers are in the
    /// order of the commands. Each command fails on its own.
    async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>>;
}

/// A connection to a server, a cluster or a group behind sentinels, which is kept alive.
#[async_trait]
pub(crate) trait Client: Runner + Debug {
    /// Returns `true` if keys are spread over nodes, so that each command is sent to its key's node.
    fn is_cluster(&self) -> bool;

    /// Subscribes to a channel, until [`unsubscribe`](Self::unsubscribe).
    async fn subscribe(&self, channel: &str) -> Result<(), Failure>;

    async fn unsubscribe(&self, channel: &str) -> Result<(), Failure>;

    /// Opens a separate connection, over which servers send notifications.
    async fn listen(&self, hearer: Hearer) -> Result<Arc<dyn Listener>, Failure>;

    /// The waiters for messages of this connection.
    fn messages(&self) -> &Messages;
}

/// A connection over which servers send notifications. It is closed when it is dropped, and does not reconnect.
#[async_trait]
pub(crate) trait Listener: Runner {
    /// Subscribes to a channel.
    async fn subscribe(&self, channel: &str) -> Result<(), Failure>;
}

/// The sender of notifications from a listener. Sending never waits.
pub(crate) type Hearer = mpsc::UnboundedSender<Heard>;

/// A notification that arrives over a connection.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    /// The names of changed keys.
    Changed(Vec<Bytes>),
    /// All keys were flushed.
    #[cfg_attr(not(feature = "redis-rs"), allow(dead_code, reason = "fred does not tell"))]
    Flushed,
    /// A message in a channel.
    Message { channel: String, text: Bytes },
    /// The connection was lost.
    Lost,
}

/// A command with its arguments, whose keys are all in one slot.
#[derive(Debug, Clone)]
pub(crate) struct Command<'a> {
    pub(crate) name: &'static str,
    pub(crate) arguments: Vec<Arg<'a>>,
    /// The key that determines the node.
    pub(crate) key: &'a str,
}

/// An argument of a command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arg<'a> {
    Bytes(&'a [u8]),
    Number(i64),
}

impl<'a> From<&'a str> for Arg<'a> {
    fn from(text: &'a str) -> Self {
        Self::Bytes(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Arg<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self::Bytes(bytes)
    }
}

impl From<i64> for Arg<'_> {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// The reply of a server.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Reply {
    Nil,
    Number(i64),
    Bytes(Bytes),
    List(Vec<Self>),
}

impl Reply {
    /// The kind and size of a reply, without its content, which may be a value or a secret.
    fn shape(&self) -> String {
        match self {
            Self::Nil => "nil".to_owned(),
            Self::Number(_) => "a number".to_owned(),
            Self::Bytes(bytes) => format!("{} bytes", bytes.len()),
            Self::List(parts) => format!("a list of {}", parts.len()),
        }
    }

    pub(crate) fn number(&self) -> Result<i64, Failure> {
        match self {
            Self::Number(number) => Ok(*number),
            // client libraries differ in the type they return for a number in text
            Self::Bytes(bytes) => std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or_else(|| Failure::unexpected(self)),
            _ => Err(Failure::unexpected(self)),
        }
    }

    pub(crate) fn bytes(self) -> Result<Option<Bytes>, Failure> {
        match self {
            Self::Nil => Ok(None),
            Self::Bytes(bytes) => Ok(Some(bytes)),
            other => Err(Failure::unexpected(&other)),
        }
    }

    pub(crate) fn list(self) -> Result<Vec<Self>, Failure> {
        match self {
            Self::List(list) => Ok(list),
            other => Err(Failure::unexpected(&other)),
        }
    }
}

/// The reason why a command has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    /// The server does not know the script: it was restarted, or its scripts were flushed.
    NoScript,
    /// No answer came within the timeout.
    Timeout,
    /// The connection is lost, or was never made.
    Lost,
    /// The peer refuses any command of this client: a wrong password, a missing permission, or a peer that is no
    /// Redis.
    Refused,
    /// The server cannot answer now, and may later: it is loading, failing over, moving slots, or full.
    Busy,
    /// Any other error of the server.
    Server,
}

/// The failure of a command, as the client reports it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    message: String,
    #[source]
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl AsRef<str>) -> Self {
        Self { kind, message: printable(message.as_ref()), cause: None }
    }

    /// Converts a server's error reply to a failure.
    pub(crate) fn said(text: &str) -> Self {
        let kind = kind_of(text.split(' ').next().unwrap_or_default());
        match repeats_a_login(text) {
            // servers before version 6, and proxies, reply so to the first command of RESP3
            true if text.contains("unknown command") => Self::withheld(FailureKind::Refused, text),
            true => Self::withheld(kind, text),
            false => Self::new(kind, text),
        }
    }

    /// The failure of a login. Only the code of the server's reply is kept, because servers that do not know a
    /// command repeat its arguments (prevents: a password in an error).
    pub(crate) fn withheld(kind: FailureKind, said: &str) -> Self {
        let first = said.split(' ').next();
        let code = CODES.iter().find(|(code, _)| first == Some(code));
        let code = code.map_or_else(String::new, |(code, _)| format!(" ({code})"));
        Self::new(
            kind,
            format!(
                "{CONNECTING}{code}: the server's words are withheld, since they may repeat the password"
            ),
        )
    }

    /// Converts a failure during a login as [`withheld`](Self::withheld) does.
    pub(crate) fn of_login(self) -> Self {
        match self.kind {
            // no server sent these, so they cannot repeat a password
            FailureKind::Lost | FailureKind::Timeout => self,
            _ if self.message.starts_with(CONNECTING) => self,
            kind => Self::withheld(kind, &self.message),
        }
    }

    pub(crate) fn with_source(mut self, cause: impl StdError + Send + Sync + 'static) -> Self {
        self.cause = Some(Arc::new(cause));
        self
    }

    fn unexpected(reply: &Reply) -> Self {
        Self::new(
            FailureKind::Server,
            format!("the server answered with {}, which is no answer to this command", reply.shape()),
        )
    }

    /// Converts to the error that a user sees.
    pub(crate) fn into_error(self, operation: &str) -> Error {
        let message = format!("{operation} failed");
        match self.kind {
            FailureKind::Timeout => Error::new(ErrorKind::Timeout, message).with_source(self).transient(),
            FailureKind::Refused => Error::new(ErrorKind::Backend, message).with_source(self),
            _ => Error::backend(operation, self),
        }
    }
}

/// The kind of a server's error, from its first word. The words are those of the server's documentation.
pub(crate) fn kind_of(code: &str) -> FailureKind {
    CODES.iter().find(|(known, _)| *known == code).map_or(FailureKind::Server, |(_, kind)| *kind)
}

/// The beginning of a message whose other words are withheld.
const CONNECTING: &str = "connecting failed";

/// The codes with which a server's error can begin.
const CODES: &[(&str, FailureKind)] = &[
    ("NOSCRIPT", FailureKind::NoScript),
    ("WRONGPASS", FailureKind::Refused),
    ("NOAUTH", FailureKind::Refused),
    ("NOPERM", FailureKind::Refused),
    ("NOPROTO", FailureKind::Refused),
    ("DENIED", FailureKind::Refused),
    // a primary that became a replica: another connection reaches its successor
    ("READONLY", FailureKind::Lost),
    ("MASTERDOWN", FailureKind::Lost),
    ("UNBLOCKED", FailureKind::Lost),
    ("LOADING", FailureKind::Busy),
    ("BUSY", FailureKind::Busy),
    ("TRYAGAIN", FailureKind::Busy),
    ("CLUSTERDOWN", FailureKind::Busy),
    ("MOVED", FailureKind::Busy),
    ("ASK", FailureKind::Busy),
    ("OOM", FailureKind::Busy),
    ("MISCONF", FailureKind::Busy),
    ("NOREPLICAS", FailureKind::Busy),
    ("ERR", FailureKind::Server),
];

/// Returns `true` if a server's text contains the name of a command that carries a password.
fn repeats_a_login(text: &str) -> bool {
    let words = text.split(|c: char| !c.is_alphanumeric());
    words.into_iter().any(|word| word.eq_ignore_ascii_case("HELLO") || word.eq_ignore_ascii_case("AUTH"))
}

/// The longest message, in characters.
const LONGEST_MESSAGE: usize = 500;

/// Makes a message safe to print: escapes control characters and limits its length.
fn printable(message: &str) -> String {
    let mut shown = String::with_capacity(message.len().min(LONGEST_MESSAGE));
    for (at, c) in message.trim_end().chars().enumerate() {
        match c {
            _ if at == LONGEST_MESSAGE => {
                shown.push_str("..");
                break;
            }
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_a_server_has_its_kind() {
        for (code, kind, transient) in [
            ("NOSCRIPT", FailureKind::NoScript, true),
            ("WRONGPASS", FailureKind::Refused, false),
            ("NOAUTH", FailureKind::Refused, false),
            ("NOPERM", FailureKind::Refused, false),
            ("READONLY", FailureKind::Lost, true),
            ("LOADING", FailureKind::Busy, true),
            ("CLUSTERDOWN", FailureKind::Busy, true),
            ("OOM", FailureKind::Busy, true),
            ("ERR", FailureKind::Server, true),
        ] {
            assert_eq!(kind_of(code), kind, "{code}");
            let error = Failure::new(kind, code).into_error("GET");
            assert_eq!((error.kind(), error.is_transient()), (ErrorKind::Backend, transient), "{code}");
        }
        let timeout = Failure::new(FailureKind::Timeout, "250 ms").into_error("GET");
        assert_eq!((timeout.kind(), timeout.is_transient()), (ErrorKind::Timeout, true));
    }

    #[test]
    fn what_a_server_says_is_printable_and_holds_no_login() {
        let shown = |text: &str| {
            let failure = Failure::said(text);
            (failure.kind, format!("{failure} {failure:?}"))
        };
        for (said, kind) in [
            (
                "ERR unknown command `HELLO`, with args beginning with: `3` `AUTH` `default` `s3cret`",
                FailureKind::Refused,
            ),
            (
                "ERR unknown command 'hello', with args beginning with: '3' 'AUTH' 's3cret'",
                FailureKind::Refused,
            ),
            ("NOAUTH HELLO s3cret", FailureKind::Refused),
            ("ERR AUTH <s3cret> is wrong", FailureKind::Server),
        ] {
            let (found, text) = shown(said);
            assert!(found == kind && !text.contains("s3cret") && text.contains("withheld"), "{text}");
        }
        assert!(shown("NOAUTH HELLO s3cret").1.contains("(NOAUTH)"));
        assert!(shown("NOAUTH Authentication required.").1.contains("Authentication required"));
        let (_, text) = shown("WRONGTYPE a\x1b[2Jb\r\n");
        assert!(text.contains("a\\u{1b}[2Jb") && !text.contains('\x1b'), "{text}");
        assert!(shown(&"x".repeat(100_000)).1.len() < 2_000);
        let reply = Reply::List(vec![Reply::Bytes("s3cret".into())]);
        assert!(!format!("{:?}", reply.number().unwrap_err()).contains("s3cret"));
    }

    #[test]
    fn replies_are_taken_for_what_they_are() {
        assert_eq!(Reply::Bytes("17".into()).number().unwrap(), 17);
        assert!(Reply::Nil.number().is_err());
        assert_eq!(Reply::Nil.bytes().unwrap(), None);
        assert!(Reply::Number(1).list().is_err());
    }
}
