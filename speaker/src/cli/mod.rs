//! The command line.

mod args;
mod client;
mod table;
pub(crate) fn main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }
