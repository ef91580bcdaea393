//! The primaries of a server or cluster, each of which a session must listen to.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::client::{Command, Failure, FailureKind};
use crate::names::slot;
use crate::server::Server;

/// The primaries at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topology {
    /// A text for each primary, which as the part of a key in braces puts the key in one of its slots.
    pub(crate) nodes: Vec<String>,
    /// A hash of all primaries and their slots.
    signature: u64,
    /// `true` if all slots have a primary, and each primary can be listened to. A primary without slots cannot, and
    /// may be about to get some.
    pub(crate) is_whole: bool,
}

impl Topology {
    /// The topology of a single server.
    pub(crate) fn node() -> Self {
        Self { nodes: vec!["0".to_owned()], signature: 0, is_whole: true }
    }

    pub(crate) async fn of(server: &Server) -> Result<Self, Failure> {
        if !server.client.is_cluster() {
            return Ok(Self::node());
        }
        let command = Command { name: "CLUSTER", arguments: vec!["NODES".into()], key: "" };
        let answer = server.run(&[command]).await.next()?.bytes()?.unwrap_or_default();
        let text = String::from_utf8_lossy(&answer);
        Self::parse(&text).ok_or_else(|| Failure::new(FailureKind::Server, "CLUSTER NODES names no primary"))
    }

    /// Parses the answer to `CLUSTER NODES`: `id address flags primary ping pong epoch link slot slot-slot ...`,
    /// one for each line.
    fn parse(text: &str) -> Option<Self> {
        let mut primaries: Vec<(&str, Vec<(u16, u16)>)> = Vec::new();
        for line in text.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let &[id, _, flags, ..] = words.as_slice() else { continue };
            let has = |flag: &str| flags.split(',').any(|one| one == flag);
            if has("master") && !has("fail") && !has("noaddr") && !has("handshake") {
                primaries.push((id, words.iter().skip(8).filter_map(|word| range(word)).collect()));
            }
        }
        primaries.sort_unstable();
        let mut hasher = DefaultHasher::new();
        primaries.hash(&mut hasher);
        let owned =
            |slots: &[(u16, u16)]| slots.iter().map(|(first, last)| usize::from(last - first) + 1).sum();
        let covered: usize = primaries.iter().map(|(_, slots)| -> usize { owned(slots) }).sum();
        let is_whole = covered == 16_384 && primaries.iter().all(|(_, slots)| !slots.is_empty());
        let with_slots = primaries.iter().filter(|(_, slots)| !slots.is_empty());
        let nodes = with_slots.map(|(_, slots)| text_in(slots)).collect::<Option<Vec<_>>>()?;
        (!nodes.is_empty()).then_some(Self { nodes, signature: hasher.finish(), is_whole })
    }
}

/// Parses a slot or a range of slots. Migrating slots are in brackets, and still belong to this primary.
fn range(word: &str) -> Option<(u16, u16)> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some((first, last))
}

fn text_in(slots: &[(u16, u16)]) -> Option<String> {
    let is_there = |text: &String| slots.iter().any(|&(first, last)| (first..=last).contains(&slot(text)));
    // each slot is hit by one number in 16,384 on average, so that a slot is found long before the end
    (0..1_000_000u32).map(|number| number.to_string()).find(is_there)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREE: &str = "\
a1 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460
b2 127.0.0.1:7001@17001,host master - 0 0 2 connected 5461-10922 [10923-<-c3]
c3 127.0.0.1:7002@17002 master - 0 0 3 connected 10923-16382 16383
d4 127.0.0.1:7003@17003 slave a1 0 0 1 connected
e5 127.0.0.1:7004@17004 master,fail - 0 0 4 disconnected
";

    #[test]
    fn each_primary_has_a_text_in_its_slots() {
        let topology = Topology::parse(THREE).unwrap();
        assert!(topology.is_whole);
        let slots: Vec<u16> = topology.nodes.iter().map(|text| slot(text)).collect();
        assert!(matches!(slots[..], [0..=5460, 5461..=10922, 10923..=16383]), "{slots:?}");
        assert_eq!(Topology::parse(THREE), Some(topology));
    }

    #[test]
    fn a_slot_that_moved_and_a_primary_that_came_are_seen() {
        let topology = Topology::parse(THREE).unwrap();
        let moved = THREE.replace("16382 16383", "16382").replace("0-5460", "0-5460 16383");
        assert_ne!(Topology::parse(&moved), Some(topology));
        let joined = format!("{THREE}f6 127.0.0.1:7005@17005 master - 0 0 5 connected\n");
        assert!(!Topology::parse(&joined).unwrap().is_whole);
        let uncovered = THREE.replace("myself,master", "myself,master,fail");
        assert!(!Topology::parse(&uncovered).unwrap().is_whole);
        assert_eq!(Topology::parse("no answer"), None);
    }

    #[test]
    fn every_slot_has_a_text() {
        for slot in [0, 1, 8_191, 16_383] {
            assert!(text_in(&[(slot, slot)]).is_some());
        }
    }
}
