//! The pictures of a shared screen as PipeWire brings them: a stream that takes them in shared memory and keeps the
//! latest.
//!
//! A thread of the library's own runs the stream. Whatever is done with it here is done under that thread's lock, and so
//! are all that the library calls back. Memory of the graphics card (DMA-BUF) is not offered to be taken: the compositor
//! then copies the picture out of it, which for a few pictures a second is cheaper than a way of our own to do so.

mod frame;
mod library;
mod pod;

use std::cell::UnsafeCell;
use std::ffi::{CStr, c_char, c_int};
use std::os::fd::{IntoRawFd, OwnedFd};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub(super) use frame::Raw;
use frame::{Format, read};
use library::{Buffer, Events, Functions, Handle, Hook, functions};
use pod::{Pod, Property, Value, properties};

use super::super::pixels::{MAX_RAW_SIDE, Order};

/// `SPA_PARAM_…` (`spa/param/param.h`).
const ENUM_FORMAT: u32 = 3;
const FORMAT: u32 = 4;
const BUFFERS: u32 = 5;
const META: u32 = 6;
/// `SPA_TYPE_OBJECT_…` (`spa/utils/type.h`).
const OBJECT_FORMAT: u32 = 0x4_0003;
const OBJECT_BUFFERS: u32 = 0x4_0004;
const OBJECT_META: u32 = 0x4_0005;
/// `SPA_FORMAT_…` (`spa/param/format.h`).
const MEDIA_TYPE: u32 = 1;
const MEDIA_SUBTYPE: u32 = 2;
const VIDEO_FORMAT: u32 = 0x2_0001;
const VIDEO_SIZE: u32 = 0x2_0003;
const VIDEO_RATE: u32 = 0x2_0004;
const VIDEO_MAX_RATE: u32 = 0x2_0005;
const TYPE_VIDEO: u32 = 2;
const SUBTYPE_RAW: u32 = 1;
/// `SPA_VIDEO_FORMAT_…` (`spa/param/video/raw.h`): names of the bytes in memory.
const RGBX: u32 = 7;
const BGRX: u32 = 8;
const RGBA: u32 = 11;
const BGRA: u32 = 12;
/// `SPA_PARAM_BUFFERS_…` and `SPA_PARAM_META_…` (`spa/param/buffers.h`).
const BUFFERS_COUNT: u32 = 1;
const BUFFERS_BLOCKS: u32 = 2;
const BUFFERS_TYPES: u32 = 6;
const META_TYPE: u32 = 1;
const META_SIZE: u32 = 2;
/// `SPA_DATA_…` (`spa/buffer/buffer.h`).
const MEM_PTR: u32 = 1;
const MEM_FD: u32 = 2;
/// `PW_DIRECTION_INPUT` and `PW_STREAM_FLAG_…` (`pipewire/stream.h`).
const INPUT: c_int = 0;
const AUTOCONNECT: c_int = 1;
const MAP_BUFFERS: c_int = 1 << 2;
const DONT_RECONNECT: c_int = 1 << 7;
/// `PW_STREAM_STATE_…`.
const STATE_ERROR: c_int = -1;
const STATE_UNCONNECTED: c_int = 0;
/// Most pictures a second that a compositor is allowed to say that it makes.
const ANY_RATE: u32 = 1000;
/// Buffers that the stream likes to have, and at least: one is kept here, one is filled meanwhile.
const WISHED_BUFFERS: i32 = 4;
const LEAST_BUFFERS: i32 = 2;
const MOST_BUFFERS: i32 = 16;
/// The longest parameter that is read: a format has a few hundred bytes.
const MAX_POD: usize = 64 * 1024;

/// What the library's thread and the one who looks have in common.
struct State {
    format: Option<Format>,
    /// The latest picture; it is given back when there is a newer one.
    held: *mut Buffer,
    /// Nobody has looked at it.
    new: bool,
    /// Why there are no more pictures.
    over: Option<String>,
}

/// What the library calls back with.
struct Listening {
    functions: &'static Functions,
    stream: AtomicPtr<std::ffi::c_void>,
    state: Mutex<State>,
    hook: UnsafeCell<Hook>,
    events: Events,
}

