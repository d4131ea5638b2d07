//! The interop suite against OpenBgpd.
#![allow(missing_docs, reason = "tests")]

tests::interop_suite!(OpenBgpd);
