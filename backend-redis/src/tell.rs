//! Sends notifications of changes over pub/sub, for servers that do not.

use std::collections::BTreeMap;

use crate::client::{Arg, Command, Failure, Reply, Runner};
use crate::names::{Space, parsed};
use crate::script::{self, CLEAR, FILL, GUARD, PUT, TAGS, TELL, UNGUARD};

/// The channel of a namespace's changes.
pub(crate) fn channel(namespace: &str) -> String {
    format!("larder:changes:{namespace}")
}

/// The namespace of a channel.
pub(crate) fn namespace(channel: &str) -> Option<&str> {
    channel.strip_prefix("larder:changes:")
}

/// Parses a message: its number, its sender, and the names that changed.
pub(crate) fn read(text: &[u8]) -> Option<(u64, &str, impl Iterator<Item = &str>)> {
    let mut lines = std::str::from_utf8(text).ok()?.split('\n');
    Some((lines.next()?.parse().ok()?, lines.next()?, lines))
}

/// Runs commands, and publishes the names that they changed after them in the same round trip, as `sender`. If the
/// notification fails, the change fails too, so that its caller tries again.
pub(crate) async fn told(
    client: &dyn Runner,
    sender: &str,
    commands: &[Command<'_>],
) -> Vec<Result<Reply, Failure>> {
    let mut changes: BTreeMap<&str, String> = BTreeMap::new();
    for command in commands.iter().filter(|command| is_change(command)) {
        for (namespace, name) in names(command) {
            let names = changes.entry(namespace).or_default();
            if !names.is_empty() {
                names.push('\n');
            }
            names.push_str(name);
        }
    }
    if changes.is_empty() {
        return script::run(client, commands).await;
    }
    let messages: Vec<_> = changes
        .into_iter()
        .map(|(namespace, names)| (Space::new(namespace.to_owned()), channel(namespace), names))
        .collect();
    let telling = messages.iter().map(|(space, channel, names)| {
        TELL.call(&[&space.told], [channel.as_str().into(), sender.into(), Arg::from(names.as_str())])
    });
    let all: Vec<Command<'_>> = commands.iter().cloned().chain(telling).collect();
    let mut answers = script::run_before(client, &all, commands.len()).await;
    let untold = answers.split_off(commands.len()).into_iter().find_map(Result::err);
    if let Some(failure) = untold {
        let changes = commands.iter().zip(&mut answers).filter(|(command, _)| is_change(command));
        changes.for_each(|(_, answer)| *answer = Err(failure.clone()));
    }
    answers
}

/// Returns `true` if the command may change the entries of near tiers.
fn is_change(command: &Command<'_>) -> bool {
    let invalidates = || matches!(command.arguments.get(5), Some(Arg::Bytes(b"invalidate")));
    command.name == "UNLINK"
        || [&FILL, &PUT, &GUARD, &UNGUARD, &CLEAR].iter().any(|script| script.is_run_by(command))
        || (TAGS.is_run_by(command) && invalidates())
}

/// The names among the arguments that concern near tiers, with their namespaces.
fn names<'a>(command: &Command<'a>) -> impl Iterator<Item = (&'a str, &'a str)> {
    let keys = match (command.name, command.arguments.get(1)) {
        ("UNLINK", _) => &command.arguments[..],
        (_, Some(Arg::Number(keys))) => &command.arguments[2..2 + usize::try_from(*keys).unwrap_or(0)],
        _ => &[],
    };
    let texts: Vec<&'a str> = keys
        .iter()
        .filter_map(|key| match key {
            Arg::Bytes(bytes) => std::str::from_utf8(bytes).ok(),
            Arg::Number(_) => None,
        })
        .collect();
    texts.into_iter().filter_map(|name| Some((parsed(name)?.0, name)))
}
