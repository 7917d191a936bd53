//! The demo as a story: what happens, told as it happens, with the time since the beginning.

use std::time::Instant;

use crate::exit::Failure;
use crate::format::{Colour, Style};
use crate::output::Out;

/// Tells what happens; says nothing when only the numbers are wanted.
pub struct Story<'a> {
    out: &'a mut Out,
    begin: Instant,
    quiet: bool,
}

impl<'a> Story<'a> {
    /// A story that begins now.
    pub fn new(out: &'a mut Out, quiet: bool) -> Self {
        Self { out, begin: Instant::now(), quiet }
    }

    /// One thing that happened.
    pub fn tell(&mut self, text: &str) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let style = Style::of(self.out);
        let time = style.paint(Colour::Dim, &format!("{:7.3} s", self.begin.elapsed().as_secs_f64()));
        self.out.line(&format!("{time}  {text}"))
    }

    /// A heading.
    pub fn chapter(&mut self, text: &str) -> Result<(), Failure> {
        if self.quiet {
            return Ok(());
        }
        let style = Style::of(self.out);
        self.out.line(&format!("\n{}", style.paint(Colour::Bold, text)))
    }

    /// Whether somebody listens.
    pub fn heard(&self) -> bool {
        !self.quiet
    }

    /// The same story, silent: for repetitions.
    pub fn silent(&mut self) -> Story<'_> {
        Story { out: &mut *self.out, begin: self.begin, quiet: true }
    }

    /// Where it is told.
    pub fn out(&mut self) -> &mut Out {
        self.out
    }
}
