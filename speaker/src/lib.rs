//! The shells around `speaker-core`: everything that touches a socket, a file, the kernel or a clock.

pub mod io;
