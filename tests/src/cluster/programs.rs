//! Where the programs of the control plane are.

use std::path::PathBuf;
use std::process::Command;

use crate::speaker::target;

/// A command that starts `program`: from `$KUBEBUILDER_ASSETS` where that has it, else from what
/// `tests/kubernetes/build` made.
///
/// # Panics
/// If it is in neither place.
#[must_use]
pub(super) fn command(program: &str) -> Command {
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(|dir| PathBuf::from(dir).join(program));
    if let Some(own) = assets.filter(|file| file.exists()) {
        return Command::new(own);
    }
    let built = target().join("kubernetes");
    let (file, subcommand) = match program {
        "etcd" => ("etcd", None),
        _ => ("kubernetes", Some(program)),
    };
    let file = built.join(file);
    assert!(file.exists(), "no {program} at {}: run tests/kubernetes/build first", file.display());
    let mut command = Command::new(file);
    command.args(subcommand);
    command
}
