//! Pixels from the X server: read by shared memory or over the socket, the pointer drawn in.

use x11rb::connection::Connection;
use x11rb::protocol::shm::{ConnectionExt as _, Seg};
use x11rb::protocol::xproto::{ConnectionExt as _, ImageFormat, ImageOrder, Screen as XScreen, Setup};
use x11rb::rust_connection::RustConnection;

use super::super::pixels::PIXEL;
use super::{Area, Error};

/// Whether the display has pixels that are understood here.
pub(super) fn check(setup: &Setup, screen: &XScreen) -> Result<(), Error> {
    let formats = setup.pixmap_formats.iter();
    let wide = formats.filter(|format| format.depth == screen.root_depth).any(|format| format.bits_per_pixel == 32);
    if matches!(screen.root_depth, 24 | 32) && wide && setup.image_byte_order == ImageOrder::LSB_FIRST {
        return Ok(());
    }
    Err(Error::Screen(format!("the display has {} bits of colour; 24 are needed", screen.root_depth)))
}

/// Memory shared with the X server.
struct Shared {
    segment: Seg,
    address: *mut libc::c_void,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone and is read only while a request that fills it is answered; moving it
// to another thread changes nothing.
#[expect(unsafe_code, reason = "a mapping is a pointer")]
unsafe impl Send for Shared {}

impl Shared {
    fn new(connection: &RustConnection, len: usize) -> Result<Self, Error> {
        let refused = |what: &str| Error::Screen(format!("{what}: {}", std::io::Error::last_os_error()));
        #[expect(unsafe_code, reason = "System V shared memory is what the X server takes from every program")]
        // SAFETY: plain system calls; the id is a new private segment, and the address is checked before it is used.
        let (id, address) = unsafe {
            let id = libc::shmget(libc::IPC_PRIVATE, len, libc::IPC_CREAT | 0o600);
            if id < 0 {
                return Err(refused("no shared memory"));
            }
            (id, libc::shmat(id, std::ptr::null(), libc::SHM_RDONLY))
        };
        let attached = address as isize != -1;
        let segment = connection.generate_id();
        let shared = match (&segment, u32::try_from(id)) {
            (Ok(segment), Ok(id)) if attached => {
                connection.shm_attach(*segment, id, false).map_err(Error::from).and_then(|cookie| Ok(cookie.check()?))
            }
            _ => Err(refused("no shared memory")),
        };
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the segment is marked to go when nobody has it any more; a mapping that nobody will use is undone.
        unsafe {
            libc::shmctl(id, libc::IPC_RMID, std::ptr::null_mut());
            if attached && shared.is_err() {
                libc::shmdt(address);
            }
        }
        shared?;
        Ok(Self { segment: segment?, address, len })
    }

    fn bytes(&self, len: usize) -> Vec<u8> {
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the mapping has `self.len` readable bytes and lives as long as `self`. The server has answered the
        // request that fills it, and gets no other before these bytes are copied.
        let bytes = unsafe { std::slice::from_raw_parts(self.address.cast::<u8>(), len.min(self.len)) };
        bytes.to_vec()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "as above")]
        // SAFETY: the address came from shmat and is not used after this.
        unsafe {
            libc::shmdt(self.address);
        }
    }
}

/// Reads pixels.
pub(super) struct Images {
    shared: Option<Shared>,
    /// The server takes shared memory: it is on this machine.
    here: bool,
}

impl Images {
    pub(super) fn new(connection: &RustConnection) -> Result<Self, Error> {
        Ok(Self { shared: None, here: connection.shm_query_version()?.reply().is_ok() })
    }

    /// The pixels of an area of a window or pixmap, tight rows.
    pub(super) fn read(&mut self, connection: &RustConnection, from: u32, area: Area) -> Result<Vec<u8>, Error> {
        let Area { x, y, width, height } = area;
        let len = usize::from(width) * usize::from(height) * PIXEL;
        if self.here && self.shared.as_ref().is_none_or(|shared| shared.len < len) {
            self.release(connection);
            match Shared::new(connection, len) {
                Ok(shared) => self.shared = Some(shared),
                Err(error) => {
                    tracing::debug!(%error, "the screen is read over the socket");
                    self.here = false;
                }
            }
        }
        if let Some(shared) = &self.shared {
            let format = ImageFormat::Z_PIXMAP.into();
            connection.shm_get_image(from, x, y, width, height, !0, format, shared.segment, 0)?.reply()?;
            return Ok(shared.bytes(len));
        }
        let data = connection.get_image(ImageFormat::Z_PIXMAP, from, x, y, width, height, !0)?.reply()?.data;
        if data.len() == len {
            Ok(data)
        } else {
            Err(Error::Screen("the display gives a picture of another size".into()))
        }
    }

    /// Gives the memory back.
    pub(super) fn release(&mut self, connection: &RustConnection) {
        if let Some(shared) = self.shared.take()
            && let Ok(cookie) = connection.shm_detach(shared.segment)
        {
            cookie.ignore_error();
        }
    }
}

/// The pointer, relative to what is read.
pub(super) struct Pointer {
    pub(super) x: i32,
    pub(super) y: i32,
    pub(super) width: usize,
    /// Alpha, red, green, blue; premultiplied.
    pub(super) pixels: Vec<u32>,
}

/// Draws the pointer into pixels of so many a row; what lies outside is left out.
pub(super) fn draw(pixels: &mut [u8], width: usize, pointer: &Pointer) {
    let rows = pointer.pixels.chunks(pointer.width.max(1));
    for (row, colours) in rows.enumerate() {
        let Ok(y) = usize::try_from(i64::from(pointer.y) + row as i64) else { continue };
        for (column, colour) in colours.iter().enumerate() {
            let Ok(x) = usize::try_from(i64::from(pointer.x) + column as i64) else { continue };
            if x >= width {
                break;
            }
            let Some(pixel) = pixels.get_mut((y * width + x) * PIXEL..).and_then(|rest| rest.get_mut(..3)) else {
                return;
            };
            let [alpha, red, green, blue] = colour.to_be_bytes();
            let rest = 255 - u32::from(alpha);
            for (below, above) in pixel.iter_mut().zip([blue, green, red]) {
                let mixed = u32::from(above) + (u32::from(*below) * rest + 127) / 255;
                *below = u8::try_from(mixed).unwrap_or(u8::MAX);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pointer_is_mixed_in_and_cut_at_the_edges() {
        let mut pixels = vec![100; 4 * 3 * PIXEL];
        let opaque = 0xff00_00ff;
        let half = 0x8000_0080;
        let pointer = Pointer { x: -1, y: 1, width: 2, pixels: vec![opaque, opaque, opaque, half, opaque, opaque] };
        draw(&mut pixels, 4, &pointer);
        let at = |x: usize, y: usize| &pixels[(y * 4 + x) * PIXEL..][..3];
        assert_eq!(at(0, 0), [100, 100, 100]);
        assert_eq!(at(0, 1), [255, 0, 0]);
        assert_eq!(at(0, 2), [128 + 50, 50, 50]);
        assert_eq!(at(1, 1), [100, 100, 100]);
        for (x, y) in [(i32::MAX, i32::MAX), (i32::MIN, 0), (0, i32::MIN), (100, -5)] {
            draw(&mut pixels, 4, &Pointer { x, y, width: 0, pixels: vec![opaque; 9] });
        }
    }
}
