//! Several processes of this program that do the same at the same time.

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

struct Member {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// Processes that take lines for orders and answer each with a line.
pub struct Crew(Vec<Member>);

impl Crew {
    /// Starts `count` of them, each with these arguments and its number, and waits until all are ready.
    pub fn start(count: usize, arguments: &[&str]) -> Self {
        let start = |number: usize| {
            let program = std::env::current_exe().expect("this program");
            let mut command = Command::new(program);
            command.arg("process").args(arguments).arg(number.to_string());
            let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
            let orders = child.stdin.take().expect("it was asked for");
            let answers = BufReader::new(child.stdout.take().expect("it was asked for")).lines();
            Member { child, orders, answers }
        };
        let mut crew = Self((0..count).map(start).collect());
        let ready = crew.answers();
        assert!(ready.iter().all(|line| line == "ready"), "a process is not ready: {ready:?}");
        crew
    }

    /// Has all do something at once.
    pub fn order(&mut self, order: &str) -> Vec<String> {
        for member in &mut self.0 {
            writeln!(member.orders, "{order}").expect("it listens");
        }
        self.answers()
    }

    fn answers(&mut self) -> Vec<String> {
        let answer = |member: &mut Member| member.answers.next().expect("it lives").expect("it writes text");
        self.0.iter_mut().map(answer).collect()
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for Member { mut child, orders, answers } in self.0.drain(..) {
            // it ends when there are no more orders
            drop((orders, answers));
            _ = child.wait();
        }
    }
}

/// The orders of one that was started.
pub fn orders() -> impl Iterator<Item = String> {
    println!("ready");
    std::io::stdin().lines().map_while(Result::ok)
}
