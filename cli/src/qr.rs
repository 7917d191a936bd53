//! QR codes in the terminal, two modules a character, dark on light whatever the terminal's colours are.

use qrcode::{EcLevel, QrCode};

use crate::exit::{Exit, Failure};

/// Modules of quiet zone around the code (ISO/IEC 18004 asks for 4; readers do with 2 on a screen).
const QUIET: usize = 2;

/// Draws `text` as a QR code. With `colour` it sets black on white itself; without, it assumes light text on a dark
/// background, as a pasted code would be shown.
pub fn draw(text: &str, colour: bool) -> Result<String, Failure> {
    // An upper-case bech32m address fits the alphanumeric mode: a third smaller, and bech32 allows it (BIP 173).
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::M)
        .map_err(|error| Failure::new(Exit::Internal, format!("cannot make a QR code: {error}")))?;
    let width = code.width();
    let modules = code.to_colors();
    let side = width + 2 * QUIET;
    let dark = |x: usize, y: usize| {
        let inside = (QUIET..QUIET + width).contains(&x) && (QUIET..QUIET + width).contains(&y);
        inside && modules[(y - QUIET) * width + (x - QUIET)] == qrcode::Color::Dark
    };
    let mut out = String::new();
    for y in (0..side).step_by(2) {
        if colour {
            out.push_str("\x1b[30;107m");
        }
        for x in 0..side {
            let below = y + 1 < side && dark(x, y + 1);
            out.push(match (dark(x, y) == colour, below == colour) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        if colour {
            out.push_str("\x1b[0m");
        }
        out.push('\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_and_has_a_light_border() {
        let plain = draw("TWOCAN1ABC", false).unwrap();
        let lines: Vec<&str> = plain.lines().collect();
        let width = lines[0].chars().count();
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(lines[0].chars().all(|c| c == '█'), "the first two rows are light");
    }
}
