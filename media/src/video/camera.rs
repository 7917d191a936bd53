//! The camera on Linux: Video4Linux, a thread that reads, and a slot with the latest picture.
//!
//! The thread ends with the [`Camera`], or by itself when the camera goes away; the reason is then what
//! [`Camera::poll`] gives. A panic in the driver crate (it has some where a driver answers oddly) counts as that too.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use moq_v4l::buffer::Type;
use moq_v4l::capability::Flags;
use moq_v4l::io::mmap::Stream;
use moq_v4l::io::traits::CaptureStream;
use moq_v4l::video::Capture;
use moq_v4l::video::capture::Parameters;
use moq_v4l::{Device, Format, FourCC};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::picture::{MATRIX, MAX_SIDE, Picture, RANGE};
use super::source::{Poll, Source, Waker};
use super::{Error, Settings};
use crate::now_ns;

/// A camera that gives no picture for so long is taken for gone; dark rooms make some slow, none this slow.
const SILENCE: Duration = Duration::from_secs(3);
/// Buffers shared with the driver: one that it fills, one that is read, two against a late thread.
const BUFFERS: u32 = 4;
/// `/dev/video0` to this number are tried.
const MAX_DEVICES: usize = 64;

type Slot = Mutex<Option<Result<Picture, Error>>>;

/// An open camera.
pub(crate) struct Camera {
    slot: Arc<Slot>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Camera {
    /// Whether the named camera, or any, is there and may be opened.
    pub(crate) fn check(name: Option<&str>) -> Result<(), Error> {
        find(name).map(|_| ())
    }

    /// The cameras of this machine, as [`super::VideoSource::Camera`] names them.
    pub(crate) fn list() -> Vec<String> {
        (0..MAX_DEVICES)
            .map(|number| format!("/dev/video{number}"))
            .filter(|path| Device::with_path(path).is_ok_and(|device| captures(&device)))
            .collect()
    }

    /// Opens the named camera, or the first that works, near to the size and rate of the settings.
    pub(crate) fn open(name: Option<&str>, settings: &Settings, waker: Waker) -> Result<Self, Error> {
        let (path, device) = find(name)?;
        let (slot, stop) = (Arc::new(Slot::default()), Arc::new(AtomicBool::new(false)));
        let (put, stopped, settings) = (Arc::clone(&slot), Arc::clone(&stop), settings.clone());
        let thread = std::thread::Builder::new().name("camera".into()).spawn(move || {
            let show = |picture| {
                *put.lock().unwrap_or_else(PoisonError::into_inner) = Some(picture);
                waker();
            };
            let text = format!("the driver of the camera {} failed", path.display());
            let run = || capture(&path, &device, &settings, &stopped, &mut |picture| show(Ok(picture)));
            let result = catch_unwind(AssertUnwindSafe(run)).unwrap_or(Err(Error::Camera(text)));
            if let Err(error) = result {
                show(Err(error));
            }
        });
        let thread = thread.map_err(|e| Error::Thread(e.to_string()))?;
        Ok(Self { slot, stop, thread: Some(thread) })
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its panics were caught in it; there is nothing to learn from the result.
            let _ = thread.join();
        }
    }
}

impl Source for Camera {
    fn poll(&mut self, _now_ns: u64) -> Result<Poll, Error> {
        let latest = self.slot.lock().unwrap_or_else(PoisonError::into_inner).take();
        latest.transpose().map(|picture| picture.map_or(Poll::Wait, Poll::Ready))
    }

    fn format(&self) -> Option<(u32, u32, f64)> {
        None
    }

    fn restart(&mut self) {}
}

