//! The speaker under test: its binary, its files, its command line.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::daemon::{Family, SeenRoute, words};
use crate::lab::Node;
use crate::process::Process;
use crate::wait::eventually;

/// A speaker on a node.
#[derive(Debug)]
pub struct Speaker {
    node: Node,
    dir: PathBuf,
    env: Vec<(String, String)>,
    without: Option<String>,
    process: Process,
}

/// The binary: `$SPEAKER_BIN`, else the newest of target/debug and target/release.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("SPEAKER_BIN") {
        return PathBuf::from(path);
    }
    let built = ["debug", "release"].map(|profile| target().join(profile).join("speaker"));
    let age = |path: &PathBuf| fs::metadata(path).and_then(|m| m.modified()).ok();
    let newest = built.iter().filter(|p| p.exists()).max_by_key(|p| age(p));
    newest.cloned().unwrap_or_else(|| panic!("no binary at {built:?}: run `cargo build -p speaker` first"))
}

/// Where builds put what they make: `$CARGO_TARGET_DIR`, else `target` of the workspace.
#[must_use]
pub fn target() -> PathBuf {
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(own, PathBuf::from)
}

impl Speaker {
    /// Starts it with `config` as its speaker.yaml, in a folder of its own with `manifests/` beside the file.
    /// `config` must name `sources.manifests: [manifests]`, `ipam.stateDir: state` and `api.socket: api.sock`
    /// where it wants them: the paths are relative to the file.
    pub fn start(node: &Node, config: &str, manifests: &[(&str, String)]) -> Self {
        let speaker = Self::prepare(node, config, manifests);
        speaker.wait_ready();
        speaker
    }

    /// As [`Self::start`], but does not wait until it answers.
    ///
    /// # Panics
    /// If its files cannot be written.
    pub fn prepare(node: &Node, config: &str, manifests: &[(&str, String)]) -> Self {
        Self::prepare_with(node, config, manifests, &[])
    }

    /// As [`Self::prepare`], with further variables in its environment.
    ///
    /// # Panics
    /// If its files cannot be written.
    pub fn prepare_with(
        node: &Node,
        config: &str,
        manifests: &[(&str, String)],
        env: &[(&str, &str)],
    ) -> Self {
        Self::prepare_as(node, config, manifests, env, None)
    }

    /// As [`Self::start`], as a root that lacks a capability, such as `net_raw`.
    pub fn start_without(node: &Node, config: &str, manifests: &[(&str, String)], capability: &str) -> Self {
        let speaker = Self::prepare_as(node, config, manifests, &[], Some(capability));
        speaker.wait_ready();
        speaker
    }

    fn prepare_as(
        node: &Node,
        config: &str,
        manifests: &[(&str, String)],
        env: &[(&str, &str)],
        without: Option<&str>,
    ) -> Self {
        let dir = node.dir().join("speaker");
        fs::create_dir_all(dir.join("manifests")).expect("folder of the speaker");
        fs::write(dir.join("speaker.yaml"), config).expect("speaker.yaml");
        for (name, text) in manifests {
            fs::write(dir.join("manifests").join(name), text).expect("manifest");
        }
        let env: Vec<_> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let process = spawn(node, &dir, &env, without);
        Self { node: node.clone(), dir, env, without: without.map(str::to_owned), process }
    }

    /// Waits until its command line is answered.
    pub fn wait_ready(&self) {
        eventually(Duration::from_secs(20), "the speaker answers", || {
            if !self.process.running() {
                return Err(format!("it ended: {}", self.process.log()));
            }
            self.try_cli(&["version"]).map(|_| ())
        });
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// A variable of its environment from the next start on.
    pub fn set_env(&mut self, key: &str, value: &str) {
        self.env.retain(|(known, _)| known != key);
        self.env.push((key.to_owned(), value.to_owned()));
    }

    /// Starts it again after it was killed or terminated.
    pub fn start_again(&mut self) {
        self.process = spawn(&self.node, &self.dir, &self.env, self.without.as_deref());
        self.wait_ready();
    }

    /// Writes a manifest as an editor does: whole, by renaming.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write_manifest(&self, name: &str, text: &str) {
        let folder = self.dir.join("manifests");
        let new = folder.join(format!(".{name}.new"));
        fs::write(&new, text).expect("manifest");
        fs::rename(new, folder.join(name)).expect("manifest");
    }

