//! A changed `speaker.yaml` is picked up; a bad one is refused and the old one stays in force.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use speaker_config::model::{Authentication, PasswordSource, SpeakerConfig};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::hub::Message;
use crate::load::{self, Loaded};

/// How often the file is looked at: a poll works on every file system and through a ConfigMap's symlinks,
/// where notifications do not.
const EVERY: Duration = Duration::from_millis(500);

/// So many looks in vain, ten seconds, and it is said that the file is away.
const LOST: u32 = 20;

/// Files with TCP MD5 keys, and what they held when they were last looked at; `None` cannot be read.
type KeyFiles = BTreeMap<PathBuf, Option<Vec<u8>>>;

/// Tells the hub of each new text of `file`, and of each change of a key that it names, until the hub is
/// gone.
pub(crate) fn watch(file: PathBuf, loaded: &Loaded, hub: mpsc::Sender<Message>) -> JoinHandle<()> {
    let mut known = loaded.text.clone().into_bytes();
    let mut keys = key_files(&loaded.config);
    tokio::spawn(async move {
        let mut missed = 0_u32;
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            let text = match tokio::fs::read(&file).await {
                Ok(text) => text,
                // A file that is away for a moment is being replaced.
                Err(error) => {
                    missed += 1;
                    if missed == LOST {
                        tracing::warn!(
                            "{}: cannot be read: {error}; the configuration read last stays in force",
                            file.display()
                        );
                    }
                    continue;
                }
            };
            missed = 0;
            let message = if text != known {
                known = text;
                let loaded = load::load(&file).map(Box::new);
                if let Ok(loaded) = &loaded {
                    keys = key_files(&loaded.config);
                }
                Message::Reload(loaded)
            } else if read_again(&mut keys) {
                Message::KeysChanged
            } else {
                continue;
            };
            if hub.send(message).await.is_err() {
                return;
            }
        }
    })
}

fn key_files(config: &SpeakerConfig) -> KeyFiles {
    let peers = config.peers.iter().map(|peer| &peer.settings);
    let settings = peers.chain(config.dynamic_peers.iter().map(|entry| &entry.settings));
    let sources = settings.filter_map(|settings| settings.authentication.as_ref());
    let files = sources.flat_map(Authentication::sources).filter_map(|source| match source {
        PasswordSource::File(path) => Some(path.clone()),
        PasswordSource::Secret { .. } => None,
    });
    files.map(|path| (path.clone(), std::fs::read(path).ok())).collect()
}

/// Whether any of them holds something else now.
fn read_again(keys: &mut KeyFiles) -> bool {
    let mut changed = false;
    for (path, known) in keys {
        // One that is away for a moment is being replaced.
        if let Ok(now) = std::fs::read(path)
            && known.as_ref() != Some(&now)
        {
            *known = Some(now);
            changed = true;
        }
    }
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_file_that_is_no_text_is_refused_aloud() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("speaker.yaml");
        std::fs::write(&file, "router: {asn: 64501}\n").unwrap();
        let loaded = load::load(&file).unwrap();
        let (hub, mut told) = mpsc::channel(1);
        let task = watch(file.clone(), &loaded, hub);
        std::fs::write(&file, b"router: {asn: 64502} # caf\xe9\n").unwrap();
        let said = tokio::time::timeout(Duration::from_secs(20), told.recv()).await;
        let Ok(Some(Message::Reload(Err(error)))) = said else { panic!("nothing was said of it") };
        assert!(format!("{error:?}").contains("line 1 is not UTF-8"), "{error:?}");
        task.abort();
    }
}
