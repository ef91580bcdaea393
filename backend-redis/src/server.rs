//! The state that all handles of one connection share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use larder::Result;
use larder::clock::Timestamp;
use larder::tag::Stamp;
use twox_hash::XxHash3_64;

use crate::client::{Arg, Client, Command, Failure, FailureKind, Reply};
use crate::clocks::{Clocks, Reading};
use crate::config::Pushes;
use crate::hub::Hub;
use crate::names::{Space, slot};
use crate::nonce::identity;
use crate::script::{self, INCARNATION, STAMP, TIME};
use crate::tell::told;

/// A connection, and the data that were learnt over it.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) client: Arc<dyn Client>,
    pub(crate) clocks: Clocks,
    pub(crate) pushes: Pushes,
    pub(crate) hub: Hub,
    /// The name of these handles in notifications of their changes.
    pub(crate) sender: String,
}

/// The state of a ledger: its identity for entries of one slot, and its count.
pub(crate) type Head = Stamp;

impl Server {
    pub(crate) fn new(client: Arc<dyn Client>, pushes: Pushes) -> Self {
        Self { client, clocks: Clocks::default(), pushes, hub: Hub::default(), sender: identity() }
    }

    /// The clock of a key: in a cluster by the slot of the key.
    pub(crate) fn slot(&self, name: &str) -> u16 {
        if self.client.is_cluster() { slot(name) } else { 0 }
    }

