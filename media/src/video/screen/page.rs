//! A page of text that scrolls by itself: what a test, a bench or a person without a display shares instead of a screen.
//!
//! Picture `number` of one seed is always the same, and carries the [`Tag`] of its number in the corner, so that who
//! receives it can draw what was sent and compare.

use std::sync::Arc;

use super::super::moving::{self, Tag};
use super::super::picture::{Picture, SizeError};
use super::font::GLYPHS;
use super::{Error, Grab, Grabbed};

/// Size of the page, in pixels.
pub const SIZE: (u32, u32) = (1280, 720);
/// Time between two changes.
const EVERY_NS: u64 = 500_000_000;
/// Pixels of a dot of a letter; letters have five by seven dots.
const DOT: usize = 2;
/// Pixels from one letter to the next and from one line to the next.
const ADVANCE: usize = 6 * DOT;
const LINE: usize = 10 * DOT;
/// Around the text.
const MARGIN: usize = 24;
/// Words of the page.
const WORDS: [&str; 32] = [
    "the", "screen", "of", "a", "friend", "shows", "letters", "which", "one", "reads", "while", "talking", "Each",
    "line", "has", "its", "own", "number", "and", "nothing", "here", "was", "ever", "said", "by", "anybody:", "it",
    "(only)", "moves", "upwards;", "then", "again.",
];

/// Draws the pages of one seed.
#[derive(Clone, Debug)]
pub struct Page {
    seed: u64,
    width: u32,
    height: u32,
}

impl Page {
    /// A page of [`SIZE`].
    pub fn new(seed: u64) -> Result<Self, SizeError> {
        super::super::picture::check_size(SIZE.0, SIZE.1)?;
        Ok(Self { seed, width: SIZE.0, height: SIZE.1 })
    }

    /// The page after `number` changes, captured at `time_ns`.
    pub fn draw(&self, number: u64, time_ns: u64) -> Result<Picture, SizeError> {
        let mut picture = self.draw_tagged(Tag::new(number, time_ns))?;
        picture.time_ns = time_ns;
        Ok(picture)
    }

    /// The page that carries this tag: what a receiver compares with.
    pub fn draw_tagged(&self, tag: Tag) -> Result<Picture, SizeError> {
        let mut picture = Picture::filled(self.width, self.height, (235, 128, 128))?;
        let (width, height) = (self.width as usize, self.height as usize);
        let columns = (width - 2 * MARGIN) / ADVANCE;
        for row in 0..(height - 2 * MARGIN) / LINE {
            let line = self.line(u64::from(tag.number) + row as u64, columns);
            for (column, letter) in line.bytes().enumerate() {
                write(&mut picture, (MARGIN + column * ADVANCE, MARGIN + row * LINE), letter);
            }
        }
        moving::stamp(&mut picture, tag);
        Ok(picture)
    }

    /// Line `number` of the endless text.
    fn line(&self, number: u64, columns: usize) -> String {
        let mut state = (self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) | 1;
        let mut line = format!("{number:>5}  ");
        loop {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let word = WORDS[(state >> 40) as usize % WORDS.len()];
            if line.len() + word.len() + 1 > columns {
                return line;
            }
            line.push_str(word);
            line.push(' ');
        }
    }
}

/// Writes one letter in black.
fn write(picture: &mut Picture, (left, top): (usize, usize), letter: u8) {
    let Some(columns) = GLYPHS.get(usize::from(letter.wrapping_sub(b' '))) else { return };
    let width = picture.width() as usize;
    for (x, bits) in columns.iter().enumerate() {
        for y in (0..7).filter(|y| bits >> y & 1 == 1) {
            for row in top + y * DOT..top + (y + 1) * DOT {
                let from = row * width + left + x * DOT;
                if let Some(dots) = picture.y.get_mut(from..from + DOT) {
                    dots.fill(16);
                }
            }
        }
    }
}

/// The page as it is shared: it moves up by a line twice a second.
#[derive(Debug)]
pub(super) struct Scrolling {
    page: Arc<Page>,
    started: Option<u64>,
    given: Option<u64>,
}

impl Scrolling {
    pub(super) fn new(seed: u64) -> Result<Self, Error> {
        Ok(Self { page: Arc::new(Page::new(seed)?), started: None, given: None })
    }
}

impl Grab for Scrolling {
    fn grab(&mut self, now_ns: u64) -> Result<Grabbed, Error> {
        let started = *self.started.get_or_insert(now_ns);
        let number = now_ns.saturating_sub(started) / EVERY_NS;
        if self.given.replace(number) == Some(number) {
            return Ok(Grabbed::Same);
        }
        Ok(Grabbed::New(self.page.draw(number, now_ns)?))
    }

    fn fresh(&mut self) {
        self.given = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_legible_numbered_and_the_same_for_the_same_seed() {
        let page = Page::new(1).unwrap();
        let first = page.draw(5, 7_000_000).unwrap();
        assert_eq!(first, page.draw(5, 7_000_000).unwrap());
        assert_ne!(first, page.draw(6, 7_000_000).unwrap());
        assert_ne!(first, Page::new(2).unwrap().draw(5, 7_000_000).unwrap());
        assert_eq!(Tag::read(&first).map(|tag| tag.number), Some(5));
        let dark = first.luma().iter().filter(|&&luma| luma < 60).count();
        assert!((30_000..300_000).contains(&dark), "{dark} dark pixels");
    }

    #[test]
    fn lines_move_up_by_one_and_end_within_the_page() {
        let page = Page::new(3).unwrap();
        let columns = (SIZE.0 as usize - 2 * MARGIN) / ADVANCE;
        for number in 0..200 {
            let line = page.line(number, columns);
            assert!(line.len() <= columns && line.is_ascii(), "{line}");
        }
        let (a, b) = (page.draw(10, 0).unwrap(), page.draw(11, 0).unwrap());
        let row = |picture: &Picture, line: usize| {
            let from = (MARGIN + line * LINE) * SIZE.0 as usize;
            picture.luma()[from..from + SIZE.0 as usize * LINE].to_vec()
        };
        assert_eq!(row(&a, 20), row(&b, 19));
    }

    #[test]
    fn nothing_new_is_given_between_two_changes() {
        let mut scrolling = Scrolling::new(1).unwrap();
        let mut new = |ms: u64| matches!(scrolling.grab(ms * 1_000_000), Ok(Grabbed::New(_)));
        assert_eq!([0, 100, 499, 500, 900, 5000].map(&mut new), [true, false, false, true, false, true]);
        scrolling.fresh();
        assert!(matches!(scrolling.grab(5_000_000_001), Ok(Grabbed::New(_))));
    }
}
