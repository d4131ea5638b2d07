//! libFuzzer target `session`.
#![no_main]

#[path = "../session.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::session(data));
