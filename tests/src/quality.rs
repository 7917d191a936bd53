//! `twocan bench quality`: how a call sounds and looks over bad networks, cell by cell of a grid.
//!
//! Two real nodes in a [`crate::lab`] and two real sessions of the client's engine hold a call over a line with the
//! cell's conditions. The voices are made by espeak-ng, the pictures move and carry their number; what was said is
//! compared with what was heard (PESQ wideband, delay by correlation), what was shown with what was drawn (PSNR, SSIM,
//! freezes), and every packet on the line is counted. Numbers of one seed differ by chance: cells that matter are run
//! several times, and medians are told.

pub mod call;
pub mod cells;
pub mod person;
pub mod pesq;
pub mod plots;
pub mod report;
pub mod run;
pub mod score;
pub mod special;
pub mod speech;
pub mod wire;
