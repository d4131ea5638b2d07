//! A changed `speaker.yaml` is picked up; a bad one is refused and the old one stays in force.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::hub::Message;
use crate::load;

/// How often the file is looked at: a poll works on every file system and through a ConfigMap's symlinks,
/// where notifications do not.
const EVERY: Duration = Duration::from_millis(500);

/// Tells the hub of each new text of `file`, until the hub is gone.
pub(crate) fn watch(file: PathBuf, mut known: String, hub: mpsc::Sender<Message>) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(EVERY);
        loop {
            ticks.tick().await;
            // A file that is away for a moment is being replaced.
            let Ok(text) = tokio::fs::read_to_string(&file).await else { continue };
            if text == known {
                continue;
            }
            known.clone_from(&text);
            if hub.send(Message::Reload(load::load(&file).map(Box::new))).await.is_err() {
                return;
            }
        }
    })
}
