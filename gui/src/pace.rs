//! How often the window is drawn: pictures of several people come each at a time of its own, and each asks for a repaint.
//! Drawn together at a steady pace they cost one frame instead of four, and none waits longer than one interval.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use eframe::egui;
use twocan_media::now_ns;

/// Between two frames where the processor draws them: a little less than the 33 ms between two pictures of a camera, so
/// that none is left out.
const BY_PROCESSOR: Duration = Duration::from_millis(31);
/// Between two frames where a graphics card draws them: about the 60 a second that a screen shows.
const BY_CARD: Duration = Duration::from_millis(14);

/// egui draws so much earlier than it is asked to, to make up for the frame's own time (its `predicted_dt`).
const EARLY: Duration = Duration::from_micros(16_700);

/// Asks for repaints, never more often than the pace. Clones are the same.
#[derive(Clone, Debug)]
pub struct Pace {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// When the latest frame began ([`now_ns`]).
    drawn: AtomicU64,
    interval: AtomicU64,
}

impl Default for Pace {
    fn default() -> Self {
        let interval = AtomicU64::new(nanos(BY_CARD));
        Self { inner: Arc::new(Inner { drawn: AtomicU64::new(0), interval }) }
    }
}

impl Pace {
    /// Chooses the pace by what draws: the name that OpenGL gives its renderer.
    pub fn choose(&self, renderer: &str) {
        let interval = if by_processor(renderer) { BY_PROCESSOR } else { BY_CARD };
        self.inner.interval.store(nanos(interval), Ordering::Relaxed);
    }

    /// A frame begins.
    pub fn drawn(&self) {
        self.inner.drawn.store(now_ns(), Ordering::Relaxed);
    }

    /// How long until the next frame may begin.
    #[must_use]
    pub fn wait(&self) -> Duration {
        let due = self.inner.drawn.load(Ordering::Relaxed) + self.inner.interval.load(Ordering::Relaxed);
        Duration::from_nanos(due.saturating_sub(now_ns()))
    }

    /// Something new is to be seen: asks for a frame as soon as the pace lets it. From any thread.
    pub fn request(&self, context: &egui::Context) {
        // Never zero, too: egui takes "at once" as a wish for two frames, so that layouts may settle.
        context.request_repaint_after(self.wait() + EARLY);
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Whether a renderer of OpenGL is a program on the processor.
#[must_use]
pub fn by_processor(renderer: &str) -> bool {
    let renderer = renderer.to_lowercase();
    ["llvmpipe", "softpipe", "swrast", "swiftshader", "software"].iter().any(|name| renderer.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_waits_for_the_pace_and_never_longer() {
        let pace = Pace::default();
        pace.choose("llvmpipe (LLVM 19.1.7, 256 bits)");
        assert_eq!(pace.wait(), Duration::ZERO, "nothing was drawn yet");
        pace.drawn();
        assert!(pace.wait() <= BY_PROCESSOR);
        assert!(by_processor("softpipe") && !by_processor("Mesa Intel(R) UHD Graphics 620"));
    }
}
