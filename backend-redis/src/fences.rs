//! The operations that are the same whatever a value looks like: announcements, fences, guards, removal.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use larder::{Announce, Entry, Fence, Guard, Result, Timestamp};

use crate::client::{Arg, Command, Failure, FailureKind, Reply};
use crate::clocks::life_ms;
use crate::names::Names;
use crate::nonce::identity;
use crate::script::{BEGIN, GUARD, RELEASE, RENEW, UNGUARD};
use crate::server::Server;

/// The most keys of one `UNLINK`.
const MOST: usize = 1_000;

/// An announcement that is about to be sent.
pub(crate) struct Announcement {
    /// The mode and the client's part of the fence's name; the server adds the time of each execution.
    own: String,
    lease: i64,
    despite_hit: bool,
}

impl Announcement {
    pub(crate) fn new(announce: Announce) -> Self {
        let mode = if announce.is_exclusive() { 'x' } else { 's' };
        Self {
            own: format!("{mode}{}", identity()),
            lease: lease_ms(announce.lease()),
            despite_hit: announce.ignores_hit(),
        }
    }

    /// The command; a value counts only if its header names `ledger`, unless that is empty.
    pub(crate) fn command<'a>(&'a self, names: &'a Names, ledger: &'a [u8]) -> Command<'a> {
        let looks = i64::from(self.despite_hit);
        let arguments =
            [Arg::from(self.own.as_str()), Arg::from(self.lease), Arg::from(ledger), Arg::from(looks)];
        BEGIN.call(&names.all(), arguments)
    }
}

/// What the server answers to an announcement.
pub(crate) enum Announced {
    Value(Bytes),
    Fence(Fence),
    Busy(Duration),
    Guarded,
}

/// The answer to an announcement, and the server's time in microseconds.
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

/// A fence's name, without its mode, as the scripts take it.
pub(crate) fn hex(fence: Fence) -> String {
    format!("{:032x}", fence.nonce())
}

/// A life as the scripts take it: empty for ever.
pub(crate) fn life<V>(entry: &Entry<V>, now: Timestamp) -> String {
    life_ms(entry.remaining(now)).map_or_else(String::new, |life| life.to_string())
}

/// A lease as the scripts take it.
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

    pub(crate) async fn guard(&self, names: &Names, guard: Guard) -> Result<()> {
        let nonce = format!("{:032x}", guard.nonce());
        let arguments = [Arg::from(nonce.as_str()), Arg::from(lease_ms(guard.life()))];
        self.number("guard", GUARD.call(&names.all(), arguments)).await.map(|_| ())
    }

    pub(crate) async fn unguard(&self, names: &Names, guard: Guard) -> Result<()> {
        let nonce = format!("{:032x}", guard.nonce());
        self.number("unguard", UNGUARD.call(&names.all(), [Arg::from(nonce.as_str())])).await.map(|_| ())
    }

    /// Removes entries and ends their fences: the invalidation that any other program may send too. One command for each
    /// slot, at once.
    pub(crate) async fn unlink(&self, operation: &str, names: &[Names]) -> Result<()> {
        let mut slots: HashMap<u16, Vec<Arg<'_>>> = HashMap::new();
        for Names { value, fence, .. } in names {
            slots
                .entry(self.slot(value))
                .or_default()
                .extend([Arg::from(value.as_str()), Arg::from(fence.as_str())]);
        }
        let mut keys = HashMap::new();
        names.iter().for_each(|names| _ = keys.insert(self.slot(&names.value), names.value.as_str()));
        let commands: Vec<Command<'_>> = slots
            .iter()
            .flat_map(|(slot, all)| all.chunks(MOST).map(|some| (keys[slot], some)))
            .map(|(key, some)| Command { name: "UNLINK", arguments: some.to_vec(), key })
            .collect();
        let mut answers = self.run(&commands).await;
        let removed = commands.iter().try_for_each(|_| answers.next().map(|_| ()));
        removed.map_err(|failure| failure.into_error(operation))
    }
}