impl Listening {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running stream of pictures.
pub(super) struct Stream {
    functions: &'static Functions,
    thread: Handle,
    context: Handle,
    core: Handle,
    stream: Handle,
    listening: Box<Listening>,
}

#[expect(unsafe_code, reason = "handles of a C library are pointers")]
// SAFETY: PipeWire's thread loop exists to be used from other threads: every use of its handles here happens under its
// lock, or before its thread runs, or after that has ended.
unsafe impl Send for Stream {}

impl Stream {
    /// Takes the pictures of a node from the PipeWire that is at the other end of this socket, at most so many a second.
    pub(super) fn open(remote: OwnedFd, node: u32, fps: u32) -> Result<Self, String> {
        let functions = functions()?;
        let listening = Box::new(Listening {
            functions,
            stream: AtomicPtr::new(null_mut()),
            state: Mutex::new(State { format: None, held: null_mut(), new: false, over: None }),
            hook: UnsafeCell::new(Hook::EMPTY),
            events: Events {
                version: 0,
                destroy: None,
                state_changed: Some(state_changed),
                control_info: None,
                io_changed: None,
                param_changed: Some(param_changed),
                add_buffer: None,
                remove_buffer: Some(remove_buffer),
                process: Some(process),
                drained: None,
            },
        });
        let (thread, context, core, stream) = (null_mut(), null_mut(), null_mut(), null_mut());
        let mut opened = Self { functions, thread, context, core, stream, listening };
        #[expect(unsafe_code, reason = "a C library")]
        // SAFETY: as the headers ask: the thread is started once its loop has a context, and all after that happens under
        // its lock. `opened` undoes what was made, whatever fails. The names live for ever.
        unsafe {
            opened.thread = made((functions.pw_thread_loop_new)(c"twocan-screen".as_ptr(), std::ptr::null()))?;
            let inner = (functions.pw_thread_loop_get_loop)(opened.thread);
            opened.context = made((functions.pw_context_new)(inner, null_mut(), 0))?;
            done((functions.pw_thread_loop_start)(opened.thread))?;
            (functions.pw_thread_loop_lock)(opened.thread);
            let connected = opened.connect(remote, node, fps);
            (functions.pw_thread_loop_unlock)(opened.thread);
            connected?;
        }
        Ok(opened)
    }

    /// Connects and says what is wanted.
    ///
    /// # Safety
    /// The thread's lock is held.
    #[expect(unsafe_code, reason = "a C library")]
    unsafe fn connect(&mut self, remote: OwnedFd, node: u32, fps: u32) -> Result<(), String> {
        let functions = self.functions;
        // SAFETY: the caller holds the lock; the handles are the library's own. `listening` is in a box that lives longer
        // than the stream (see `drop`), so the hook, the events and the data stay where they are. The formats live until
        // the call that copies them returns.
        unsafe {
            // The socket is the library's from here on, whatever comes of it.
            self.core = made((functions.pw_context_connect_fd)(self.context, remote.into_raw_fd(), null_mut(), 0))?;
            let about = c"media.type=Video media.category=Capture media.role=Screen";
            let about = (functions.pw_properties_new_string)(about.as_ptr());
            self.stream = made((functions.pw_stream_new)(self.core, c"twocan shared screen".as_ptr(), about))?;
            self.listening.stream.store(self.stream, Ordering::Release);
            let data = (&raw const *self.listening).cast_mut().cast();
            let hook = self.listening.hook.get();
            (functions.pw_stream_add_listener)(self.stream, hook, &raw const self.listening.events, data);
            let offers = [offer(Some(fps)), offer(None)];
            let offers = [offers[0].as_ptr(), offers[1].as_ptr()];
            let flags = AUTOCONNECT | MAP_BUFFERS | DONT_RECONNECT;
            done((functions.pw_stream_connect)(self.stream, INPUT, node, flags, offers.as_ptr(), 2))
        }
    }

    /// The latest picture if nobody has taken it, or in any case if `fresh`. `Err`: there will be no more, and why.
    pub(super) fn take(&self, fresh: bool) -> Result<Option<Raw>, String> {
        let _locked = Locked::new(self);
        let mut state = self.listening.state();
        if let Some(over) = &state.over {
            return Err(over.clone());
        }
        let (true, Some(format)) = (state.new || fresh, state.format) else { return Ok(None) };
        if state.held.is_null() {
            return Ok(None);
        }
        state.new = false;
        #[expect(unsafe_code, reason = "pictures lie in memory of the library's")]
        // SAFETY: the buffer was dequeued and not yet given back, and was not removed (see `remove_buffer`), which could
        // not happen now, because the lock is held.
        Ok(unsafe { read(state.held, format) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let functions = self.functions;
        #[expect(unsafe_code, reason = "a C library")]
        // SAFETY: the thread ends first, without its lock being held; then nobody but this uses the handles, each of which
        // is destroyed once, the ones that are made of others first. The listening box is dropped after this.
        unsafe {
            if !self.thread.is_null() {
                (functions.pw_thread_loop_stop)(self.thread);
            }
            if !self.stream.is_null() {
                (functions.pw_stream_destroy)(self.stream);
            }
            if !self.core.is_null() {
                (functions.pw_core_disconnect)(self.core);
            }
            if !self.context.is_null() {
                (functions.pw_context_destroy)(self.context);
            }
            if !self.thread.is_null() {
                (functions.pw_thread_loop_destroy)(self.thread);
            }
        }
    }
}

/// The lock of the stream's thread.
struct Locked<'a>(&'a Stream);

impl<'a> Locked<'a> {
    fn new(stream: &'a Stream) -> Self {
        #[expect(unsafe_code, reason = "a C library")]
        // SAFETY: the thread loop lives as long as the stream, and is unlocked by `drop` in this same thread.
        unsafe {
            (stream.functions.pw_thread_loop_lock)(stream.thread);
        }
        Self(stream)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "a C library")]
        // SAFETY: it was locked by this thread.
        unsafe {
            (self.0.functions.pw_thread_loop_unlock)(self.0.thread);
        }
    }
}

