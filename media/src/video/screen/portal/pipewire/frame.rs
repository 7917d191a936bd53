//! One picture out of a buffer that a compositor filled: what of the memory is the picture is checked before any of it is
//! read.

use std::ffi::c_void;

use super::super::super::pixels::{Order, PIXEL};
use super::library::{Buffer, Chunk};
use super::{MEM_FD, MEM_PTR};
use crate::video::Turn;

/// `SPA_META_…` (`spa/buffer/meta.h`).
pub(super) const HEADER: u32 = 1;
pub(super) const CROP: u32 = 2;
pub(super) const TRANSFORM: u32 = 8;
/// `SPA_CHUNK_FLAG_CORRUPTED`, `SPA_META_HEADER_FLAG_CORRUPTED`.
const CHUNK_CORRUPTED: i32 = 1;
const HEADER_CORRUPTED: u32 = 1 << 1;
/// More notes than any buffer has.
const MAX_METAS: usize = 32;

/// What a stream's pictures are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Format {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) order: Order,
}

/// A picture as it was copied out: tight rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in super::super) struct Raw {
    pub(in super::super) pixels: Vec<u8>,
    pub(in super::super) width: u32,
    pub(in super::super) height: u32,
    pub(in super::super) order: Order,
    /// How it is to be turned to stand upright.
    pub(in super::super) turn: Turn,
}

/// Where in the memory the rows of the picture are, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rows {
    first: usize,
    stride: usize,
    len: usize,
    count: usize,
}

/// Whether the buffer has a whole picture. A compositor passes empty ones when only the pointer has changed, or when it
/// failed to copy.
///
/// # Safety
/// The buffer was dequeued and is not queued again during the call.
#[expect(unsafe_code, reason = "structures of a C library")]
pub(super) unsafe fn whole(buffer: *mut Buffer) -> bool {
    // SAFETY: a dequeued buffer has valid arrays of as many entries as it says, and each of its data has a chunk.
    unsafe {
        let Some((_, chunk)) = data(buffer) else { return false };
        let header = meta::<u32>(buffer, HEADER).is_some_and(|flags| flags & HEADER_CORRUPTED != 0);
        chunk.size > 0 && chunk.flags & CHUNK_CORRUPTED == 0 && !header
    }
}

/// Copies the picture out. `None`: there is none in it.
///
/// # Safety
/// As of [`whole`].
#[expect(unsafe_code, reason = "structures of a C library")]
pub(super) unsafe fn read(buffer: *mut Buffer, format: Format) -> Option<Raw> {
    // SAFETY: as above; the memory has `memory.len` readable bytes, within which `rows` stays. It may change while it is
    // copied, which spoils a picture but nothing else: bytes are bytes.
    unsafe {
        let (memory, chunk) = data(buffer)?;
        let crop = meta::<[u32; 4]>(buffer, CROP);
        let (rows, (width, height)) = rows(&format, chunk, memory.len, crop)?;
        let mut pixels = vec![0; rows.len * rows.count];
        for (index, row) in pixels.chunks_exact_mut(rows.len).enumerate() {
            let from = memory.start.cast::<u8>().add(rows.first + index * rows.stride);
            std::ptr::copy_nonoverlapping(from, row.as_mut_ptr(), rows.len);
        }
        let turn = turn(meta::<u32>(buffer, TRANSFORM).unwrap_or_default());
        Some(Raw { pixels, width, height, order: format.order, turn })
    }
}

struct Memory {
    start: *const c_void,
    len: usize,
}

/// The memory of a buffer, and what of it was filled.
#[expect(unsafe_code, reason = "structures of a C library")]
unsafe fn data(buffer: *mut Buffer) -> Option<(Memory, Chunk)> {
    // SAFETY: the callers' word; what may be null is checked.
    unsafe {
        let buffer = buffer.as_ref()?.buffer.as_ref()?;
        if buffer.n_datas == 0 {
            return None;
        }
        let data = buffer.datas.as_ref()?;
        let chunk = *data.chunk.as_ref()?;
        let mapped = matches!(data.kind, MEM_PTR | MEM_FD) && !data.data.is_null();
        mapped.then_some((Memory { start: data.data, len: data.maxsize as usize }, chunk))
    }
}

