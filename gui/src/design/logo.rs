//! The logo: two cans and a string. The same drawing as `assets/twocan.svg`, on a field of 128 × 128.

use eframe::egui::epaint::{CubicBezierShape, EllipseShape, PathShape, PathStroke};
use eframe::egui::{Color32, Painter, Pos2, Rect, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo, WidgetType};

/// The colours of the drawing.
const INDIGO: Color32 = Color32::from_rgb(91, 70, 214);
const DEEP: Color32 = Color32::from_rgb(62, 45, 160);
const TIN: Color32 = Color32::from_rgb(255, 255, 255);
const BAND: Color32 = Color32::from_rgb(206, 198, 255);
const STRING: Color32 = Color32::from_rgb(255, 196, 87);

/// Takes its room and paints; `size` is its side in points.
pub fn show(ui: &mut Ui, size: f32) {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(size), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, "twocan"));
    paint(ui.painter(), rect);
}

/// Paints the whole sign with its rounded field.
pub fn paint(painter: &Painter, rect: Rect) {
    let scale = rect.width() / 128.0;
    let corner = (28.0 * scale).round().clamp(0.0, 255.0) as u8;
    painter.rect_filled(rect, eframe::egui::CornerRadius::same(corner), INDIGO);
    let at = |x: f32, y: f32| rect.min + Vec2::new(x, y) * scale;
    // The string hangs between the bottoms of the cans.
    let string = Stroke::new((3.6 * scale).max(1.0), STRING);
    for half in [
        [at(45.0, 66.0), at(46.0, 92.0), at(54.0, 101.0), at(64.0, 101.0)],
        [at(64.0, 101.0), at(74.0, 101.0), at(82.0, 92.0), at(83.0, 66.0)],
    ] {
        painter.add(CubicBezierShape::from_points_stroke(half, false, Color32::TRANSPARENT, string));
    }
    can(painter, scale, at(38.0, 45.0), -0.26, false);
    can(painter, scale, at(90.0, 45.0), 0.26, true);
}

/// A can that stands on its string's knot, turned by `angle`.
fn can(painter: &Painter, scale: f32, centre: Pos2, angle: f32, mirrored: bool) {
    let (sin, cos) = angle.sin_cos();
    let place = |x: f32, y: f32| {
        let x = if mirrored { -x } else { x };
        centre + Vec2::new(x * cos - y * sin, x * sin + y * cos) * scale
    };
    // Wall: straight sides, the bottom bent like the rim.
    let mut wall = vec![place(-17.0, -20.0), place(-17.0, 19.0)];
    wall.extend((0..=12).map(|step| {
        let turn = std::f32::consts::PI * (1.0 - step as f32 / 12.0);
        place(17.0 * turn.cos(), 19.0 + 6.0 * turn.sin())
    }));
    wall.push(place(17.0, -20.0));
    painter.add(Shape::Path(PathShape::convex_polygon(wall, TIN, PathStroke::NONE)));
    // Bands around it.
    for y in [-6.0, 6.0] {
        let line = (0..=12).map(|step| {
            let turn = std::f32::consts::PI * (1.0 - step as f32 / 12.0);
            place(17.0 * turn.cos(), y + 5.0 * turn.sin())
        });
        painter.add(Shape::line(line.collect(), Stroke::new((2.6 * scale).max(0.7), BAND)));
    }
    // The open end.
    let mut rim = EllipseShape::filled(place(0.0, -20.0), Vec2::new(17.0, 6.5) * scale, DEEP);
    rim.stroke = Stroke::new((2.6 * scale).max(0.8), TIN);
    rim.angle = angle;
    painter.add(rim);
}
