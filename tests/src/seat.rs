//! A seat in a call without devices: sends numbered frames as a client would, and notes what arrives.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use twocan_control::{Client, Handle, MediaChannel, MediaControl, MediaFrame, MediaKind, MediaMessage, SeatedCall};

use crate::node::DEADLINE;

/// Marks the frames of a [`Seat`], so that a test knows its own bytes again.
const MARK: &[u8] = b"twocan-test-frame";

/// Frames of video a second, if a seat sends any.
const VIDEO_RATE: u32 = 30;

/// When each audio frame was sent, by its number.
pub type Sent = Arc<Mutex<Vec<Instant>>>;

/// A taken seat. Sends 50 audio frames a second until dropped.
#[derive(Debug)]
pub struct Seat {
    /// The call and the token.
    pub seated: SeatedCall,
    rx: tokio::sync::mpsc::Receiver<MediaMessage>,
    sent: Sent,
    senders: Vec<JoinHandle<()>>,
}

impl Seat {
    /// Opens the media of a seat and starts to send.
    pub async fn take(api: &Client, seated: SeatedCall) -> Result<Self> {
        Self::take_with_video(api, seated, 0).await
    }

    /// The same, with so many bits of video a second besides: units that look like H.264 and show nothing.
    pub async fn take_with_video(api: &Client, seated: SeatedCall, bits: u32) -> Result<Self> {
        let MediaChannel { tx, rx } = api.media(&seated.call.id, &seated.seat).await?;
        let sent = Sent::default();
        let mut senders = Vec::new();
        if bits > 0 {
            let tx = tx.clone();
            senders.push(tokio::spawn(async move {
                let mut clock = tokio::time::interval(Duration::from_secs(1) / VIDEO_RATE);
                let bytes = usize::try_from(bits / 8 / VIDEO_RATE).unwrap_or_default();
                for sequence in 0_u32.. {
                    clock.tick().await;
                    if tx.send(MediaMessage::Frame(video_frame(sequence, bytes))).await.is_err() {
                        return;
                    }
                }
            }));
        }
        let times = Arc::clone(&sent);
        senders.push(tokio::spawn(async move {
            let mut clock = tokio::time::interval(Duration::from_millis(20));
            for sequence in 0_u32.. {
                clock.tick().await;
                times.lock().unwrap_or_else(PoisonError::into_inner).push(Instant::now());
                if tx.send(MediaMessage::Frame(audio_frame(sequence))).await.is_err() {
                    return;
                }
            }
        }));
        Ok(Self { seated, rx, sent, senders })
    }

    /// When each audio frame was sent; it grows.
    pub fn sent(&self) -> Sent {
        Arc::clone(&self.sent)
    }

    /// Waits for the next audio frame that another [`Seat`] sent; its number there.
    pub async fn hear(&mut self) -> Result<u32> {
        let next = timeout(DEADLINE, self.next()).await.context("waited in vain for sound")?;
        next.context("the media channel ended")
    }

    /// The next audio frame that another [`Seat`] sent, however long it takes; nothing if the channel ends.
    pub async fn next(&mut self) -> Option<u32> {
        loop {
            if let MediaMessage::Frame(frame) = self.rx.recv().await?
                && frame.kind == MediaKind::Audio
                && let Some(number) = frame.payload.strip_prefix(&[0x48]).and_then(|rest| rest.strip_prefix(MARK))
                && let Ok(number) = number.try_into()
            {
                return Some(u32::from_be_bytes(number));
            }
        }
    }

    /// Waits for a control message that satisfies a condition.
    pub async fn control(&mut self, what: &str, mut wanted: impl FnMut(&MediaControl) -> bool) -> Result<MediaControl> {
        let wait = async {
            while let Some(message) = self.rx.recv().await {
                match message {
                    MediaMessage::Control(control) if wanted(&control) => return Ok(control),
                    _ => {}
                }
            }
            bail!("the media channel ended");
        };
        timeout(DEADLINE, wait).await.with_context(|| format!("waited in vain for {what}"))?
    }

    /// Reads until the channel ends.
    pub async fn ended(&mut self) -> Result<()> {
        let wait = async { while self.rx.recv().await.is_some() {} };
        timeout(DEADLINE, wait).await.context("the media channel does not end")
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.senders.iter().for_each(JoinHandle::abort);
    }
}

/// One slice of video without meaning; it begins with what a decoder needs first.
fn video_frame(sequence: u32, bytes: usize) -> MediaFrame {
    let key = sequence == 0;
    let mut payload = vec![0, 0, 0, 1, if key { 0x65 } else { 0x41 }];
    payload.resize(bytes.max(16), 0xa5);
    MediaFrame {
        kind: MediaKind::Video,
        key,
        timestamp: sequence.wrapping_mul(90_000 / VIDEO_RATE),
        time_ns: u64::from(sequence) * (1_000_000_000 / u64::from(VIDEO_RATE)),
        payload: payload.into(),
        ..audio_frame(sequence)
    }
}

/// An Opus packet as far as the network is concerned: a TOC byte (SILK, 20 ms, mono), a mark and a number.
fn audio_frame(sequence: u32) -> MediaFrame {
    let mut payload = vec![0x48];
    payload.extend_from_slice(MARK);
    payload.extend_from_slice(&sequence.to_be_bytes());
    MediaFrame {
        kind: MediaKind::Audio,
        key: false,
        gap: false,
        restart: false,
        red: false,
        layer: 0,
        stream: 0,
        sequence,
        timestamp: sequence.wrapping_mul(960),
        time_ns: u64::from(sequence) * 20_000_000,
        payload: payload.into(),
    }
}
