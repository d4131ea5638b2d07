//! The interop suite against ExaBgp.
#![allow(missing_docs, reason = "tests")]

tests::interop_suite!(ExaBgp);
