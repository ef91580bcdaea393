//! Every example runs and holds what it asserts; the quickstart tells what it should.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::{Command, Output};

/// The folder of the built examples: cargo builds them before it runs this.
fn example(name: &str) -> Command {
    let mut path: PathBuf = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    Command::new(path.join("examples").join(name))
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
fn every_numbered_example_runs() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .filter_map(|file| file.unwrap().file_name().to_string_lossy().strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 9, "{names:?}");
    for name in names {
        let output = example(&name).output().unwrap();
        assert!(output.status.success(), "{name}: {}", text(&output));
    }
}

#[test]
fn the_quickstart_is_fresh_on_every_backend() {
    for backend in ["quick", "moka", "memory"] {
        let output =
            example("quickstart").args(["--seconds", "2", "--keys", "2000", "--backend", backend]).output();
        let output = output.unwrap();
        let text = text(&output);
        assert!(output.status.success(), "{backend}: {text}");
        for told in
            ["reads/s with larder", "hit rate", "miss latency", "loads saved", "evictions", "invalidations"]
        {
            assert!(text.contains(told), "{backend} does not tell {told}: {text}");
        }
        assert!(text.contains("every read was fresh"), "{backend}: {text}");
    }
}

#[test]
fn two_processes_share_a_quickstart_through_redis() {
    let Some(server) = larder_testkit::servers::RedisServer::start(&[]) else { return };
    let arguments = ["--seconds", "4", "--keys", "2000", "--redis", &server.url()];
    let output = example("quickstart").args(arguments).output().unwrap();
    let text = text(&output);
    assert!(output.status.success(), "{text}");
    let (own, second) = text.split_once("the second process").expect(&text);
    assert!(
        own.contains("every read was fresh") && second.contains("stale reads              0 of"),
        "{text}"
    );
    assert!(server.command(&["DBSIZE"]).parse::<u64>().unwrap() > 100, "the entries are in Redis");
}

#[test]
fn the_quickstart_explains_itself_and_refuses_wrong_arguments() {
    let help = example("quickstart").arg("--help").output().unwrap();
    assert!(help.status.success());
    for option in ["--backend", "--keys", "--seconds", "memory", "moka", "quick"] {
        assert!(text(&help).contains(option), "{}", text(&help));
    }
    for wrong in [&["--backend", "redos"][..], &["--keys", "0"], &["--seconds", "x"], &["--nonsense"]] {
        let output = example("quickstart").args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output));
        assert!(text(&output).contains("error:"), "{wrong:?}: {}", text(&output));
    }
}
