//! Sound on systems other than Linux: whatever cpal finds there (Core Audio, WASAPI).
//!
//! Devices there run at rates and channel counts of their own; both directions are converted here.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cpal::traits::{DeviceTrait, HostTrait, StreamTrait};

use super::SAMPLE_RATE;
use super::backend::{AudioBackend, AudioError, Device, Fill, Stream, Take};
use super::resample::Resampler;

/// The default host of the system.
#[derive(Clone, Copy, Debug)]
pub struct Cpal;

/// Keeps a stream that may not leave its thread on a thread of its own.
struct Running {
    broken: Arc<AtomicBool>,
    stop: std::sync::mpsc::SyncSender<()>,
}

impl Stream for Running {
    fn alive(&self) -> bool {
        !self.broken.load(Ordering::Acquire)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.stop.try_send(());
    }
}

fn refused(error: impl ToString) -> AudioError {
    AudioError::Refused(error.to_string())
}

fn name_of(device: &cpal::Device) -> String {
    device.description().map_or_else(|_| "unnamed".to_owned(), |text| text.name().to_owned())
}

fn find(name: Option<&str>, input: bool) -> Result<cpal::Device, AudioError> {
    let host = cpal::default_host();
    let missing =
        || AudioError::NoDevice { kind: if input { "microphone" } else { "speaker" }, name: name.map(str::to_owned) };
    match name {
        None if input => host.default_input_device().ok_or_else(missing),
        None => host.default_output_device().ok_or_else(missing),
        Some(name) => {
            let fits = |device: &cpal::Device| if input { device.supports_input() } else { device.supports_output() };
            let mut devices = host.devices().map_err(refused)?;
            devices.find(|device| fits(device) && name_of(device) == name).ok_or_else(missing)
        }
    }
}

/// Builds and plays a stream on a thread that lives as long as it; reports whether that worked.
fn run(
    build: impl FnOnce(Arc<AtomicBool>) -> Result<cpal::Stream, AudioError> + Send + 'static,
) -> Result<Box<dyn Stream>, AudioError> {
    let broken = Arc::new(AtomicBool::new(false));
    let (stop, stopped) = std::sync::mpsc::sync_channel(1);
    let (started, start) = std::sync::mpsc::sync_channel(1);
    let flag = broken.clone();
    std::thread::Builder::new()
        .name("sound-device".to_owned())
        .spawn(move || {
            let stream = build(flag).and_then(|stream| stream.play().map_err(refused).map(|()| stream));
            match stream {
                Ok(stream) => {
                    let _ = started.send(Ok(()));
                    let _ = stopped.recv();
                    drop(stream);
                }
                Err(error) => {
                    let _ = started.send(Err(error));
                }
            }
        })
        .map_err(refused)?;
    start.recv().map_err(|_| AudioError::Timeout)??;
    Ok(Box::new(Running { broken, stop }))
}

impl AudioBackend for Cpal {
    fn name(&self) -> &'static str {
        "the system's sound"
    }

    fn devices(&self) -> Result<Vec<Device>, AudioError> {
        let host = cpal::default_host();
        let default_in = host.default_input_device().as_ref().map(name_of);
        let default_out = host.default_output_device().as_ref().map(name_of);
        let mut devices = Vec::new();
        for device in host.devices().map_err(refused)? {
            let name = name_of(&device);
            for (fits, input, default) in
                [(device.supports_input(), true, &default_in), (device.supports_output(), false, &default_out)]
            {
                if fits {
                    let default = default.as_ref() == Some(&name);
                    devices.push(Device { id: name.clone(), name: name.clone(), input, default, monitor: false });
                }
            }
        }
        devices.sort_by_key(|device| !device.default);
        Ok(devices)
    }

    fn capture(&self, device: Option<&str>, take: Take) -> Result<Box<dyn Stream>, AudioError> {
        let device = find(device, true)?;
        run(move |broken| {
            let config: cpal::StreamConfig = device.default_input_config().map_err(refused)?.into();
            let channels = usize::from(config.channels.max(1));
            let mut resampler = Resampler::new(config.sample_rate);
            let mut out = Vec::new();
            let data = move |samples: &[f32], _: &cpal::InputCallbackInfo| {
                let mono: Vec<f32> =
                    samples.chunks(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32).collect();
                out.clear();
                resampler.push(&mono, &mut out);
                take(&out);
            };
            let error = move |_| broken.store(true, Ordering::Release);
            device.build_input_stream(config, data, error, None).map_err(refused)
        })
    }

    fn playback(&self, device: Option<&str>, fill: Fill) -> Result<Box<dyn Stream>, AudioError> {
        let device = find(device, false)?;
        run(move |broken| {
            let config: cpal::StreamConfig = device.default_output_config().map_err(refused)?.into();
            let channels = usize::from(config.channels.max(1));
            let mut resampler = Resampler::between(SAMPLE_RATE, config.sample_rate);
            let mut ready = VecDeque::new();
            let (mut piece, mut converted) = ([0.0; 480], Vec::new());
            let data = move |samples: &mut [f32], _: &cpal::OutputCallbackInfo| {
                while ready.len() < samples.len() / channels {
                    fill(&mut piece, Duration::from_millis(20));
                    converted.clear();
                    resampler.push(&piece, &mut converted);
                    ready.extend(&converted);
                }
                for frame in samples.chunks_mut(channels) {
                    frame.fill(ready.pop_front().unwrap_or(0.0));
                }
            };
            let error = move |_| broken.store(true, Ordering::Release);
            device.build_output_stream(config, data, error, None).map_err(refused)
        })
    }
}