    /// Removes a manifest.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn remove_manifest(&self, name: &str) {
        fs::remove_file(self.dir.join("manifests").join(name)).expect("manifest");
    }

    /// Replaces speaker.yaml, which it watches.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write_config(&self, config: &str) {
        let new = self.dir.join("speaker.yaml.new");
        fs::write(&new, config).expect("speaker.yaml");
        fs::rename(new, self.dir.join("speaker.yaml")).expect("speaker.yaml");
    }

    /// A metric by its name and labels, as `speaker_reconcile_errors_total{component="link"}`, where `api.http` is
    /// 127.0.0.1:9179.
    ///
    /// # Panics
    /// If it is not there.
    #[must_use]
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        let text = self.node.inside(|| {
            let mut stream = TcpStream::connect(("127.0.0.1", 9179))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text).map(|_| text)
        });
        let text: String = text.unwrap_or_else(|e: std::io::Error| panic!("metrics: {e}"));
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        value.unwrap_or_else(|| panic!("no {name} in {text}"))
    }

    /// Runs a command of its command line.
    ///
    /// # Errors
    /// What it prints, when it does not exit with 0.
    pub fn try_cli(&self, args: &[&str]) -> Result<String, String> {
        let output = Command::new(binary())
            .args(args)
            .arg("--socket")
            .arg(self.dir.join("api.sock"))
            .output()
            .map_err(|e| format!("{}: {e}", binary().display()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(text);
        }
        let error = String::from_utf8_lossy(&output.stderr);
        Err(format!("speaker {}: {}: {text}{error}", args.join(" "), output.status))
    }

    /// As [`Self::try_cli`].
    ///
    /// # Panics
    /// When it does not exit with 0.
    #[track_caller]
    pub fn cli(&self, args: &[&str]) -> String {
        self.try_cli(args).unwrap_or_else(|e| panic!("{e}"))
    }

    /// A command's `-o json`; null while the speaker does not answer.
    #[must_use]
    pub fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let Ok(text) = self.try_cli(&args) else { return Value::Null };
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("speaker {}: {e}: {text}", args.join(" ")))
    }

    /// `peers NAME -o json`.
    #[must_use]
    pub fn peer(&self, name: &str) -> Value {
        self.json(&["peers", name])
    }

    /// What `rib advertised` says that a peer was told, in the form in which daemons are read.
    #[must_use]
    pub fn advertised(&self, peer: &str, family: Family) -> Vec<SeenRoute> {
        let family = format!("{}-unicast", family.word());
        let rows = self.json(&["rib", "advertised", "--peer", peer, "--family", &family]);
        let mut routes: Vec<SeenRoute> = rows.as_array().into_iter().flatten().map(row).collect();
        routes.sort();
        routes
    }

    /// Prefixes of `rib received` from a peer.
    #[must_use]
    pub fn received(&self, peer: &str) -> Vec<String> {
        let rows = self.json(&["rib", "received", "--peer", peer]);
        let rows = rows.as_array().into_iter().flatten();
        let mut prefixes: Vec<String> = rows.filter_map(|r| Some(r["prefix"].as_str()?.to_owned())).collect();
        prefixes.sort();
        prefixes
    }

    /// Waits until the session with `peer` is in `state` (RFC 4271's name).
    #[track_caller]
    pub fn wait_state(&self, peer: &str, state: &str, deadline: Duration) {
        eventually(deadline, &format!("the speaker's session with {peer} is {state}"), || {
            let now = self.peer(peer);
            if now["state"] == state {
                Ok(())
            } else {
                Err(format!("{}, last error {}", now["state"], now["lastError"]))
            }
        });
    }

    /// Waits for a line of its log that has every one of `words`, and returns it.
    #[track_caller]
    pub fn wait_log(&self, words: &[&str], deadline: Duration) -> String {
        eventually(deadline, &format!("a log line with {words:?}"), || {
            let log = plain(&self.process.log());
            match log.lines().find(|line| words.iter().all(|w| line.contains(w))) {
                Some(line) => Ok(line.to_owned()),
                None => Err(format!("\n{}", self.process.log_tail(15))),
            }
        })
    }
}

fn spawn(node: &Node, dir: &Path, env: &[(String, String)], without: Option<&str>) -> Process {
    let mut command = match without {
        None => Command::new(binary()),
        Some(capability) => {
            let mut command = Command::new("setpriv");
            let less = format!("-{capability}");
            command.args(["--inh-caps", &less, "--bounding-set", &less]).arg(binary());
            command
        }
    };
    command.args(["run", "--config"]).arg(dir.join("speaker.yaml")).env("NO_COLOR", "1");
    command.envs(env.iter().map(|(k, v)| (k, v)));
    node.spawn("speaker", &mut command)
}

/// Without the escapes that colour a terminal.
fn plain(text: &str) -> String {
    let mut out = String::new();
    let mut parts = text.split("\x1b[");
    out.push_str(parts.next().unwrap_or_default());
    for part in parts {
        out.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    out
}

fn row(row: &Value) -> SeenRoute {
    let number = |v: &Value| v.as_u64().and_then(|n| u32::try_from(n).ok());
    let list = |key: &str, form: fn(&str) -> String| {
        let values = row[key].as_array().into_iter().flatten();
        let mut all: Vec<String> = values.filter_map(|v| Some(form(v.as_str()?))).collect();
        all.sort();
        all
    };
    let hop = |key: &str| row[key].as_str().and_then(|h| h.parse::<IpAddr>().ok());
    let prefix = row["prefix"].as_str().unwrap_or_default();
    SeenRoute {
        prefix: prefix.parse().unwrap_or_else(|e| panic!("{prefix}: {e} in {row}")),
        next_hops: hop("nextHop").into_iter().chain(hop("linkLocalNextHop")).collect(),
        as_path: path(&row["asPath"]),
        origin: row["origin"].as_str().unwrap_or_default().to_ascii_lowercase(),
        med: number(&row["med"]),
        local_pref: number(&row["localPreference"]),
        communities: list("communities", words::community),
        large: list("largeCommunities", str::to_owned),
        ext: list("extendedCommunities", words::extended),
    }
}

/// The numbers of a path given as segments, each a list or an object that holds one.
fn path(value: &Value) -> Vec<u32> {
    match value {
        Value::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()).into_iter().collect(),
        Value::Array(parts) => parts.iter().flat_map(path).collect(),
        Value::Object(fields) => fields.values().flat_map(path).collect(),
        _ => Vec::new(),
    }
}
