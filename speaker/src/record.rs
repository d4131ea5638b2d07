//! `run --record`: every event of the world as a JSON line, so that a field problem becomes a test.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use speaker_core::world::Event;

/// Writes events.
#[derive(Debug)]
pub struct Recorder {
    out: BufWriter<File>,
}

impl Recorder {
    /// Starts a new file.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(path: &Path) -> io::Result<Self> {
        Ok(Self { out: BufWriter::new(File::create(path)?) })
    }

    /// Writes one event; it is on its way to the disk when this returns.
    ///
    /// # Errors
    /// The disk is full, or the like.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, event)?;
        self.out.write_all(b"\n")?;
        self.out.flush()
    }
}
