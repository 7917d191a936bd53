//! PipeWire's own library, opened when it is needed: this program is built without it and runs without it, and only who
//! shares a screen under Wayland needs it.
//!
//! The functions are those of `pipewire/stream.h` and its neighbours, whose binary interface has been the same since
//! version 0.3 (2020). Handles are opaque here.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use libloading::Library;

/// The library's name, which stands for its binary interface.
const NAME: &str = "libpipewire-0.3.so.0";

/// Something of the library's.
pub(super) type Handle = *mut c_void;

/// `struct spa_hook`: a place in the list of listeners; nothing of it is read here.
#[repr(C)]
pub(super) struct Hook([Handle; 6]);

impl Hook {
    pub(super) const EMPTY: Self = Self([std::ptr::null_mut(); 6]);
}

/// `struct pw_stream_events`, version 0: all that is listened to was there from the beginning.
#[repr(C)]
pub(super) struct Events {
    pub(super) version: u32,
    pub(super) destroy: Option<unsafe extern "C" fn(Handle)>,
    pub(super) state_changed: Option<unsafe extern "C" fn(Handle, c_int, c_int, *const c_char)>,
    pub(super) control_info: Option<unsafe extern "C" fn(Handle, u32, Handle)>,
    pub(super) io_changed: Option<unsafe extern "C" fn(Handle, u32, Handle, u32)>,
    pub(super) param_changed: Option<unsafe extern "C" fn(Handle, u32, *const u32)>,
    pub(super) add_buffer: Option<unsafe extern "C" fn(Handle, *mut Buffer)>,
    pub(super) remove_buffer: Option<unsafe extern "C" fn(Handle, *mut Buffer)>,
    pub(super) process: Option<unsafe extern "C" fn(Handle)>,
    pub(super) drained: Option<unsafe extern "C" fn(Handle)>,
}

/// `struct pw_buffer`; it has more fields behind this one.
#[repr(C)]
pub(super) struct Buffer {
    pub(super) buffer: *mut SpaBuffer,
}

/// `struct spa_buffer`.
#[repr(C)]
pub(super) struct SpaBuffer {
    pub(super) n_metas: u32,
    pub(super) n_datas: u32,
    pub(super) metas: *mut Meta,
    pub(super) datas: *mut Data,
}

/// `struct spa_meta`.
#[repr(C)]
pub(super) struct Meta {
    pub(super) kind: u32,
    pub(super) size: u32,
    pub(super) data: *mut c_void,
}

/// `struct spa_data`.
#[repr(C)]
pub(super) struct Data {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) fd: i64,
    pub(super) mapoffset: u32,
    pub(super) maxsize: u32,
    pub(super) data: *mut c_void,
    pub(super) chunk: *mut Chunk,
}

/// `struct spa_chunk`.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) offset: u32,
    pub(super) size: u32,
    pub(super) stride: i32,
    pub(super) flags: i32,
}

macro_rules! functions {
    ($($(#[doc = $doc:literal])* $name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        /// The functions that are used, under their own names.
        pub(super) struct Functions {
            $($(#[doc = $doc])* pub(super) $name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            fn load(library: &Library) -> Result<Self, libloading::Error> {
                #[expect(unsafe_code, reason = "functions of a C library have the types that its headers say")]
                // SAFETY: each type is the one of the function in PipeWire's headers. The library is never closed (see
                // `functions`), so the functions stay where they are.
                unsafe {
                    Ok(Self { $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)* })
                }
            }
        }
    };
}

functions! {
    pw_init: fn(*mut c_int, *mut *mut *mut c_char);
    pw_properties_new_string: fn(*const c_char) -> Handle;
    /// Name, properties (`const struct spa_dict *`).
    pw_thread_loop_new: fn(*const c_char, *const c_void) -> Handle;
    pw_thread_loop_get_loop: fn(Handle) -> Handle;
    pw_thread_loop_start: fn(Handle) -> c_int;
    pw_thread_loop_stop: fn(Handle);
    pw_thread_loop_lock: fn(Handle);
    pw_thread_loop_unlock: fn(Handle);
    pw_thread_loop_destroy: fn(Handle);
    /// Loop, properties (taken), size of user data.
    pw_context_new: fn(Handle, Handle, usize) -> Handle;
    /// Context, socket (taken), properties (taken), size of user data.
    pw_context_connect_fd: fn(Handle, c_int, Handle, usize) -> Handle;
    pw_context_destroy: fn(Handle);
    pw_core_disconnect: fn(Handle) -> c_int;
    /// Core, name, properties (taken).
    pw_stream_new: fn(Handle, *const c_char, Handle) -> Handle;
    pw_stream_add_listener: fn(Handle, *mut Hook, *const Events, Handle);
    /// Stream, direction, node, flags, parameters, how many.
    pw_stream_connect: fn(Handle, c_int, u32, c_int, *const *const u64, u32) -> c_int;
    pw_stream_update_params: fn(Handle, *const *const u64, u32) -> c_int;
    pw_stream_dequeue_buffer: fn(Handle) -> *mut Buffer;
    pw_stream_queue_buffer: fn(Handle, *mut Buffer) -> c_int;
    pw_stream_destroy: fn(Handle);
}

/// The library's functions, or why there are none, in words for the person.
pub(super) fn functions() -> Result<&'static Functions, String> {
    static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();
    let loaded = FUNCTIONS.get_or_init(|| {
        #[expect(unsafe_code, reason = "a library that is opened runs its initialisers")]
        // SAFETY: PipeWire's library has no initialisers that ask anything of who opens it.
        let library = unsafe { Library::new(NAME) }.map_err(|error| missing(&error))?;
        let functions = Functions::load(&library).map_err(|error| missing(&error))?;
        // It has threads and memory of its own: it stays.
        std::mem::forget(library);
        #[expect(unsafe_code, reason = "the library wants to be initialised")]
        // SAFETY: null stands for "no arguments of a command line", as the header says; this runs once.
        unsafe {
            (functions.pw_init)(std::ptr::null_mut(), std::ptr::null_mut());
        }
        Ok(functions)
    });
    loaded.as_ref().map_err(Clone::clone)
}

fn missing(error: &libloading::Error) -> String {
    tracing::debug!(%error, "PipeWire's library cannot be used");
    format!(
        "sharing a screen under Wayland needs PipeWire's library ({NAME}): install libpipewire-0.3-0 (Debian, Ubuntu), \
         pipewire-libs (Fedora) or libpipewire (Arch)"
    )
}
