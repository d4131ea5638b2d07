//! Whether this process follows another one, and on the same boot: the R and F bits of graceful restart
//! (RFC 4724 §3) must not claim more.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The file in `ipam.stateDir`.
const FILE: &str = "process.json";

/// Where the kernel names the boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    boot_id: String,
    /// What `readiness` waits for was healthy on this boot.
    #[serde(default)]
    ready: bool,
}

/// What the last process left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Predecessor {
    /// There was one.
    pub existed: bool,
    /// The kernel has run ever since, and forwarded with the routes that it had.
    pub same_boot: bool,
    /// It, or one before it on this boot, has seen healthy what `readiness` waits for.
    pub ready: bool,
}

/// The kernel's name of this boot; empty where it does not tell.
pub(crate) fn id() -> String {
    std::fs::read_to_string(BOOT_ID).unwrap_or_default().trim().to_owned()
}

/// Reads what the last process left and leaves the same for the next.
///
/// # Errors
/// The state folder cannot be written.
pub fn follow(state_dir: &Path) -> io::Result<Predecessor> {
    follow_on(state_dir, &id())
}

fn follow_on(state_dir: &Path, boot_id: &str) -> io::Result<Predecessor> {
    std::fs::create_dir_all(state_dir)?;
    let file = state_dir.join(FILE);
    // A marker that cannot be read claims nothing.
    let marker: Option<Marker> =
        std::fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let same_boot = |marker: &&Marker| !boot_id.is_empty() && marker.boot_id == boot_id;
    let predecessor = Predecessor {
        existed: marker.is_some(),
        same_boot: marker.as_ref().is_some_and(|marker| same_boot(&marker)),
        ready: marker.as_ref().filter(same_boot).is_some_and(|marker| marker.ready),
    };
    write(&file, &Marker { boot_id: boot_id.to_owned(), ready: predecessor.ready })?;
    Ok(predecessor)
}

/// Leaves to the next process on this boot that what `readiness` waits for was healthy.
///
/// # Errors
/// The state folder cannot be written.
pub fn note_ready(state_dir: &Path) -> io::Result<()> {
    write(&state_dir.join(FILE), &Marker { boot_id: id(), ready: true })
}

fn write(file: &Path, marker: &Marker) -> io::Result<()> {
    let new = file.with_extension("json.new");
    std::fs::write(&new, serde_json::to_vec(marker)?)?;
    std::fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_on_the_same_boot_kept_forwarding() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(follow_on(folder.path(), "a").unwrap(), Predecessor::default());
        let same = Predecessor { existed: true, same_boot: true, ready: false };
        assert_eq!(follow_on(folder.path(), "a").unwrap(), same);
        let other = Predecessor { existed: true, same_boot: false, ready: false };
        assert_eq!(follow_on(folder.path(), "b").unwrap(), other);
        let ready = Marker { boot_id: "b".to_owned(), ready: true };
        write(&folder.path().join(FILE), &ready).unwrap();
        for _ in 0..2 {
            let known = follow_on(folder.path(), "b").unwrap();
            assert_eq!(known, Predecessor { existed: true, same_boot: true, ready: true });
        }
        assert_eq!(follow_on(folder.path(), "c").unwrap(), other, "after a reboot nothing is known");
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert_eq!(follow_on(folder.path(), "b").unwrap(), Predecessor::default());
    }
}
