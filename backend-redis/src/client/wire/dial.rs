//! Opens a connection and logs in.

use redis::{ConnectionAddr, ConnectionInfo};
use tokio::net::{TcpStream, UnixStream};

use super::{Sending, Wire};
use crate::client::{Arg, Command, Failure, FailureKind, Heard};

/// Returns `true` if the server is reached without TLS.
pub(in crate::client) fn is_plain(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::Tcp(..) | ConnectionAddr::Unix(_))
}

/// Connects, logs in, and selects the database.
pub(in crate::client) async fn connect(
    info: &ConnectionInfo,
    heard: impl Fn(Heard) + Send + 'static,
) -> Result<Wire, Failure> {
    let wire = open(info, heard).await.map_err(|error| {
        let message = format!("no connection to {}", info.addr());
        Failure::new(FailureKind::Lost, message).with_source(error)
    })?;
    greet(&wire, info).await?;
    Ok(wire)
}

async fn open(info: &ConnectionInfo, heard: impl Fn(Heard) + Send + 'static) -> std::io::Result<Wire> {
    match info.addr() {
        ConnectionAddr::Unix(path) => {
            let (receiving, sending) = UnixStream::connect(path).await?.into_split();
            Ok(Wire::over(Sending::Unix(sending), receiving, heard))
        }
        ConnectionAddr::Tcp(host, port) => {
            let socket = TcpStream::connect((host.as_str(), *port)).await?;
            // commands are batched before they are written, so delaying small packets gains nothing
            socket.set_nodelay(true)?;
            let (receiving, sending) = socket.into_split();
            Ok(Wire::over(Sending::Tcp(sending), receiving, heard))
        }
        _ => Err(std::io::ErrorKind::Unsupported.into()),
    }
}

async fn greet(wire: &Wire, info: &ConnectionInfo) -> Result<(), Failure> {
    let settings = info.redis_settings();
    let mut hello = vec![Arg::Number(3)];
    if let Some(password) = settings.password() {
        hello.extend(["AUTH", settings.username().unwrap_or("default"), password].map(Arg::from));
    }
    let command = |name, arguments| Command { name, arguments, key: "" };
    // sent alone: a peer that refuses it gets nothing else, and some peers answer one command for each read
    for answer in wire.run(&[command("HELLO", hello)]).await? {
        answer.map_err(Failure::of_login)?;
    }
    let mut commands = vec![];
    if settings.db() != 0 {
        commands.push(command("SELECT", vec![Arg::Number(settings.db())]));
    }
    let asked = commands.len();
    if !settings.skip_set_lib_name() {
        let name = ["SETINFO", "LIB-NAME", "larder"].map(Arg::from);
        commands.push(command("CLIENT", name.into()));
    }
    if commands.is_empty() {
        return Ok(());
    }
    let answers = wire.run(&commands).await?;
    // servers before version 7.2 refuse the library's name, so its answer is ignored
    answers.into_iter().take(asked).try_for_each(|answer| answer.map(drop))
}
