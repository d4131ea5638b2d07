//! Replays the corpora of the fuzz targets `decode` and `roundtrip` through the targets' own functions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    missing_docs,
    reason = "tests"
)]

#[expect(unreachable_pub, reason = "the fuzz targets use it too")]
#[path = "../fuzz/bodies.rs"]
mod bodies;

use std::path::Path;

fn replay(target: &str, body: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut count = 0;
    for file in std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let octets = std::fs::read(file.unwrap().path()).unwrap();
        assert!(octets.len() <= 8192, "the corpus stays small");
        body(&octets);
        count += 1;
    }
    assert!(count >= 50, "{count} inputs in {}", folder.display());
}

#[test]
fn the_decode_corpus_is_read() {
    replay("decode", bodies::decode);
}

#[test]
fn the_roundtrip_corpus_is_written_again() {
    replay("roundtrip", bodies::roundtrip);
}
