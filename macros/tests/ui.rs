//! The messages of wrong programs, and the first examples of the documentation.
//!
//! If words change here or in the compiler, run `TRYBUILD=overwrite cargo test -p larder-macros --test ui` and read the
//! difference.

use std::path::Path;

#[test]
fn errors_point_at_the_word_that_is_wrong() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}

/// The first examples of the documentation, without the lines that it hides: what a reader copies.
#[test]
fn the_first_examples_compile_when_copied() {
    let documentation = include_str!("../../core/src/lib.rs");
    let lines = documentation.lines().map_while(|line| line.strip_prefix("//!"));
    let text: Vec<&str> = lines.map(|line| line.strip_prefix(' ').unwrap_or(line)).collect();
    let text = text.join("\n");
    // between the fences
    let shown: Vec<&str> = text.split("```\n").skip(1).step_by(2).collect();
    assert!(shown.len() >= 2, "{} examples", shown.len());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("copied");
    std::fs::create_dir_all(&folder).expect("the folder of temporary files can be written");
    let cases = trybuild::TestCases::new();
    for (number, example) in shown.into_iter().enumerate() {
        let copied: Vec<&str> = example.lines().filter(|line| !line.trim_start().starts_with("# ")).collect();
        assert!(
            number > 0 || copied.iter().filter(|line| !line.is_empty()).count() <= 12,
            "the first is short"
        );
        let file = folder.join(format!("example_{number}.rs"));
        std::fs::write(&file, copied.join("\n")).expect("the folder of temporary files can be written");
        cases.pass(file);
    }
}
