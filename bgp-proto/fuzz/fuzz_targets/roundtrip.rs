//! One message, read, written and read again.
#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "the other target uses the rest")]
mod bodies;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| bodies::roundtrip(octets));
