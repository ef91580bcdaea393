//! The operations that do not depend on the format of a value: announcements, fences, write guards, removal.

use std::time::Duration;

use bytes::Bytes;
use larder::Result;
use larder::backend::{Entry, Fence, LoadIntent, WriteIntent};
use larder::clock::Timestamp;

use crate::client::{Arg, Command, Failure, FailureKind, Reply};
use crate::clocks::life_ms;
use crate::names::Names;
use crate::nonce::identity;
use crate::script::{BEGIN, GUARD, RELEASE, RENEW, UNGUARD};
use crate::server::Server;

/// The maximum number of keys that are removed at once.
const MOST: usize = 1_000;

/// A load's request for a fence, before it is sent.
pub(crate) struct Announcement {
    /// The mode and the client's part of the fence's name. The server adds the time of each execution.
    own: String,
    lease: i64,
    despite_hit: bool,
}

impl Announcement {
    pub(crate) fn new(announce: LoadIntent) -> Self {
        let mode = if announce.is_exclusive() { 'x' } else { 's' };
        Self {
            own: format!("{mode}{}", identity()),
            lease: lease_ms(announce.lease()),
            despite_hit: announce.ignores_hit(),
        }
    }

    /// The command that asks for a fence. A value counts only if its header names `ledger`, unless that is empty.
    pub(crate) fn command<'a>(&'a self, names: &'a Names, ledger: &'a [u8]) -> Command<'a> {
        let looks = i64::from(self.despite_hit);
        let arguments =
            [Arg::from(self.own.as_str()), Arg::from(self.lease), Arg::from(ledger), Arg::from(looks)];
        BEGIN.call(&names.all(), arguments)
    }
}

/// The server's answer to a request for a fence.
pub(crate) enum Announced {
    Value(Bytes),
    Fence(Fence),
    Busy(Duration),
    Guarded,
}

/// Parses the answer to a request for a fence, and the server's time in microseconds.
pub(crate) fn announced(reply: Reply) -> std::result::Result<(Announced, i64), Failure> {
    let unreadable = || Failure::new(FailureKind::Server, "the server answered no announcement");
    let [kind, subject, now] = <[Reply; 3]>::try_from(reply.list()?).map_err(|_| unreadable())?;
    let announced = match kind.number()? {
        1 => Announced::Value(subject.bytes()?.ok_or_else(unreadable)?),
        kind @ (2 | 3) => {
            let standing = subject.bytes()?.ok_or_else(unreadable)?;
            let nonce = std::str::from_utf8(&standing).ok().and_then(|text| text.get(1..));
            let nonce = nonce.and_then(|text| u128::from_str_radix(text, 16).ok()).ok_or_else(unreadable)?;
            Announced::Fence(if kind == 2 { Fence::created(nonce) } else { Fence::joined(nonce) })
        }
        5 => Announced::Guarded,
        _ => {
            let left = u64::try_from(subject.number()?).unwrap_or(1).max(1);
            Announced::Busy(Duration::from_millis(left))
        }
    };
    Ok((announced, now.number()?))
}

/// The name of a fence without its mode, in the format of the scripts.
pub(crate) fn hex(fence: Fence) -> String {
    format!("{:032x}", fence.nonce())
}

/// The life of an entry in the format of the scripts: empty for no expiry.
pub(crate) fn life<V>(entry: &Entry<V>, now: Timestamp) -> String {
    life_ms(entry.remaining(now)).map_or_else(String::new, |life| life.to_string())
}

/// A lease in the format of the scripts.
pub(crate) fn lease_ms(lease: Duration) -> i64 {
    life_ms(lease).and_then(|lease| i64::try_from(lease).ok()).unwrap_or(1 << 62)
}

impl Server {
    pub(crate) async fn renew_fence(&self, name: &str, fence: Fence, lease: Duration) -> Result<bool> {
        let nonce = hex(fence);
        let command = RENEW.call(&[name], [Arg::from(nonce.as_str()), Arg::from(lease_ms(lease))]);
        Ok(self.number("renew", command).await? == 1)
    }

    pub(crate) async fn release_fence(&self, name: &str, fence: Fence) -> Result<()> {
        let nonce = hex(fence);
        let command = RELEASE.call(&[name], [Arg::from(nonce.as_str())]);
        self.number("release", command).await.map(|_| ())
    }

    pub(crate) async fn guard(&self, names: &Names, guard: WriteIntent) -> Result<()> {
        let nonce = format!("{:032x}", guard.nonce());
        let arguments = [Arg::from(nonce.as_str()), Arg::from(lease_ms(guard.life()))];
        self.number("guard", GUARD.call(&names.all(), arguments)).await.map(|_| ())
    }

    pub(crate) async fn unguard(&self, names: &Names, guard: WriteIntent) -> Result<()> {
        let nonce = format!("{:032x}", guard.nonce());
        self.number("unguard", UNGUARD.call(&names.all(), [Arg::from(nonce.as_str())])).await.map(|_| ())
    }

