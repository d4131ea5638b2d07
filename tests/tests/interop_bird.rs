//! The interop suite against Bird.
#![allow(missing_docs, reason = "tests")]

tests::interop_suite!(Bird);