/// A note on a buffer, if it is there.
#[expect(unsafe_code, reason = "structures of a C library")]
unsafe fn meta<T: Copy>(buffer: *mut Buffer, kind: u32) -> Option<T> {
    // SAFETY: the callers' word; what may be null or too short is checked. `T` is made of plain numbers.
    unsafe {
        let buffer = buffer.as_ref()?.buffer.as_ref()?;
        for index in 0..(buffer.n_metas as usize).min(MAX_METAS) {
            let meta = buffer.metas.add(index).as_ref()?;
            if meta.kind == kind && meta.size as usize >= size_of::<T>() && !meta.data.is_null() {
                return Some(meta.data.cast::<T>().read_unaligned());
            }
        }
        None
    }
}

/// Where the rows are and how large the picture is, if all of it lies within the memory. The crop is x, y, width, height;
/// without width or height it is none.
fn rows(format: &Format, chunk: Chunk, memory: usize, crop: Option<[u32; 4]>) -> Option<(Rows, (u32, u32))> {
    let row = format.width as usize * PIXEL;
    let stride = match usize::try_from(chunk.stride) {
        Ok(0) => row,
        Ok(stride) => stride,
        // Rows from below to above: no compositor sends them.
        Err(_) => return None,
    };
    let whole = [0, 0, format.width, format.height];
    let crop = crop.filter(|[.., width, height]| *width > 0 && *height > 0).unwrap_or(whole);
    let [left, top, width, height] = crop.map(|side| side as usize);
    let inside =
        left.checked_add(width)? <= format.width as usize && top.checked_add(height)? <= format.height as usize;
    if !inside || stride < row || width < 2 || height < 2 {
        return None;
    }
    let offset = (chunk.offset as usize).checked_rem(memory)?;
    let first = offset.checked_add(top.checked_mul(stride)?)?.checked_add(left * PIXEL)?;
    let len = width * PIXEL;
    let end = first.checked_add((height - 1).checked_mul(stride)?)?.checked_add(len)?;
    (end <= memory).then_some((Rows { first, stride, len, count: height }, (crop[2], crop[3])))
}

/// How a picture is turned to stand upright, if the compositor says that it lies (`enum spa_meta_videotransform_value`):
/// the way back, which for its quarter turns against the clock is one with the clock. Mirrored ones stay mirrored.
fn turn(transform: u32) -> Turn {
    match transform & 3 {
        1 => Turn::Quarter,
        2 => Turn::Half,
        3 => Turn::ThreeQuarters,
        _ => Turn::None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMAT: Format = Format { width: 64, height: 32, order: Order::Bgr };

    fn chunk(offset: u32, stride: i32) -> Chunk {
        Chunk { offset, size: 1, stride, flags: 0 }
    }

    #[test]
    fn rows_are_where_the_chunk_says() {
        let memory = 64 * 4 * 32;
        let whole = Rows { first: 0, stride: 256, len: 256, count: 32 };
        assert_eq!(rows(&FORMAT, chunk(0, 256), memory, None), Some((whole, (64, 32))));
        assert_eq!(rows(&FORMAT, chunk(0, 0), memory, Some([5, 5, 0, 0])), Some((whole, (64, 32))));
        let wide = rows(&FORMAT, chunk(16, 300), 16 + 300 * 32, None).unwrap().0;
        assert_eq!((wide.first, wide.stride, wide.len), (16, 300, 256));
        let (part, size) = rows(&FORMAT, chunk(0, 256), memory, Some([8, 4, 20, 10])).unwrap();
        assert_eq!(part, Rows { first: 4 * 256 + 32, stride: 256, len: 80, count: 10 });
        assert_eq!(size, (20, 10));
    }

    #[test]
    fn nothing_outside_of_the_memory_is_read() {
        let memory = 64 * 4 * 32;
        assert_eq!(rows(&FORMAT, chunk(4, 256), memory, None), None);
        assert_eq!(rows(&FORMAT, chunk(0, 256), memory - 1, None), None);
        assert_eq!(rows(&FORMAT, chunk(0, 255), memory, None), None);
        assert_eq!(rows(&FORMAT, chunk(0, -256), memory, None), None);
        assert_eq!(rows(&FORMAT, chunk(0, 256), 0, None), None);
        assert_eq!(rows(&FORMAT, chunk(0, i32::MAX), memory, None), None);
        for crop in [[60, 0, 5, 5], [0, 30, 5, 5], [u32::MAX, 0, 2, 2], [0, u32::MAX, 2, u32::MAX], [0, 0, 1, 1]] {
            assert_eq!(rows(&FORMAT, chunk(0, 256), memory, Some(crop)), None, "{crop:?}");
        }
    }
}
