//! A host that systemd runs: process 1 of namespaces of its own, over this machine's files, of which it changes none.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cgroup::Cgroup;
use crate::lab::Node;
use crate::process::Process;
use crate::wait::{eventually, try_eventually};

/// What is run before systemd, in namespaces of its own: a root of its own, on which the machine's is the lower layer.
/// Nothing of the machine's own units is left but the journal: they would set the machine's clock and variables.
const PREPARE: &str = r#"
set -eu
for file in /sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/*/cgroup.procs; do
    group=${file%/cgroup.procs}/$GROUP
    # cpuset takes nobody who has named no processor; systemd does not use it.
    case "$group" in */cpuset/*) continue ;; esac
    if [ -d "$group" ]; then echo $$ > "$group/cgroup.procs"; fi
done
exec unshare --mount --pid --fork --kill-child --ipc --uts --cgroup sh -eu -c '
    mount --make-rprivate /
    mount -t tmpfs tmpfs "$LAYERS"
    mkdir "$LAYERS/upper" "$LAYERS/work" "$LAYERS/root"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$LAYERS/upper,workdir=$LAYERS/work" "$LAYERS/root"
    cd "$LAYERS/root"
    mount -t proc proc proc
    mount -t sysfs sysfs sys
    mount --rbind /sys/fs/cgroup sys/fs/cgroup
    mount -t tmpfs -o mode=755 tmpfs run
    mount -t tmpfs -o mode=755 tmpfs dev
    mkdir dev/shm dev/pts
    for device in null zero full random urandom tty; do
        touch "dev/$device"
        mount --bind "/dev/$device" "dev/$device"
    done
    ln -s /proc/self/fd dev/fd
    ln -s pts/ptmx dev/ptmx
    rm -rf etc/systemd/system/* var/lib/speaker
    # Without one it is the first boot, which enables every unit that is installed.
    printf "%032x\n" 1 > etc/machine-id
    for units in lib/systemd/system usr/lib/systemd/system; do
        for wants in "$units"/*.wants; do
            for unit in "$wants"/*; do
                case "$unit" in */systemd-journald*) ;; *) rm -f "$unit" ;; esac
            done
        done
    done
    cp -a "$FILES/." .
    touch usr/local/bin/speaker
    mount --bind "$SPEAKER" usr/local/bin/speaker
    mkdir -p run/machine
    pivot_root . run/machine
    cd /
    umount --lazy run/machine
    exec env -i container=lab PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        /lib/systemd/systemd --system --unit=multi-user.target
'
"#;

/// A host; dropping it ends it.
#[derive(Debug)]
pub struct Host {
    node: Node,
    process: Process,
    _cgroup: Cgroup,
}

impl Host {
    /// Boots it on `node` with `speaker` as /usr/local/bin/speaker and further `files`: absolute path and text.
    ///
    /// # Panics
    /// If systemd is not up within 30 s.
    #[must_use]
    pub fn boot(node: &Node, speaker: &Path, files: &[(&str, String)]) -> Self {
        let (own, layers) = (node.dir().join("files"), node.dir().join("layers"));
        fs::create_dir_all(&layers).expect("folder of layers");
        fs::create_dir_all(&own).expect("folder of files");
        for (path, text) in files {
            let file = own.join(path.trim_start_matches('/'));
            fs::create_dir_all(file.parent().expect("a folder")).expect("folder of a file");
            fs::write(&file, text).expect("file of the host");
        }
        // The root of the overlay takes the mode of this folder.
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).expect("mode");
        let name = node.namespace_file();
        let name = name.file_name().expect("name of a namespace").to_string_lossy().into_owned();
        let cgroup = Cgroup::new(&name);
        let mut command = Command::new("sh");
        command.args(["-c", PREPARE]).env("GROUP", &name).env("LAYERS", &layers).env("FILES", &own);
        command.env("SPEAKER", fs::canonicalize(speaker).expect("the binary"));
        let process = node.spawn("systemd", &mut command);
        let host = Self { node: node.clone(), process, _cgroup: cgroup };
        eventually(Duration::from_secs(30), "systemd is up", || {
            // It exits with 1 where it is up and a unit has failed.
            let state = host.try_exec(&["sh", "-c", "systemctl is-system-running || true"])?;
            if matches!(state.trim(), "running" | "degraded") { Ok(()) } else { Err(state) }
        });
        host
    }

    /// Process 1, as this machine knows it.
    fn init(&self) -> Result<String, String> {
        let pid = self.process.pid();
        let children = PathBuf::from(format!("/proc/{pid}/task/{pid}/children"));
        let text = fs::read_to_string(&children).map_err(|e| format!("{}: {e}", children.display()))?;
        text.split_whitespace().next().map(str::to_owned).ok_or_else(|| "no process 1 yet".to_owned())
    }

    /// A command on the host.
    ///
    /// # Errors
    /// Both outputs, when it exits with anything but 0.
    pub fn try_exec(&self, argv: &[&str]) -> Result<String, String> {
        let init = self.init()?;
        let enter = ["nsenter", "--target", &init, "--all", "--root", "--wd"];
        self.node.try_exec(&[&enter[..], argv].concat())
    }

    /// As [`Self::try_exec`].
    ///
    /// # Panics
    /// When it exits with anything but 0.
    #[track_caller]
    pub fn exec(&self, argv: &[&str]) -> String {
        self.try_exec(argv).unwrap_or_else(|e| panic!("{e}\n{}", self.journal()))
    }

    /// The same, and does not wait for its end.
    ///
    /// # Panics
    /// If the host is not up.
    #[must_use]
    pub fn begin(&self, name: &str, argv: &[&str]) -> Process {
        let init = self.init().expect("the host is up");
        let mut command = Command::new("nsenter");
        command.args(["--target", &init, "--all", "--root", "--wd"]).args(argv);
        self.node.spawn(name, &mut command)
    }

    /// What the speaker's unit has written.
    #[must_use]
    pub fn journal(&self) -> String {
        self.try_exec(&["journalctl", "--no-pager", "--unit", "speaker"]).unwrap_or_else(|e| e)
    }

    /// A property of the speaker's unit.
    #[must_use]
    pub fn property(&self, name: &str) -> String {
        let shown = self.exec(&["systemctl", "show", "speaker", "--value", "--property", name]);
        shown.trim().to_owned()
    }

    /// Waits until it has powered off.
    ///
    /// # Panics
    /// If it has not within 30 s.
    pub fn wait_off(&self) {
        let off = || if self.process.running() { Err("it runs".to_owned()) } else { Ok(()) };
        try_eventually(Duration::from_secs(30), off).unwrap_or_else(|e| panic!("power-off: {e}"));
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Its process 1 goes with it, and all others with that; the mounts with their namespace.
        self.process.kill();
    }
}