    /// Runs commands together.
    pub(crate) async fn run(&self, commands: &[Command<'_>]) -> Answers {
        let sent = Instant::now();
        let answers = match self.pushes {
            Pushes::Tracking => script::run(&*self.client, commands).await,
            Pushes::PubSub => told(&*self.client, "", commands).await,
        };
        Answers { answers: answers.into_iter(), took: sent.elapsed() }
    }

    /// Runs a fill, of which this process's own near tiers need no notification. They get one with
    /// `Pushes::Tracking`.
    pub(crate) async fn run_untold(&self, commands: &[Command<'_>]) -> Answers {
        match self.pushes {
            // the server ignores `NOLOOP` for changes by scripts; the notification costs the process another far
            // read (L2)
            Pushes::Tracking => self.run(commands).await,
            Pushes::PubSub => {
                let sent = Instant::now();
                let answers = told(&*self.client, &self.sender, commands).await;
                Answers { answers: answers.into_iter(), took: sent.elapsed() }
            }
        }
    }

    pub(crate) async fn run_one(&self, operation: &str, command: Command<'_>) -> Result<Reply> {
        let mut answers = self.run(std::slice::from_ref(&command)).await;
        answers.next().map_err(|failure| failure.into_error(operation))
    }

    pub(crate) async fn number(&self, operation: &str, command: Command<'_>) -> Result<i64> {
        let answer = self.run_one(operation, command).await?;
        answer.number().map_err(|failure| failure.into_error(operation))
    }

    /// Returns a reading of the clock for `name`, and requests one if there is none.
    pub(crate) async fn reading(&self, operation: &str, name: &str, now: Timestamp) -> Result<Reading> {
        let slot = self.slot(name);
        if let Some(reading) = self.clocks.fresh(slot, now) {
            return Ok(reading);
        }
        let mut answers = self.run(&[TIME.call(&[name], [])]).await;
        let reading = answers.reading(now).map_err(|failure| failure.into_error(operation))?;
        self.clocks.note(slot, reading);
        Ok(reading)
    }

    /// Returns the ledger's state for entries in the slot of `name`, and makes the ledger if there is none.
    pub(crate) async fn stamp(
        &self,
        operation: &str,
        space: &Space,
        strict: bool,
        name: &str,
    ) -> Result<Head> {
        self.try_stamp(space, strict, name).await.map_err(|failure| failure.into_error(operation))
    }

    /// As [`stamp`](Self::stamp), with the failure as the client reports it.
    pub(crate) async fn try_stamp(
        &self,
        space: &Space,
        strict: bool,
        name: &str,
    ) -> std::result::Result<Head, Failure> {
        let fresh = identity();
        let made = STAMP.call(&[&space.head, &space.tags], [Arg::from(fresh.as_str())]);
        let mut commands = vec![made];
        let incarnations = self.incarnations(space, strict, name);
        commands.extend(incarnations.iter().map(|&name| INCARNATION.call(&[name], [])));
        let mut answers = self.run(&commands).await;
        let head = answers.head()?;
        let head = head.ok_or_else(|| Failure::new(FailureKind::Server, "the ledger has no head"))?;
        answers.incarnate(head, incarnations.len())
    }

    /// The keys whose nodes' incarnations decide if an entry at `name` is valid: none outside of strict mode.
    pub(crate) fn incarnations<'a>(&self, space: &'a Space, strict: bool, name: &'a str) -> Vec<&'a str> {
        match (strict, self.client.is_cluster()) {
            (false, _) => vec![],
            (true, false) => vec![&space.head],
            (true, true) => vec![&space.head, name],
        }
    }
}

/// The answers to commands that were run together, taken one by one.
pub(crate) struct Answers {
    answers: std::vec::IntoIter<std::result::Result<Reply, Failure>>,
    took: Duration,
}

impl Answers {
    pub(crate) fn next(&mut self) -> std::result::Result<Reply, Failure> {
        self.answers.next().unwrap_or_else(|| Err(Failure::new(FailureKind::Server, "an answer is missing")))
    }

    /// Takes an answer that is the server's time in microseconds.
    pub(crate) fn reading(&mut self, asked: Timestamp) -> std::result::Result<Reading, Failure> {
        let micros = self.next()?.number()?;
        Ok(self.read(micros, asked))
    }

    pub(crate) fn read(&self, micros: i64, asked: Timestamp) -> Reading {
        Reading::new(u64::try_from(micros).unwrap_or(0), asked, self.took)
    }

    /// Takes an answer that is the head of a ledger. `None` if there is no ledger.
    pub(crate) fn head(&mut self) -> std::result::Result<Option<Head>, Failure> {
        Ok(self.next()?.bytes()?.and_then(|bytes| head(&bytes)))
    }

    /// Takes answers that are incarnations of servers.
    pub(crate) fn incarnations(&mut self, count: usize) -> std::result::Result<Vec<Bytes>, Failure> {
        (0..count).map(|_| Ok(self.next()?.bytes()?.unwrap_or_default())).collect()
    }

    /// Returns the head as it counts in these incarnations of the servers.
    pub(crate) fn incarnate(
        &mut self,
        head: Head,
        incarnations: usize,
    ) -> std::result::Result<Head, Failure> {
        let lives = self.incarnations(incarnations)?;
        let ledger = lives.iter().fold(head.ledger(), |ledger, life| incarnated(ledger, life));
        Ok(Head::new(ledger, head.count()))
    }
}

/// The identity of a ledger in one incarnation of a server.
pub(crate) fn incarnated(ledger: u64, incarnation: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(ledger, incarnation)
}

/// Parses `identity:count`. Returns `None` for anything else.
pub(crate) fn head(bytes: &[u8]) -> Option<Head> {
    let (ledger, count) = std::str::from_utf8(bytes).ok()?.split_once(':')?;
    Some(Head::new(u64::from_str_radix(ledger, 16).ok()?, count.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_taken_apart() {
        assert_eq!(head(b"00000000000000ff:12"), Some(Head::new(255, 12)));
        for other in [&b""[..], b"ff", b"ff:", b"zz:1", b"ff:-1", b"\xff:1"] {
            assert_eq!(head(other), None, "{other:?}");
        }
    }

    #[test]
    fn another_life_is_another_ledger() {
        assert_ne!(incarnated(7, b"one"), incarnated(7, b"two"));
        assert_ne!(incarnated(7, b"one"), incarnated(8, b"one"));
    }
}
