//! The interop suite against GoBgp.
#![allow(missing_docs, reason = "tests")]

tests::interop_suite!(GoBgp);
