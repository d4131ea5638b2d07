//! Replays the corpus of fuzz target `bfd`, and plays random inputs to the same body.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

#[path = "../fuzz/bfd.rs"]
mod body;

use proptest::prelude::*;

#[test]
fn the_corpus_is_played_without_a_broken_promise() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/bfd");
    let mut played = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        body::bfd(&std::fs::read(entry.unwrap().path()).unwrap());
        played += 1;
    }
    assert!(played >= 10, "the corpus is there: {played}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_sequence_of_inputs_breaks_a_promise(data in prop::collection::vec(any::<u8>(), 0..1500)) {
        body::bfd(&data);
    }
}
