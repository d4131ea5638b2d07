//! kubectl, as a user types it.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;

use super::{Cluster, programs};

impl Cluster {
    /// Runs `kubectl` as the administrator with `stdin`, and returns what it prints.
    ///
    /// # Errors
    /// Both its outputs, when it exits with anything but 0.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn try_kubectl(&self, args: &[&str], stdin: &str) -> Result<String, String> {
        let mut command = programs::command("kubectl");
        command.args(args).env("KUBECONFIG", self.admin()).env("HOME", &self.dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = self.node.inside(|| {
            let mut child = command.spawn().expect("kubectl");
            let mut pipe = child.stdin.take().expect("standard input");
            // It reads all of its input before it writes; one that reads none has closed it.
            let _not_read = pipe.write_all(stdin.as_bytes());
            drop(pipe);
            child.wait_with_output().expect("kubectl")
        });
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        Err(format!("kubectl {}: {text}{}", args.join(" "), String::from_utf8_lossy(&output.stderr)))
    }

    /// A program `kubectl` that acts as the administrator, to be run on [`Self::node`].
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn kubectl_program(&self) -> PathBuf {
        let kubectl = programs::command("kubectl");
        let words: Vec<String> = std::iter::once(kubectl.get_program())
            .chain(kubectl.get_args())
            .map(|word| format!("'{}'", word.to_string_lossy()))
            .collect();
        let (words, admin) = (words.join(" "), self.admin());
        let script = format!(
            "#!/bin/sh\nexport KUBECONFIG='{}' HOME='{}'\nexec {words} \"$@\"\n",
            admin.display(),
            self.dir.display()
        );
        let file = self.dir.join("kubectl");
        fs::write(&file, script).expect("kubectl");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("kubectl");
        file
    }

    /// As [`Self::try_kubectl`], without input.
    ///
    /// # Panics
    /// When it exits with anything but 0.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args, "").unwrap_or_else(|e| panic!("{e}"))
    }

    /// `kubectl apply -f -` of manifests.
    ///
    /// # Panics
    /// When the API server refuses one.
    #[track_caller]
    pub fn apply(&self, manifests: &str) {
        self.try_kubectl(&["apply", "-f", "-"], manifests).unwrap_or_else(|e| panic!("{e}\n{manifests}"));
    }

    /// `kubectl apply -f FILE` of a file or folder of the repository, by its path from the root.
    ///
    /// # Panics
    /// When the API server refuses something in it.
    #[track_caller]
    pub fn apply_file(&self, path: &str) {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
        self.kubectl(&["apply", "--recursive", "-f", &file.to_string_lossy()]);
    }

    /// A command's `-o json`.
    ///
    /// # Panics
    /// When it exits with anything but 0.
    #[track_caller]
    pub fn kubectl_json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let text = self.kubectl(&args);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("kubectl {}: {e}: {text}", args.join(" ")))
    }
}
