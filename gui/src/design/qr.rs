//! QR codes: shown black on white in both themes, which is what cameras read.

use eframe::egui::{
    Color32, ColorImage, CornerRadius, Id, Rect, Sense, TextureHandle, TextureOptions, Ui, Vec2, WidgetInfo, WidgetType,
};
use qrcode::{Color, EcLevel, QrCode};

/// White around the code, in modules. The standard asks for four.
const QUIET: usize = 4;

/// The code of a text as a picture with so many pixels for each module; `None` if the text is too long for a code.
#[must_use]
pub fn image(text: &str, scale: usize) -> Option<ColorImage> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let (width, colours) = (code.width(), code.to_colors());
    let side = (width + 2 * QUIET) * scale.max(1);
    let mut pixels = vec![Color32::WHITE; side * side];
    for (at, pixel) in pixels.iter_mut().enumerate() {
        let (x, y) = (at % side / scale.max(1), at / side / scale.max(1));
        let inside = (QUIET..QUIET + width).contains(&x) && (QUIET..QUIET + width).contains(&y);
        if inside && colours[(y - QUIET) * width + x - QUIET] == Color::Dark {
            *pixel = Color32::BLACK;
        }
    }
    Some(ColorImage::new([side, side], pixels))
}

/// Shows the code of a text. The picture is made once and kept while it is shown.
pub fn show(ui: &mut Ui, text: &str, size: f32, name: &str) {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(size), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, name));
    ui.painter().rect_filled(rect, CornerRadius::same(14), Color32::WHITE);
    let id = Id::new("qr");
    let kept = ui.data(|data| data.get_temp::<(String, TextureHandle)>(id));
    let texture = match kept {
        Some((of, texture)) if of == text => texture,
        _ => {
            let Some(image) = image(text, 1) else { return };
            let texture = ui.ctx().load_texture("qr", image, TextureOptions::NEAREST);
            ui.data_mut(|data| data.insert_temp(id, (text.to_owned(), texture.clone())));
            texture
        }
    };
    let uv = Rect::from_min_max(eframe::egui::Pos2::ZERO, eframe::egui::Pos2::new(1.0, 1.0));
    ui.painter().image(texture.id(), rect.shrink(4.0), uv, Color32::WHITE);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_has_white_around_it_and_finders_in_three_corners() {
        let image = image("twocan:abc", 2).unwrap();
        let side = image.size[0];
        let dark = |x: usize, y: usize| image.pixels[y * side + x] == Color32::BLACK;
        assert!((0..side).all(|x| !dark(x, 0) && !dark(0, x)));
        let edge = QUIET * 2;
        assert!(dark(edge, edge) && dark(side - 1 - edge, edge) && dark(edge, side - 1 - edge));
        assert!(super::image(&"x".repeat(5000), 1).is_none());
    }
}
