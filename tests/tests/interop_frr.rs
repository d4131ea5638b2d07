//! The interop suite against Frr.
#![allow(missing_docs, reason = "tests")]

tests::interop_suite!(Frr);