/// Opens the camera's node. `name` is a path, or a number as in `/dev/video0`.
fn find(name: Option<&str>) -> Result<(PathBuf, Device), Error> {
    if let Some(name) = name {
        let path = if name.bytes().all(|b| b.is_ascii_digit()) { format!("/dev/video{name}") } else { name.into() };
        let device = Device::with_path(&path).map_err(|e| Error::Camera(why(&path, &e)))?;
        return if captures(&device) {
            Ok((path.into(), device))
        } else {
            Err(Error::Camera(format!("{path} is no camera (it gives no pictures)")))
        };
    }
    let mut refused = None;
    for number in 0..MAX_DEVICES {
        let path = format!("/dev/video{number}");
        match Device::with_path(&path) {
            Ok(device) if captures(&device) => return Ok((path.into(), device)),
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => refused = Some(why(&path, &e)),
            Ok(_) | Err(_) => {}
        }
    }
    let none = "there is no camera; plug one in, or send a file with --video-in FILE";
    Err(Error::Camera(refused.unwrap_or_else(|| none.into())))
}

fn captures(device: &Device) -> bool {
    device.query_caps().is_ok_and(|caps| caps.capabilities.contains(Flags::VIDEO_CAPTURE | Flags::STREAMING))
}

fn why(path: &str, error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOENT) => format!("there is no camera {path}"),
        Some(libc::EACCES | libc::EPERM) => {
            format!("you may not use the camera {path}; become a member of the group video")
        }
        Some(libc::EBUSY) => format!("the camera {path} is used by another program; close it first"),
        Some(libc::ENODEV | libc::ENXIO) => format!("the camera {path} was unplugged"),
        _ => format!("the camera {path} does not work: {error}"),
    }
}

/// Layouts that are understood, best first for small pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    Nv12,
    Yuyv,
    Mjpeg,
}

impl Layout {
    const ALL: [(Self, [u8; 4]); 3] = [(Self::Nv12, *b"NV12"), (Self::Yuyv, *b"YUYV"), (Self::Mjpeg, *b"MJPG")];
}

fn capture(
    path: &std::path::Path,
    device: &Device,
    settings: &Settings,
    stop: &AtomicBool,
    show: &mut dyn FnMut(Picture),
) -> Result<(), Error> {
    let path = path.to_string_lossy();
    let failed = |e: std::io::Error| Error::Camera(why(&path, &e));
    let (layout, format) = negotiate(device, settings).map_err(failed)?.ok_or_else(|| {
        Error::Camera(format!("the camera {path} gives none of the picture formats NV12, YUYV and MJPEG"))
    })?;
    // Not every driver can be told; then it keeps its own rate.
    let _ = device.set_params(&Parameters::with_fps(settings.fps.clamp(1, 60)));
    let mut stream = Stream::with_buffers(device, Type::VideoCapture, BUFFERS).map_err(failed)?;
    stream.set_timeout(SILENCE);
    let mut damaged = 0;
    while !stop.load(Ordering::Relaxed) {
        let (bytes, meta) = match CaptureStream::next(&mut stream) {
            Ok(frame) => frame,
            Err(e) if e.kind() == std::io::ErrorKind::TimedOut => {
                return Err(Error::Camera(format!("the camera {path} gives no picture; is it covered by a switch?")));
            }
            Err(e) => return Err(failed(e)),
        };
        let now = now_ns();
        let used = (meta.bytesused as usize).min(bytes.len());
        match convert(layout, &format, &bytes[..used]) {
            Some(mut picture) => {
                damaged = 0;
                picture.time_ns = now;
                show(picture);
            }
            // The first pictures of many cameras are cut off.
            None if damaged < 30 => damaged += 1,
            None => return Err(Error::Camera(format!("the camera {path} gives only damaged pictures"))),
        }
    }
    Ok(())
}

fn negotiate(device: &Device, settings: &Settings) -> std::io::Result<Option<(Layout, Format)>> {
    let offered = device.enum_formats()?;
    let mut layouts = Layout::ALL;
    if settings.width > 640 {
        // Uncompressed large pictures do not fit through USB 2 at 30 a second.
        layouts.rotate_right(1);
    }
    for (layout, code) in layouts {
        let code = FourCC::new(&code);
        if !offered.iter().any(|o| o.fourcc == code) {
            continue;
        }
        let got = device.set_format(&Format::new(settings.width, settings.height, code))?;
        if got.fourcc == code {
            return Ok(Some((layout, got)));
        }
    }
    Ok(None)
}

