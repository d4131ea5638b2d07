//! `run`, `operator` and `check`.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use anyhow::{Context as _, bail};
use speaker_config::diagnostic::Severity;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::args::{Check, Operator, Run};
use super::{Exit, complain, out};
use crate::app::{App, AppSpec};
use crate::check::Found;
use crate::io::kept::Shelf;
use crate::io::systemd;
use crate::load::{self, LoadError};
use crate::monitor::Agent;
use crate::panics::Panics;

/// Log lines go to standard error; `RUST_LOG` says which.
pub(crate) fn log(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal)
        .with_target(false)
        // A line that nobody reads any more is lost. The default is to complain of it on standard error, which fails
        // in its turn and takes down the task that had something to say.
        .log_internal_errors(false)
        .init();
}

/// Runs the daemon until SIGTERM or SIGINT.
pub(crate) async fn run(run: Run) -> anyhow::Result<Exit> {
    log("info");
    let Run { config, record, metrics, cleanup } = run;
    if cleanup {
        return clean_up(&config).await;
    }
    let loaded = match load::load(&config) {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            return Ok(Exit::Error);
        }
    };
    for warning in &loaded.warnings {
        tracing::warn!("{}", warning.without_severity());
    }
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let mut hang_up = signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?;
    let mut panics = Panics::watch();
    let mut app = App::start(AppSpec { loaded, file: Some(config), record, metrics, kernel: true }).await?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), "running");
    systemd::ready();
    let watchdog = systemd::keep_alive(Agent::new(app.hub()));
    loop {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
            _ = hang_up.recv() => {
                // With a terminal the user has gone; without one somebody asks for a reload.
                if !std::io::stderr().is_terminal() {
                    tracing::info!("SIGHUP: nothing to do, since changed files are picked up by themselves");
                    continue;
                }
                tracing::info!("SIGHUP: stopping");
            }
            // Whoever started us starts us again, and the peers notice. Half a daemon nobody would notice.
            () = app.broken() => bail!("the hub has ended by itself, which it never should; see the lines before this one"),
            text = panics.next() => bail!("{text}; a part of the speaker is gone, and the whole ends"),
        }
        break;
    }
    systemd::stopping();
    app.stop().await;
    if let Some(task) = watchdog {
        task.abort();
    }
    Ok(Exit::Done)
}

/// `run --cleanup`: what is ours is known by its mark, so that the configuration need not be there.
async fn clean_up(config: &std::path::Path) -> anyhow::Result<Exit> {
    // The file may have gone with everything else.
    if let Ok(loaded) = load::load(config) {
        let shelf = Shelf::new(&loaded.config.ipam.state_dir, "");
        shelf.forget().with_context(|| format!("cannot remove {}", shelf.path().display()))?;
    }
    match crate::io::kernel::cleanup().await {
        Ok(done) => {
            for operation in &done {
                out(&format!("ip {operation}\n"))?;
            }
            out(&format!("{} route(s) and rule(s) removed\n", done.len()))?;
            Ok(Exit::Done)
        }
        Err(error) => {
            complain(&error);
            Ok(Exit::Error)
        }
    }
}

/// Runs a replica of the operator until SIGTERM or SIGINT.
pub(crate) async fn operator(operator: Operator) -> anyhow::Result<Exit> {
    log("info");
    let Operator { config, metrics } = operator;
    let loaded = match config {
        Some(file) => load::load(&file),
        None => load::parse(String::new(), "the defaults", std::path::Path::new(".")),
    };
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            return Ok(Exit::Error);
        }
    };
    let mut terminate = signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?;
    let stopped = async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
    };
    let mut panics = Panics::watch();
    tokio::select! {
        ended = crate::operator::run(&loaded.config, metrics, stopped) => ended.map(|()| Exit::Done),
        text = panics.next() => bail!("{text}; a part of the operator is gone, and the whole ends"),
    }
}

/// Prints every error and warning of a configuration and of what it names.
pub(crate) async fn check(check: &Check) -> anyhow::Result<Exit> {
    let Check { config: file, node } = check;
    let (mut errors, mut warnings) = (0_usize, 0_usize);
    let mut report = String::new();
    let mut say = |severity: Severity, text: &dyn std::fmt::Display| {
        match severity {
            Severity::Error => errors += 1,
            Severity::Warning => warnings += 1,
        }
        // Writing to a String cannot fail.
        let _ = writeln!(report, "{text}");
    };
    match load::load(file) {
        Err(LoadError::Invalid(diagnostics)) => {
            for diagnostic in &diagnostics {
                say(diagnostic.severity, diagnostic);
            }
        }
        Err(error @ LoadError::Read { .. }) => say(Severity::Error, &error),
        Ok(loaded) => {
            for warning in &loaded.warnings {
                say(warning.severity, warning);
            }
            let Found { placed, mut findings } = crate::check::manifests(&loaded, file);
            for diagnostic in &placed {
                say(diagnostic.severity, diagnostic);
            }
            if *node {
                findings.extend(crate::check::node(&loaded.config));
                findings.extend(crate::check::kubernetes(&loaded.config).await);
                findings.extend(crate::check::kernel(&loaded.config).await);
            }
            for (severity, text) in findings {
                match severity {
                    Severity::Error => say(severity, &text),
                    Severity::Warning => say(severity, &format_args!("warning: {text}")),
                }
            }
        }
    }
    let _ = writeln!(report, "{}: {errors} error(s), {warnings} warning(s)", file.display());
    out(&report)?;
    Ok(if errors > 0 { Exit::Error } else { Exit::Done })
}