    /// Removes entries and revokes their fences. This is the same invalidation that other programs may send.
    pub(crate) async fn unlink(&self, operation: &str, names: &[Names]) -> Result<()> {
        let removed = match self.client.is_cluster() {
            false => self.unlink_together(names).await,
            true => self.unlink_apart(names).await,
        };
        removed.map_err(|failure| failure.into_error(operation))
    }

    /// Removes fence and value with one command, on one server.
    async fn unlink_together(&self, names: &[Names]) -> std::result::Result<(), Failure> {
        let all: Vec<[Arg<'_>; 2]> =
            names.iter().map(|names| [names.fence.as_str().into(), names.value.as_str().into()]).collect();
        let commands: Vec<Command<'_>> = all
            .chunks(MOST / 2)
            .map(|some| Command { name: "UNLINK", arguments: some.concat(), key: &names[0].value })
            .collect();
        let mut answers = self.run(&commands).await;
        commands.iter().try_for_each(|_| answers.next()?.number().map(|_| ()))
    }

    /// Removes the fences, and then the value of each key whose fence is gone, in a cluster. Each key has its own
    /// command, which follows the key while its slot migrates. A command with two keys fails meanwhile.
    ///
    /// The order, with each command sent after the other's answer, prevents: a load from before the invalidation
    /// stores its value between the two.
    async fn unlink_apart(&self, names: &[Names]) -> std::result::Result<(), Failure> {
        let mut removed = Ok(());
        for names in names.chunks(MOST) {
            let fences = self.unlink_each(names.iter().map(|names| names.fence.as_str())).await;
            let ended = names.iter().zip(&fences).filter(|(_, ended)| ended.is_ok());
            let values = self.unlink_each(ended.map(|(names, _)| names.value.as_str())).await;
            // the caller retries a failed key, starting with the fence
            removed = fences.into_iter().chain(values).fold(removed, std::result::Result::and);
        }
        removed
    }

    async fn unlink_each(&self, keys: impl Iterator<Item = &str>) -> Vec<std::result::Result<(), Failure>> {
        let commands: Vec<Command<'_>> =
            keys.map(|key| Command { name: "UNLINK", arguments: vec![key.into()], key }).collect();
        if commands.is_empty() {
            return vec![];
        }
        let mut answers = self.run(&commands).await;
        commands.iter().map(|_| answers.next()?.number().map(|_| ())).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use async_trait::async_trait;
    use larder::key::StoreKey;

    use super::*;
    use crate::client::{Client, Hearer, Listener, Messages, Runner};
    use crate::config::Pushes;
    use crate::names::Space;

    /// A cluster that records removals in order, and fails for one key.
    #[derive(Debug, Default)]
    struct Nodes {
        trips: Mutex<Vec<Vec<String>>>,
        messages: Messages,
    }

    const FAILING: &str = "shop:f:{2}";

    #[async_trait]
    impl Runner for Nodes {
        async fn run(&self, commands: &[Command<'_>]) -> Vec<std::result::Result<Reply, Failure>> {
            let names = commands.iter().map(|command| {
                assert_eq!((command.name, command.arguments.len()), ("UNLINK", 1), "one key a command");
                command.key.to_owned()
            });
            let names: Vec<String> = names.collect();
            let answer = |name: &String| match name == FAILING {
                true => Err(Failure::new(FailureKind::Busy, "TRYAGAIN")),
                false => Ok(Reply::Number(0)),
            };
            let answers = names.iter().map(answer).collect();
            self.trips.lock().expect("no panic").push(names);
            answers
        }
    }

    #[async_trait]
    impl Client for Nodes {
        fn is_cluster(&self) -> bool {
            true
        }
        async fn subscribe(&self, _channel: &str) -> std::result::Result<(), Failure> {
            Ok(())
        }
        async fn unsubscribe(&self, _channel: &str) -> std::result::Result<(), Failure> {
            Ok(())
        }
        async fn listen(&self, _hearer: Hearer) -> std::result::Result<Arc<dyn Listener>, Failure> {
            Err(Failure::new(FailureKind::Lost, "nothing to hear"))
        }
        fn messages(&self) -> &Messages {
            &self.messages
        }
    }

    #[tokio::test]
    async fn in_a_cluster_a_value_goes_after_its_fence_is_gone() {
        let nodes = Arc::new(Nodes::default());
        let server = Server::new(Arc::clone(&nodes) as Arc<dyn Client>, Pushes::Tracking);
        let space = Space::new("shop".to_owned());
        let names =
            |keys: &[u64]| keys.iter().map(|key| space.entry(&StoreKey::new(key))).collect::<Vec<_>>();
        assert!(server.unlink("remove", &names(&[1])).await.is_ok());
        let failed = server.unlink("remove_many", &names(&[1, 2, 3])).await;
        assert!(failed.is_err_and(|error| error.is_transient()), "one that failed has failed all");
        let trips = nodes.trips.lock().expect("no panic").clone();
        let expected: [&[&str]; 4] = [
            &["shop:f:{1}"],
            &["shop:v:{1}"],
            &["shop:f:{1}", "shop:f:{2}", "shop:f:{3}"],
            &["shop:v:{1}", "shop:v:{3}"],
        ];
        assert_eq!(trips, expected);
    }
}
