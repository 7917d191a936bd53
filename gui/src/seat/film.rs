//! The latest picture of a stream, ready for the window: turned into the window's colours on the thread that decoded it,
//! so that the thread that draws only hands it to the graphics library.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use eframe::egui::{Color32, ColorImage};
use twocan_media::video::{Picture, Tap};

use crate::worker::Wake;

/// A picture as the window draws it.
#[derive(Debug)]
pub struct Shot {
    /// Its pixels.
    pub image: ColorImage,
    /// When it was due to be seen ([`twocan_media::now_ns`]).
    pub due_ns: u64,
    /// How many there were up to this one.
    pub number: u64,
}

/// The pictures of one stream. Clones are the same.
#[derive(Clone)]
pub struct Film {
    inner: Arc<Inner>,
}

struct Inner {
    latest: Mutex<Option<Shot>>,
    number: AtomicU64,
    /// How many pixels wide it is shown; 0 while nobody looks.
    wanted: AtomicU32,
    wake: Wake,
}

impl std::fmt::Debug for Film {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Film").field("number", &self.count()).finish_non_exhaustive()
    }
}

impl Film {
    /// A film that calls `wake` with each new picture.
    #[must_use]
    pub fn new(wake: Wake) -> Self {
        let inner = Inner { latest: Mutex::default(), number: AtomicU64::new(0), wanted: AtomicU32::new(0), wake };
        Self { inner: Arc::new(inner) }
    }

    /// Where a receiver or sender puts its pictures.
    #[must_use]
    pub fn tap(&self) -> Tap {
        let film = self.clone();
        Tap::watched(move |picture, due_ns| film.put(picture, due_ns))
    }

    /// Takes a picture in. Runs on the thread that decoded it.
    pub fn put(&self, picture: &Picture, due_ns: u64) {
        let number = self.inner.number.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(image) = image(picture, self.inner.wanted.load(Ordering::Relaxed)) else { return };
        *self.inner.latest.lock().unwrap_or_else(PoisonError::into_inner) = Some(Shot { image, due_ns, number });
        (self.inner.wake)();
    }

    /// The latest picture, if there is one that was not taken yet.
    #[must_use]
    pub fn take(&self) -> Option<Shot> {
        self.inner.latest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Says how many pixels wide it is shown: pictures that are twice as large are halved before they reach the
    /// graphics library, by averaging, which looks better and costs less.
    pub fn shown_at(&self, pixels: f32) {
        self.inner.wanted.store(pixels.max(0.0) as u32, Ordering::Relaxed);
    }

    /// How many pictures there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.inner.number.load(Ordering::Relaxed)
    }
}

/// The pixels in the window's form, halved as often as it is shown at half of its size or less.
fn image(picture: &Picture, wanted: u32) -> Option<ColorImage> {
    let (width, height) = (picture.width(), picture.height());
    let halves = wanted > 0 && width >= 2 * wanted && width.is_multiple_of(4) && height.is_multiple_of(4);
    if halves && let Ok(half) = picture.scaled(width / 2, height / 2) {
        return image(&half, wanted);
    }
    let size = [width as usize, height as usize];
    let mut pixels = vec![Color32::BLACK; size[0] * size[1]];
    picture.write_rgba(bytemuck::cast_slice_mut(&mut pixels)).then(|| ColorImage::new(size, pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_taken_once_and_wakes_the_window() {
        let woken = Arc::new(AtomicU64::new(0));
        let counting = Arc::clone(&woken);
        let film = Film::new(Arc::new(move || {
            counting.fetch_add(1, Ordering::Relaxed);
        }));
        assert!(film.take().is_none());
        let white = Picture::filled(64, 36, (235, 128, 128)).unwrap();
        film.put(&white, 5);
        film.put(&white, 6);
        let shot = film.take().unwrap();
        assert_eq!((shot.due_ns, shot.number, shot.image.size), (6, 2, [64, 36]));
        assert!(shot.image.pixels.iter().all(|pixel| pixel.r() > 250 && pixel.a() == 255));
        assert!(film.take().is_none());
        assert_eq!(woken.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn a_large_picture_in_a_small_tile_is_halved() {
        let film = Film::new(Arc::new(|| ()));
        film.shown_at(300.0);
        film.put(&Picture::black(1280, 720).unwrap(), 0);
        assert_eq!(film.take().unwrap().image.size, [320, 180]);
        film.shown_at(700.0);
        film.put(&Picture::black(1280, 720).unwrap(), 0);
        assert_eq!(film.take().unwrap().image.size, [1280, 720]);
    }
}
