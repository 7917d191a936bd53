//! Recording of a session: what goes out and comes in passes by the recorder, as it is.

use std::sync::Arc;

use super::{Out, Outgoing, Session, lock};
use crate::record::{RecordConfig, RecordError, RecordReport, Tap};

/// Lets what a session gives out pass by the recorder.
pub(super) fn through(out: Out, tap: Arc<Tap>) -> Out {
    Arc::new(move |outgoing| {
        if let Outgoing::Frame(frame) = &outgoing {
            tap.pass(true, frame);
        }
        out(outgoing);
    })
}

impl Session {
    /// Records everything that goes out and comes in from now on, into a new file. If the file cannot be written any
    /// more, [`Outgoing::RecordingFailed`] says so, and the call goes on. Whether everybody agreed is the caller's to know.
    ///
    /// # Errors
    /// The file exists or cannot be made, or a recording runs already.
    pub fn start_recording(&self, config: &RecordConfig) -> Result<(), RecordError> {
        let out = self.out.clone();
        self.record.start(config, move |error| out(Outgoing::RecordingFailed(error)))?;
        // Pictures begin in the file with a key frame.
        self.own_key_frame();
        for stream in self.record.pictures() {
            (self.out)(Outgoing::NeedKeyFrame { stream });
        }
        Ok(())
    }

    /// Ends the recording, if one runs, and completes its file: that waits for the disk.
    #[must_use]
    pub fn stop_recording(&self) -> Option<RecordReport> {
        self.record.stop()
    }

    /// Whether a recording runs.
    #[must_use]
    pub fn recording(&self) -> bool {
        self.record.running()
    }

    fn own_key_frame(&self) {
        lock(&self.screens).request_key();
        if let Some(sender) = &self.picture_out().sender {
            sender.request_key();
        }
    }
}
