//! The shells around `speaker-core`: everything that touches a socket, a file, the kernel or a clock, and
//! the command line.

pub mod cli;
pub mod io;
pub mod question;