/// A camera's bytes as a picture; `None` if there are too few of them or they are damaged.
fn convert(layout: Layout, format: &Format, bytes: &[u8]) -> Option<Picture> {
    let (width, height) = (format.width & !1, format.height & !1);
    let mut out = yuv::YuvPlanarImageMut::<u8>::alloc(width, height, yuv::YuvChromaSubsampling::Yuv420);
    match layout {
        Layout::Nv12 => {
            let stride = format.stride.max(format.width);
            let luma = stride as usize * format.height as usize;
            let mut picture = Picture::black(width, height).ok()?;
            let (w, rows) = (width as usize, height as usize);
            let (y, uv) = bytes.split_at_checked(luma)?;
            for (to, from) in picture.y.chunks_exact_mut(w).zip(y.chunks(stride as usize)) {
                to.copy_from_slice(from.get(..w)?);
            }
            for row in 0..rows / 2 {
                let pairs = uv.get(row * stride as usize..)?.get(..w)?;
                for (at, pair) in pairs.chunks_exact(2).enumerate() {
                    picture.u[row * w / 2 + at] = pair[0];
                    picture.v[row * w / 2 + at] = pair[1];
                }
            }
            return Some(picture);
        }
        Layout::Yuyv => {
            let stride = format.stride.max(format.width * 2);
            let packed = yuv::YuvPackedImage { yuy: bytes, yuy_stride: stride, width, height };
            yuv::yuyv422_to_yuv420(&mut out, &packed).ok()?;
        }
        Layout::Mjpeg => {
            let options = DecoderOptions::default()
                .jpeg_set_out_colorspace(ColorSpace::RGB)
                .set_max_width(MAX_SIDE as usize)
                .set_max_height(MAX_SIDE as usize);
            let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
            let rgb = decoder.decode().ok()?;
            let info = decoder.info()?;
            if (u32::from(info.width), u32::from(info.height)) != (format.width, format.height) {
                return None;
            }
            yuv::rgb_to_yuv420(&mut out, &rgb, format.width * 3, RANGE, MATRIX, yuv::YuvConversionMode::Balanced)
                .ok()?;
        }
    }
    let plane = |p: &yuv::BufferStoreMut<u8>| p.borrow().to_vec();
    Picture::from_planes(width, height, plane(&out.y_plane), plane(&out.u_plane), plane(&out.v_plane)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(width: u32, height: u32, stride: u32) -> Format {
        let mut format = Format::new(width, height, FourCC::new(b"YUYV"));
        format.stride = stride;
        format
    }

    #[test]
    fn a_missing_camera_is_named() {
        let error = Camera::check(Some("/dev/no-camera")).unwrap_err().to_string();
        assert_eq!(error, "there is no camera /dev/no-camera");
        let error = Camera::check(Some("/dev/null")).unwrap_err().to_string();
        assert!(error.contains("/dev/null is no camera"), "{error}");
    }

    #[test]
    fn raw_layouts_become_pictures_with_padded_rows_too() {
        let yuyv: Vec<u8> = (0..4).flat_map(|_| [60, 100, 60, 150].repeat(4).into_iter().chain([0; 8])).collect();
        let expected = Picture::filled(8, 4, (60, 100, 150)).unwrap();
        assert_eq!(convert(Layout::Yuyv, &format(8, 4, 24), &yuyv), Some(expected.clone()));
        let mut nv12: Vec<u8> = (0..4).flat_map(|_| [60; 8].into_iter().chain([0; 4])).collect();
        nv12.extend((0..2).flat_map(|_| [100, 150].repeat(4).into_iter().chain([0; 4])));
        assert_eq!(convert(Layout::Nv12, &format(8, 4, 12), &nv12), Some(expected));
    }

    #[test]
    fn cut_off_and_damaged_pictures_are_left_out() {
        for layout in [Layout::Yuyv, Layout::Nv12, Layout::Mjpeg] {
            for length in [0, 1, 40] {
                assert_eq!(convert(layout, &format(8, 4, 24), &vec![7; length]), None, "{layout:?} {length}");
            }
        }
        assert_eq!(convert(Layout::Mjpeg, &format(8, 4, 0), b"\xff\xd8\xff\xe0\0\x10JFIF"), None);
    }
}
