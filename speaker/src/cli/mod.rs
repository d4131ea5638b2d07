//! The command line: arguments in, tables and exit codes out.

mod args;
mod bfd;
mod client;
mod daemon;
mod read;
pub(crate) mod rib;
mod sessions;
mod show;
mod table;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use args::{Cli, Command};

/// How a command ended (design §6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 1: an error, which was printed.
    Error,
    /// 3: there is no such thing.
    NotFound,
    /// 4: it is there, and a gate holds it back.
    HeldBack,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::NotFound => 3,
            Exit::HeldBack => 4,
        })
    }
}

/// Reads the arguments, does what they say, and gives the exit code. Wrong usage is 2, by clap.
#[must_use]
pub fn main() -> ExitCode {
    crate::io::allocator::share_one_heap();
    let command = Cli::parse().into_command().unwrap_or_else(|error| error.exit());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format_args!("speaker: cannot start the runtime: {error}"));
            return Exit::Error.into();
        }
    };
    match runtime.block_on(dispatch(command)) {
        Ok(exit) => exit.into(),
        Err(error) => {
            complain(&format_args!("speaker: {error:#}"));
            Exit::Error.into()
        }
    }
}

async fn dispatch(command: Command) -> anyhow::Result<Exit> {
    match command {
        Command::Demo => {
            daemon::log("error");
            crate::demo::run().await.map(|()| Exit::Done)
        }
        Command::Run(run) => daemon::run(run).await,
        Command::Operator(operator) => daemon::operator(operator).await,
        Command::Check(check) => daemon::check(&check).await,
        Command::Crds => crds(),
        Command::Completions { shell } => completions(shell),
        Command::Watch(daemon) => watch::watch(daemon).await,
        Command::Rib(rib) => read::rib(rib).await,
        Command::Peers(peers) => read::peers(peers).await,
        Command::Pools(reader) => read::pools(reader).await,
        Command::Services(reader) => read::services(reader).await,
        Command::Explain(explain) => read::explain(explain).await,
        Command::Version(reader) => read::version(reader).await,
        Command::Clear(clear) => read::clear(clear).await,
        Command::Shutdown(shutdown) => read::shutdown(shutdown).await,
        Command::Drain(drain) => read::drain(drain).await,
        Command::Undrain(daemon) => read::undrain(daemon).await,
        Command::NoShutdown(peer) => read::no_shutdown(peer).await,
    }
}

/// `crds`: what a cluster without Cilium needs.
fn crds() -> anyhow::Result<Exit> {
    for crd in speaker_config::crd::crds() {
        out(&format!("---\n{}", speaker_config::crd::to_yaml(&crd).map_err(anyhow::Error::msg)?))?;
    }
    Ok(Exit::Done)
}

/// `completions`: a script for a shell.
fn completions(shell: clap_complete::Shell) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "speaker", &mut script);
    out_octets(&script)?;
    Ok(Exit::Done)
}

/// Writes a line to standard error. Where nobody reads it, the exit code says what there is to say.
pub(crate) fn complain(text: &dyn std::fmt::Display) {
    use std::io::Write as _;
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Writes to standard output. A reader such as `head` may have gone: that is no error of ours.
pub(crate) fn out(text: &str) -> std::io::Result<()> {
    out_octets(text.as_bytes())
}

/// The same for what is no text.
pub(crate) fn out_octets(octets: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(octets).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}
