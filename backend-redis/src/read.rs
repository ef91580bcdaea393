//! Reads values together, and at most as many as one answer holds.

use std::collections::BTreeMap;

use bytes::Bytes;
use larder::clock::Timestamp;

use crate::client::{Arg, Command, Failure, Reply};
use crate::clocks::Reading;
use crate::names::Space;
use crate::script::{INCARNATION, TIME};
use crate::server::{Head, Server, head, incarnated};

/// The bytes under a key, and the data for the freshness check. These are the ledger that was current after the
/// request for the bytes, and the clock of their server.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) bytes: Bytes,
    pub(crate) ledger: Head,
    pub(crate) reading: Reading,
}

/// The outcome of the read of one key.
pub(crate) type Found = Result<Option<Raw>, Failure>;

/// The keys of one slot, by their positions; on a single node all are in one group.
struct Group {
    slot: u16,
    places: Vec<usize>,
    /// The clock of the slot's server, unless it must be requested in the same round trip.
    reading: Option<Reading>,
}

/// Reads values and the ledger in one round trip (in a cluster, one to each node, at once). The answers are in the
/// order of the names, of which there must be at least one.
pub(crate) async fn read(
    server: &Server,
    space: &Space,
    strict: bool,
    names: &[&str],
    now: Timestamp,
) -> Vec<Found> {
    let groups = grouped(server, names, now);
    let is_cluster = server.client.is_cluster();
    let mut commands = Vec::with_capacity(groups.len() * 3 + 2);
    for group in &groups {
        let mut keys: Vec<Arg<'_>> = Vec::with_capacity(group.places.len() + 1);
        keys.extend(group.places.iter().map(|&place| Arg::from(names[place])));
        if !is_cluster {
            keys.push(Arg::from(space.head.as_str()));
        }
        let key = names[group.places[0]];
        commands.push(Command { name: "MGET", arguments: keys, key });
        if group.reading.is_none() {
            commands.push(TIME.call(&[key], []));
        }
        if strict {
            commands.push(INCARNATION.call(&[key], []));
        }
    }
    if is_cluster {
        let arguments = vec![Arg::from(space.head.as_str())];
        commands.push(Command { name: "GET", arguments, key: &space.head });
        if strict {
            commands.push(INCARNATION.call(&[&space.head], []));
        }
    }
    let mut answers = server.run(&commands).await;
    let mut parts = Vec::with_capacity(groups.len());
    for group in &groups {
        let values = answers.next().and_then(Reply::list);
        let reading = match group.reading {
            Some(reading) => Ok(reading),
            None => answers.reading(now).inspect(|reading| server.clocks.note(group.slot, *reading)),
        };
        let lives = answers.incarnations(usize::from(strict));
        parts.push((values, reading, lives));
    }
    let far_head = is_cluster.then(|| answers.head());
    let head_lives = answers.incarnations(usize::from(strict && is_cluster));

    let mut found: Vec<Found> = names.iter().map(|_| Ok(None)).collect();
    for (group, (values, reading, lives)) in groups.into_iter().zip(parts) {
        let judge = Judge { head: far_head.clone(), lives: [head_lives.clone(), lives] };
        match values.and_then(|values| judge.judge(values, reading?)) {
            Ok(raws) => group.places.into_iter().zip(raws).for_each(|(place, raw)| found[place] = Ok(raw)),
            Err(failure) => group.places.into_iter().for_each(|place| found[place] = Err(failure.clone())),
        }
    }
    found
}

fn grouped(server: &Server, names: &[&str], now: Timestamp) -> Vec<Group> {
    let mut groups: BTreeMap<u16, Vec<usize>> = BTreeMap::new();
    if server.client.is_cluster() {
        names
            .iter()
            .enumerate()
            .for_each(|(place, name)| groups.entry(server.slot(name)).or_default().push(place));
    } else {
        groups.insert(0, (0..names.len()).collect());
    }
    let group = |(slot, places)| Group { slot, places, reading: server.clocks.fresh(slot, now) };
    groups.into_iter().map(group).collect()
}

/// The data that determine to which ledger the entries of one slot must belong.
struct Judge {
    /// In a cluster the head comes from the ledger's own node. On a single node it is the last of the values.
    head: Option<Result<Option<Head>, Failure>>,
    /// The incarnations of the head's server, and of the values' servers; only in strict mode.
    lives: [Result<Vec<Bytes>, Failure>; 2],
}

impl Judge {
    fn judge(self, mut values: Vec<Reply>, reading: Reading) -> Result<Vec<Option<Raw>>, Failure> {
        let current = match self.head {
            Some(head) => head?,
            None => values.pop().map_or(Ok(None), Reply::bytes)?.and_then(|bytes| head(&bytes)),
        };
        // without a ledger, each value was stored under a ledger that was lost
        let Some(current) = current else { return Ok(vec![None; values.len()]) };
        let mut ledger = current.ledger();
        for lives in self.lives {
            ledger = lives?.iter().fold(ledger, |ledger, life| incarnated(ledger, life));
        }
        let ledger = Head::new(ledger, current.count());
        let mut raws = Vec::with_capacity(values.len());
        for value in values {
            raws.push(value.bytes()?.map(|bytes| Raw { bytes, ledger, reading }));
        }
        Ok(raws)
    }
}
