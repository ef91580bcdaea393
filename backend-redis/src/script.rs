//! The Lua scripts, and the functions that run them.

use std::sync::LazyLock;

use crate::client::{Arg, Command, Failure, FailureKind, Reply, Runner};

/// A Lua script, which the server identifies by its digest.
#[derive(Debug)]
pub(crate) struct Script {
    text: &'static str,
    digest: String,
}

macro_rules! scripts {
    ($($name:ident: $file:literal;)*) => {$(
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));
    )*};
}

scripts! {
    BEGIN: "scripts/begin.lua";
    FILL: "scripts/fill.lua";
    PUT: "scripts/put.lua";
    RENEW: "scripts/renew.lua";
    RELEASE: "scripts/release.lua";
    TIME: "scripts/time.lua";
    INCARNATION: "scripts/incarnation.lua";
    STAMP: "scripts/stamp.lua";
    GUARD: "scripts/guard.lua";
    UNGUARD: "scripts/unguard.lua";
    CLEAR: "scripts/clear.lua";
    TAGS: "scripts/tags.lua";
    LOCK: "scripts/lock.lua";
    UNLOCK: "scripts/unlock.lua";
    RELOCK: "scripts/relock.lua";
    PLAIN: "scripts/plain.lua";
    BEAT: "scripts/beat.lua";
    TELL: "scripts/tell.lua";
}

impl Script {
    fn new(text: &'static str) -> Self {
        let digest = sha1_smol::Sha1::from(text).digest().to_string();
        Self { text, digest }
    }

    /// The command that runs the script. All keys are in the slot of the first.
    pub(crate) fn call<'a>(
        &'static self,
        keys: &[&'a str],
        arguments: impl IntoIterator<Item = Arg<'a>>,
    ) -> Command<'a> {
        let mut all = Vec::with_capacity(keys.len() + 6);
        all.extend([Arg::from(self.digest.as_str()), Arg::Number(keys.len() as i64)]);
        all.extend(keys.iter().map(|&key| Arg::from(key)));
        all.extend(arguments);
        Command { name: "EVALSHA", arguments: all, key: keys.first().copied().unwrap_or_default() }
    }

    /// Returns `true` if the command runs this script.
    pub(crate) fn is_run_by(&self, command: &Command<'_>) -> bool {
        command.name == "EVALSHA"
            && matches!(command.arguments.first(), Some(Arg::Bytes(digest)) if *digest == self.digest.as_bytes())
    }

    /// The same command with the script's text, for a server that does not know it. The server knows it from then
    /// on.
    fn spelled<'a>(command: &Command<'a>) -> Option<Command<'a>> {
        let Some(Arg::Bytes(digest)) = command.arguments.first().filter(|_| command.name == "EVALSHA") else {
            return None;
        };
        let all = [
            &BEGIN,
            &FILL,
            &PUT,
            &RENEW,
            &RELEASE,
            &TIME,
            &INCARNATION,
            &STAMP,
            &GUARD,
            &UNGUARD,
            &CLEAR,
            &TAGS,
            &LOCK,
            &UNLOCK,
            &RELOCK,
            &PLAIN,
            &BEAT,
            &TELL,
        ];
        let script = all.into_iter().find(|script| script.digest.as_bytes() == *digest)?;
        let mut spelled = Command { name: "EVAL", ..command.clone() };
        spelled.arguments[0] = Arg::from(script.text);
        Some(spelled)
    }
}

/// Runs commands together. A script that the server has forgotten is sent once more, with its text: the error
/// confirms that it was not executed.
pub(crate) async fn run(client: &dyn Runner, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
    run_before(client, commands, commands.len()).await
}

/// As [`run`], for commands of which those from `last` on must come after the others. If one of the others is sent
/// once more, they are too.
pub(crate) async fn run_before(
    client: &dyn Runner,
    commands: &[Command<'_>],
    last: usize,
) -> Vec<Result<Reply, Failure>> {
    let mut answers = client.run(commands).await;
    let is_late = answers.iter().take(last).any(is_unknown);
    let again: Vec<usize> = (0..answers.len())
        .filter(|&index| is_unknown(&answers[index]) || (is_late && index >= last))
        .collect();
    if again.is_empty() {
        return answers;
    }
    let spelled: Vec<_> = again.iter().filter_map(|&index| Script::spelled(&commands[index])).collect();
    for (index, answer) in again.into_iter().zip(client.run(&spelled).await) {
        answers[index] = answer;
    }
    answers
}

fn is_unknown(answer: &Result<Reply, Failure>) -> bool {
    answer.as_ref().is_err_and(|failure| failure.kind == FailureKind::NoScript)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_is_spelled_out_with_its_own_arguments() {
        let command = FILL.call(&["a", "b"], [Arg::from("nonce")]);
        let spelled = Script::spelled(&command).expect("a script");
        assert_eq!(
            (spelled.name, spelled.key, spelled.arguments.len()),
            ("EVAL", "a", command.arguments.len())
        );
        assert!(matches!(spelled.arguments[0], Arg::Bytes(text) if text == FILL.text.as_bytes()));
        assert!(Script::spelled(&Command { name: "GET", arguments: vec![], key: "a" }).is_none());
    }

    /// A server that has forgotten one script.
    #[derive(Default)]
    struct Forgetful(std::sync::Mutex<Vec<String>>);

    #[async_trait::async_trait]
    impl Runner for Forgetful {
        async fn run(&self, commands: &[Command<'_>]) -> Vec<Result<Reply, Failure>> {
            let answer = |command: &Command<'_>| {
                if FILL.is_run_by(command) {
                    return Err(Failure::new(FailureKind::NoScript, "NOSCRIPT"));
                }
                let key = command.key.to_owned();
                self.0.lock().expect("no panic").push(key);
                Ok(Reply::Nil)
            };
            commands.iter().map(answer).collect()
        }
    }

    #[tokio::test]
    async fn what_must_come_after_a_script_comes_after_its_second_try() {
        let commands = [FILL.call(&["fill"], []), PUT.call(&["put"], []), TELL.call(&["tell"], [])];
        let (plain, told) = (Forgetful::default(), Forgetful::default());
        assert!(run(&plain, &commands).await.iter().all(Result::is_ok));
        assert_eq!(*plain.0.lock().expect("no panic"), ["put", "tell", "fill"]);
        assert!(run_before(&told, &commands, 2).await.iter().all(Result::is_ok));
        assert_eq!(*told.0.lock().expect("no panic"), ["put", "tell", "fill", "tell"]);
    }

    /// The digests of the format's documentation: a changed digest is another script to every server.
    #[test]
    fn digests_are_sha1_in_hex() {
        assert_eq!(Script::new("return 1").digest, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