fn made(handle: Handle) -> Result<Handle, String> {
    if handle.is_null() { Err(failed(&std::io::Error::last_os_error())) } else { Ok(handle) }
}

fn done(result: c_int) -> Result<(), String> {
    if result < 0 { Err(failed(&std::io::Error::from_raw_os_error(-result))) } else { Ok(()) }
}

fn failed(error: &std::io::Error) -> String {
    format!("PipeWire does not bring the screen's picture ({error})")
}

/// What can be taken; with a limit to the pictures a second, which not every compositor understands.
fn offer(fps: Option<u32>) -> Pod {
    let any = Value::Fraction(ANY_RATE, 1);
    let mut wanted = vec![
        (MEDIA_TYPE, Property::Is(Value::Id(TYPE_VIDEO))),
        (MEDIA_SUBTYPE, Property::Is(Value::Id(SUBTYPE_RAW))),
        (VIDEO_FORMAT, Property::OneOf([BGRX, BGRA, RGBX, RGBA].map(Value::Id).to_vec())),
        (
            VIDEO_SIZE,
            Property::Between(
                Value::Rectangle(1920, 1080),
                Value::Rectangle(1, 1),
                Value::Rectangle(MAX_RAW_SIDE, MAX_RAW_SIDE),
            ),
        ),
        // Zero stands for "when something changes".
        (VIDEO_RATE, Property::Between(Value::Fraction(0, 1), Value::Fraction(0, 1), any)),
    ];
    if let Some(fps) = fps {
        let most = Value::Fraction(fps.max(1), 1);
        wanted.push((VIDEO_MAX_RATE, Property::Between(most, Value::Fraction(1, 1), most)));
    }
    Pod::object(OBJECT_FORMAT, ENUM_FORMAT, &wanted)
}

/// The buffers that are wanted once the format is known: plain memory, with notes on what of them is the picture.
fn buffers() -> [Pod; 4] {
    let count = Property::Between(Value::Int(WISHED_BUFFERS), Value::Int(LEAST_BUFFERS), Value::Int(MOST_BUFFERS));
    let meta = |kind: u32, size: i32| {
        let wanted = [(META_TYPE, Property::Is(Value::Id(kind))), (META_SIZE, Property::Is(Value::Int(size)))];
        Pod::object(OBJECT_META, META, &wanted)
    };
    [
        Pod::object(
            OBJECT_BUFFERS,
            BUFFERS,
            &[
                (BUFFERS_COUNT, count),
                (BUFFERS_BLOCKS, Property::Is(Value::Int(1))),
                (BUFFERS_TYPES, Property::Bits(1 << MEM_PTR | 1 << MEM_FD)),
            ],
        ),
        meta(frame::HEADER, 32),
        meta(frame::CROP, 16),
        meta(frame::TRANSFORM, 4),
    ]
}

/// The format that was agreed on, if it is one of those that were offered.
fn agreed(bytes: &[u8]) -> Option<Format> {
    let found = properties(bytes)?;
    let value = |key: u32| found.iter().find(|(k, _)| *k == key).map(|(_, value)| *value);
    let order = match value(VIDEO_FORMAT)? {
        Value::Id(BGRX | BGRA) => Order::Bgr,
        Value::Id(RGBX | RGBA) => Order::Rgb,
        _ => return None,
    };
    match value(VIDEO_SIZE)? {
        Value::Rectangle(width, height) if width <= MAX_RAW_SIDE && height <= MAX_RAW_SIDE => {
            Some(Format { width, height, order })
        }
        _ => None,
    }
}

