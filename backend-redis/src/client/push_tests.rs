//! Any push of a server, valid or not, is either understood or ends all near entries. It neither panics nor is
//! ignored.

use super::*;
use crate::names::parsed;
use crate::tell;

const ROUNDS: u64 = 20_000;

fn bytes(random: &mut fastrand::Rng) -> Vec<u8> {
    let words: [&[u8]; 6] =
        [b"product:v:{7}", b"product:l:{product}", b":v:{", b"larder:beat:1:2:{3}", b"7\nme\na:v:{1}", b"{"];
    match random.u8(..3) {
        0 => words[random.usize(..words.len())].to_vec(),
        1 => (0..random.usize(..20)).map(|_| random.u8(..)).collect(),
        _ => (0..random.usize(..20)).map(|_| b":{}vl\n0 a"[random.usize(..9)]).collect(),
    }
}

fn value(random: &mut fastrand::Rng, depth: u8) -> Value {
    let list =
        |random: &mut fastrand::Rng| (0..random.usize(..4)).map(|_| value(random, depth + 1)).collect();
    match random.u8(..if depth < 4 { 9 } else { 6 }) {
        0 => Value::Nil,
        1 => Value::Int(random.i64(..)),
        2 | 3 => Value::BulkString(bytes(random)),
        4 => Value::SimpleString(String::from_utf8_lossy(&bytes(random)).into_owned()),
        5 => Value::Double(random.f64()),
        6 | 7 => Value::Array(list(random)),
        _ => Value::Map(vec![(value(random, depth + 1), value(random, depth + 1))]),
    }
}

fn push(random: &mut fastrand::Rng) -> PushInfo {
    let kinds = [
        PushKind::Invalidate,
        PushKind::Invalidate,
        PushKind::Message,
        PushKind::PMessage,
        PushKind::Subscribe,
        PushKind::Disconnection,
        PushKind::Other("news".into()),
    ];
    let data = (0..random.usize(..4)).map(|_| value(random, 0)).collect();
    PushInfo { kind: kinds[random.usize(..kinds.len())].clone(), data }
}

/// The names in an invalidation, if it consists of lists of names only.
fn names(push: &PushInfo) -> Option<Vec<Vec<u8>>> {
    let mut names = vec![];
    for part in &push.data {
        let Value::Array(keys) = part else { return None };
        for key in keys {
            match key {
                Value::BulkString(name) => names.push(name.clone()),
                Value::SimpleString(name) => names.push(name.clone().into_bytes()),
                _ => return None,
            }
        }
    }
    Some(names)
}

#[test]
fn an_invalidation_is_understood_or_ends_everything() {
    let mut random = fastrand::Rng::with_seed(7);
    let (mut changed, mut flushed) = (0u64, 0u64);
    for round in 0..ROUNDS {
        let push = push(&mut random);
        let heard = told(push.clone());
        if push.kind != PushKind::Invalidate {
            continue;
        }
        match (heard, names(&push)) {
            (Some(Heard::Changed(told)), Some(names)) => {
                assert_eq!(told, names, "round {round}: {push:?}");
                changed += 1;
            }
            (Some(Heard::Flushed), None) => flushed += 1,
            (heard, _) => panic!("round {round}: {push:?} was heard as {heard:?}"),
        }
    }
    assert!(changed > ROUNDS / 100 && flushed > ROUNDS / 100, "{changed} and {flushed}");
}

#[test]
fn no_message_and_no_name_panics() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..ROUNDS {
        let bytes = bytes(&mut random);
        if let Some((number, sender, names)) = tell::read(&bytes) {
            let told: Vec<&str> = names.collect();
            // the parsed message equals the written one, except for the spelling of the number
            let again = format!("{number}\n{sender}\n{}", told.join("\n"));
            let (read, who, what) = tell::read(again.as_bytes()).unwrap();
            assert_eq!((read, who, what.collect::<Vec<_>>().join("\n")), (number, sender, told.join("\n")));
        }
        let text = String::from_utf8_lossy(&bytes);
        if let Some((namespace, _)) = parsed(&text) {
            assert!(text.starts_with(namespace) && !namespace.contains('{'), "{text}");
        }
    }
}
