//! A connection to a simulated peer.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use tokio::io::AsyncWriteExt as _;
use tokio::net::{UnixStream, unix::OwnedReadHalf};

use super::*;
use crate::client::Arg;

/// A connection, its peer, and the notifications that arrive over it.
fn pair() -> (Wire, UnixStream, tokio::sync::mpsc::UnboundedReceiver<Heard>) {
    let (own, peer) = UnixStream::pair().unwrap();
    let (receiving, sending): (OwnedReadHalf, _) = own.into_split();
    let (tell, heard) = tokio::sync::mpsc::unbounded_channel();
    let wire = Wire::over(Sending::Unix(sending), receiving, move |heard| _ = tell.send(heard));
    (wire, peer, heard)
}

fn get(key: &str) -> Command<'_> {
    Command { name: "GET", arguments: vec![Arg::from(key)], key }
}

/// Reads from the peer's side until `end`.
async fn until(peer: &mut UnixStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        assert!(peer.read_buf(&mut read).await.unwrap() > 0, "{:?}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

fn bytes(answers: Result<Answers, Failure>) -> Vec<Option<bytes::Bytes>> {
    answers.unwrap().into_iter().map(|answer| answer.unwrap().bytes().unwrap()).collect()
}

#[tokio::test]
async fn answers_reach_who_asked_in_whatever_pieces_they_come() {
    let (wire, mut peer, _heard) = pair();
    let (one, two) = (wire.clone(), wire.clone());
    let one = tokio::spawn(async move { one.run(&[get("a"), get("b")]).await });
    until(&mut peer, "$1\r\nb\r\n").await;
    let two = tokio::spawn(async move { two.run(&[get("c")]).await });
    until(&mut peer, "$1\r\nc\r\n").await;
    for byte in b"$1\r\n1\r\n_\r\n>2\r\n+invalidate\r\n_\r\n$3\r\nccc\r\n" {
        peer.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(bytes(one.await.unwrap()), [Some("1".into()), None]);
    assert_eq!(bytes(two.await.unwrap()), [Some("ccc".into())]);
}

#[tokio::test]
async fn a_caller_who_leaves_takes_no_answer_from_the_next() {
    let (wire, mut peer, _heard) = pair();
    assert!(futures_util::FutureExt::now_or_never(Box::pin(wire.run(&[get("a")]))).is_none());
    until(&mut peer, "$1\r\na\r\n").await;
    let next = tokio::spawn({
        let wire = wire.clone();
        async move { wire.run(&[get("b")]).await }
    });
    until(&mut peer, "$1\r\nb\r\n").await;
    peer.write_all(b"+for a\r\n+for b\r\n").await.unwrap();
    assert_eq!(bytes(next.await.unwrap()), [Some("for b".into())]);
}

#[tokio::test]
async fn more_than_the_socket_takes_is_sent_when_it_does() {
    let (wire, mut peer, _heard) = pair();
    let value = "v".repeat(3 << 20);
    let sent = tokio::spawn({
        let (wire, value) = (wire.clone(), value.clone());
        async move { wire.run(&[get(&value), get("after")]).await }
    });
    let read = until(&mut peer, "$5\r\nafter\r\n").await;
    assert!(read.contains(&value));
    let answer = format!("${}\r\n{value}\r\n_\r\n", value.len());
    peer.write_all(answer.as_bytes()).await.unwrap();
    assert_eq!(bytes(sent.await.unwrap()), [Some(value.into()), None]);
}

#[tokio::test]
async fn the_end_of_a_connection_is_told_to_all() {
    let (wire, mut peer, mut heard) = pair();
    let waiting = tokio::spawn({
        let wire = wire.clone();
        async move { wire.run(&[get("a"), get("b")]).await }
    });
    until(&mut peer, "$1\r\nb\r\n").await;
    peer.write_all(b"+for a\r\n").await.unwrap();
    drop(peer);
    let answers = waiting.await.unwrap().unwrap();
    assert!(answers[0].is_ok(), "what was answered before is an answer");
    assert_eq!(answers[1].as_ref().unwrap_err().kind, FailureKind::Lost);
    assert_eq!(heard.recv().await, Some(Heard::Lost));
    let after = wire.run(&[get("c")]).await;
    assert_eq!(after.unwrap_err().kind, FailureKind::Lost, "nobody waits for a connection that is gone");
}

#[tokio::test]
async fn a_peer_that_says_what_nobody_asked_for_is_left() {
    let (wire, mut peer, mut heard) = pair();
    peer.write_all(b"+hello\r\n").await.unwrap();
    assert_eq!(heard.recv().await, Some(Heard::Lost));
    assert!(wire.run(&[get("a")]).await.is_err());
}

#[tokio::test]
async fn a_subscription_is_confirmed_in_its_place() {
    let (wire, mut peer, mut heard) = pair();
    let subscribed = tokio::spawn({
        let wire = wire.clone();
        async move { (wire.subscription("SUBSCRIBE", "c").await, wire.run(&[get("a")]).await) }
    });
    until(&mut peer, "$1\r\nc\r\n").await;
    peer.write_all(b">3\r\n+subscribe\r\n+c\r\n:1\r\n>3\r\n+message\r\n+c\r\n+now\r\n").await.unwrap();
    until(&mut peer, "$1\r\na\r\n").await;
    peer.write_all(b"-NOPERM no\r\n").await.unwrap();
    let (subscribed, answer) = subscribed.await.unwrap();
    assert!(subscribed.is_ok());
    assert_eq!(answer.unwrap()[0].as_ref().unwrap_err().kind, FailureKind::Refused);
    assert_eq!(heard.recv().await, Some(Heard::Message { channel: "c".into(), text: "now".into() }));
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_socket() {
    let (wire, mut peer, _heard) = pair();
    let other = wire.clone();
    drop(wire);
    tokio::task::yield_now().await;
    assert!(other.send(b"", 1).is_ok());
    drop(other);
    assert_eq!(peer.read(&mut [0; 8]).await.unwrap(), 0);
}

#[test]
fn a_runtime_that_shuts_down_leaves_nobody_waiting() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (wire, peer, _heard) = runtime.block_on(async { pair() });
    let mut answered = wire.send(b"x", 1).unwrap();
    drop(runtime);
    assert!(answered.try_recv().is_ok_and(|answers| answers[0].is_err()));
    assert!(wire.send(b"x", 1).is_err());
    drop(peer);
}

/// prevents: a server that fills the memory of a process that has asked for nothing.
#[tokio::test]
async fn what_nobody_asked_for_is_not_read_to_its_end() {
    for head in ["$1000\r\n", "*1000\r\n", ">1\r\n$500000000\r\n", ">1000000000\r\n", "|1\r\n$500000000\r\n"]
    {
        let (_wire, mut peer, mut heard) = pair();
        peer.write_all(head.as_bytes()).await.unwrap();
        let left = tokio::time::timeout(std::time::Duration::from_secs(1), heard.recv()).await;
        assert_eq!(left.ok().flatten(), Some(Heard::Lost), "{head:?}");
    }
}

#[tokio::test]
async fn more_than_can_have_been_asked_for_is_not_read() {
    let large = format!("*2\r\n${0}\r\n{1}\r\n$536870912\r\n", 2 << 20, "v".repeat(2 << 20));
    for head in ["*1000000000\r\n", "%600000\r\n", "*1\r\n*1000000000\r\n", &large] {
        let (wire, mut peer, mut heard) = pair();
        let waiting = tokio::spawn(async move { wire.run(&[get("a")]).await });
        until(&mut peer, "$1\r\na\r\n").await;
        peer.write_all(head.as_bytes()).await.unwrap();
        let left = tokio::time::timeout(std::time::Duration::from_secs(1), heard.recv()).await;
        assert_eq!(left.ok().flatten(), Some(Heard::Lost), "{:?}", &head[..4]);
        assert!(waiting.await.unwrap().unwrap()[0].is_err(), "{:?}", &head[..4]);
    }
}

/// prevents: a long list that is looked at from its beginning with each piece that comes.
#[tokio::test]
async fn a_long_list_takes_time_in_proportion() {
    const PARTS: usize = 600_000;
    let (wire, mut peer, _heard) = pair();
    let waiting = tokio::spawn(async move { wire.run(&[get("a")]).await });
    until(&mut peer, "$1\r\na\r\n").await;
    let sent = format!("*{PARTS}\r\n{}", ":1\r\n".repeat(PARTS));
    let began = std::time::Instant::now();
    for piece in sent.as_bytes().chunks(4 << 10) {
        peer.write_all(piece).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answers = waiting.await.unwrap().unwrap();
    assert!(matches!(&answers[0], Ok(Reply::List(list)) if list.len() == PARTS));
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
}
