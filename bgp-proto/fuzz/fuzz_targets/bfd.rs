//! libFuzzer target `bfd`.
#![no_main]

#[path = "../bfd.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::bfd(data));
