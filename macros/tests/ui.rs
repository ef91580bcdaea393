//! What is told when something is wrong. After a change of words, or of the compiler's: `TRYBUILD=overwrite cargo test -p
//! larder-macros --test ui`, and read the difference.

#[test]
fn errors_point_at_the_word_that_is_wrong() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