/// The listening box of a callback.
///
/// # Safety
/// `data` is what [`Stream::connect`] gave to the library, and the stream lives.
#[expect(unsafe_code, reason = "a C library calls back with a pointer")]
unsafe fn listening<'a>(data: Handle) -> &'a Listening {
    // SAFETY: the box outlives the stream that calls back, and all of it that changes is behind locks or cells that only
    // the library touches.
    unsafe { &*data.cast::<Listening>() }
}

#[expect(unsafe_code, reason = "called by a C library")]
unsafe extern "C" fn state_changed(data: Handle, old: c_int, new: c_int, error: *const c_char) {
    // SAFETY: the library calls with the data that it was given.
    let listening = unsafe { listening(data) };
    if new == STATE_ERROR || (new == STATE_UNCONNECTED && old > STATE_UNCONNECTED) {
        let text = if error.is_null() {
            String::new()
        } else {
            // SAFETY: a text of the library's, ended by a zero, that lives during this call.
            unsafe { CStr::from_ptr(error) }.to_string_lossy().chars().take(super::super::MAX_TITLE).collect()
        };
        tracing::debug!(text, "the stream of the shared screen ended");
        listening.state().over.get_or_insert(super::ENDED.into());
    }
}

#[expect(unsafe_code, reason = "called by a C library")]
unsafe extern "C" fn param_changed(data: Handle, parameter: u32, pod: *const u32) {
    // SAFETY: the library calls with the data that it was given.
    let listening = unsafe { listening(data) };
    if parameter != FORMAT {
        return;
    }
    let format = if pod.is_null() {
        None
    } else {
        // SAFETY: a pod begins with the length of its body in bytes, which follows its head of eight bytes.
        let bytes = unsafe {
            let len = (*pod as usize).saturating_add(8).min(MAX_POD);
            std::slice::from_raw_parts(pod.cast::<u8>(), len)
        };
        agreed(bytes)
    };
    listening.state().format = format;
    if format.is_some() {
        let wanted = buffers();
        let wanted = wanted.each_ref().map(Pod::as_ptr);
        // SAFETY: the stream lives, because it calls; this is its own thread. What is pointed at lives during the call.
        unsafe {
            let stream = listening.stream.load(Ordering::Acquire);
            (listening.functions.pw_stream_update_params)(stream, wanted.as_ptr(), wanted.len() as u32);
        }
    }
}

#[expect(unsafe_code, reason = "called by a C library")]
unsafe extern "C" fn remove_buffer(data: Handle, buffer: *mut Buffer) {
    // SAFETY: the library calls with the data that it was given.
    let listening = unsafe { listening(data) };
    let mut state = listening.state();
    if state.held == buffer {
        (state.held, state.new) = (null_mut(), false);
    }
}

#[expect(unsafe_code, reason = "called by a C library")]
unsafe extern "C" fn process(data: Handle) {
    // SAFETY: the library calls with the data that it was given. The stream lives, because it calls; this is its thread.
    // A buffer that was dequeued is ours until it is queued again, which happens once to each.
    unsafe {
        let listening = listening(data);
        let functions = listening.functions;
        let stream = listening.stream.load(Ordering::Acquire);
        loop {
            let next = (functions.pw_stream_dequeue_buffer)(stream);
            if next.is_null() {
                return;
            }
            let old = if frame::whole(next) {
                let mut state = listening.state();
                state.new = true;
                std::mem::replace(&mut state.held, next)
            } else {
                next
            };
            if !old.is_null() {
                (functions.pw_stream_queue_buffer)(stream, old);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_formats_that_were_offered_are_taken() {
        let fixed = |format: u32, width: u32| {
            let wanted = [
                (VIDEO_FORMAT, Property::Is(Value::Id(format))),
                (VIDEO_SIZE, Property::Is(Value::Rectangle(width, 720))),
            ];
            agreed(&Pod::object(OBJECT_FORMAT, FORMAT, &wanted).bytes())
        };
        assert_eq!(fixed(BGRX, 1280), Some(Format { width: 1280, height: 720, order: Order::Bgr }));
        assert_eq!(fixed(RGBA, 16), Some(Format { width: 16, height: 720, order: Order::Rgb }));
        assert_eq!(fixed(2, 1280), None, "planes of YUV were not offered");
        assert_eq!(fixed(BGRX, MAX_RAW_SIDE + 1), None);
        let first = agreed(&offer(Some(12)).bytes()).unwrap();
        assert_eq!((first.width, first.height, first.order), (1920, 1080, Order::Bgr));
    }
}
