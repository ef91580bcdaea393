//! Reading values: together, and only as much as one answer holds.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use larder::Timestamp;

use crate::client::{Arg, Command, Failure, Reply};
use crate::clocks::Reading;
use crate::names::Space;
use crate::script::{INCARNATION, TIME};
use crate::server::{Head, Server, head, incarnated};

/// The bytes under a key, and what they are judged by: the ledger that was current after they were asked for, and the
/// clock of the server that has them.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    pub(crate) bytes: Bytes,
    pub(crate) ledger: Head,
    pub(crate) reading: Reading,
}

/// What was found under a key.
pub(crate) type Found = Result<Option<Raw>, Failure>;

/// The keys of one slot; on a node all are in one.
struct Group<'a> {
    slot: u16,
    names: Vec<&'a str>,
}

/// Reads values and the ledger in one round trip (in a cluster, one to each node, at once). Names must be distinct.
pub(crate) async fn read<'a>(
    server: &Server,
    space: &Space,
    strict: bool,
    names: &[&'a str],
    now: Timestamp,
) -> HashMap<&'a str, Found> {
    let groups = grouped(server, names);
    let is_cluster = server.client.is_cluster();
    let mut commands = Vec::with_capacity(groups.len() * 3 + 2);
    for group in &groups {
        let mut keys: Vec<Arg<'_>> = group.names.iter().map(|&name| Arg::from(name)).collect();
        if !is_cluster {
            keys.push(Arg::from(space.head.as_str()));
        }
        commands.push(Command { name: "MGET", arguments: keys, key: group.names[0] });
        if server.clocks.fresh(group.slot, now).is_none() {
            commands.push(TIME.call(&[group.names[0]], []));
        }
        if strict {
            commands.push(INCARNATION.call(&[group.names[0]], []));
        }
    }
    if is_cluster {
        commands.push(Command {
            name: "GET",
            arguments: vec![Arg::from(space.head.as_str())],
            key: &space.head,
        });
        if strict {
            commands.push(INCARNATION.call(&[&space.head], []));
        }
    }
    let mut answers = server.run(&commands).await;
    let mut parts = Vec::with_capacity(groups.len());
    for group in &groups {
        let values = answers.next().and_then(Reply::list);
        let reading = match server.clocks.fresh(group.slot, now) {
            Some(reading) => Ok(reading),
            None => answers.reading(now).inspect(|reading| server.clocks.note(group.slot, *reading)),
        };
        let lives = answers.incarnations(usize::from(strict));
        parts.push((values, reading, lives));
    }
    let far_head = is_cluster.then(|| answers.head());
    let head_lives = answers.incarnations(usize::from(strict && is_cluster));

    let mut found = HashMap::with_capacity(names.len());
    for (group, (values, reading, lives)) in groups.into_iter().zip(parts) {
        let judged = Judge { head: far_head.clone(), lives: [head_lives.clone(), lives] };
        let part = values.and_then(|values| judged.judge(values, reading?));
        match part {
            Ok(raws) => found.extend(group.names.into_iter().zip(raws.into_iter().map(Ok))),
            Err(failure) => found.extend(group.names.into_iter().map(|name| (name, Err(failure.clone())))),
        }
    }
    found
}

fn grouped<'a>(server: &Server, names: &[&'a str]) -> Vec<Group<'a>> {
    if !server.client.is_cluster() {
        return vec![Group { slot: 0, names: names.to_vec() }];
    }
    let mut groups: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for &name in names {
        groups.entry(server.slot(name)).or_default().push(name);
    }
    groups.into_iter().map(|(slot, names)| Group { slot, names }).collect()
}

/// What decides which ledger the entries of one slot must belong to.
struct Judge {
    /// In a cluster the head comes from its own node; on a node it is the last of the values.
    head: Option<Result<Option<Head>, Failure>>,
    /// The lives of the head's server, and of the values'; only in strict mode.
    lives: [Result<Vec<Bytes>, Failure>; 2],
}

impl Judge {
    fn judge(self, mut values: Vec<Reply>, reading: Reading) -> Result<Vec<Option<Raw>>, Failure> {
        let current = match self.head {
            Some(head) => head?,
            None => values.pop().map_or(Ok(None), Reply::bytes)?.and_then(|bytes| head(&bytes)),
        };
        // no ledger: whatever is there was stored under one that was lost
        let Some(current) = current else { return Ok(vec![None; values.len()]) };
        let mut ledger = current.ledger();
        for lives in self.lives {
            ledger = lives?.iter().fold(ledger, |ledger, life| incarnated(ledger, life));
        }
        let ledger = Head::new(ledger, current.count());
        let raw = |bytes| Raw { bytes, ledger, reading };
        values.into_iter().map(|value| Ok(value.bytes()?.map(raw))).collect()
    }
}
