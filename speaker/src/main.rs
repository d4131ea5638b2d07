//! The `speaker` command.

fn main() -> std::process::ExitCode {
    speaker::cli::main()
}
