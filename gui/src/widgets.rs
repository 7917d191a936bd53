//! Small parts that several screens are made of.

use eframe::egui::{
    self, Align2, Button, Color32, CornerRadius, FontId, Frame, Margin, Pos2, Rect, Response, RichText, Sense, Stroke,
    TextureHandle, Ui, Vec2, WidgetInfo, WidgetType,
};

use crate::text;
use crate::theme::Palette;

/// A person's disc: initials on a colour of their own, a dot for being online.
pub fn disc(ui: &mut Ui, id: &str, name: &str, radius: f32, dot: Option<Color32>) {
    let (rect, _) = ui.allocate_exact_size(Vec2::splat(radius * 2.0), Sense::hover());
    paint_disc(ui, rect.center(), id, name, radius, dot);
}

/// The same at a place of one's choice.
pub fn paint_disc(ui: &Ui, centre: Pos2, id: &str, name: &str, radius: f32, dot: Option<Color32>) {
    let painter = ui.painter();
    // The value is of linear light: dark enough for white letters on every hue.
    let colour = Color32::from(egui::ecolor::Hsva::new(text::hue(id), 0.72, 0.24, 1.0));
    painter.circle_filled(centre, radius, colour);
    let font = FontId::proportional(radius * 0.82);
    painter.text(centre, Align2::CENTER_CENTER, text::initials(name), font, Color32::WHITE);
    if let Some(colour) = dot {
        let at = centre + Vec2::splat(radius * 0.72);
        painter.circle_filled(at, radius * 0.3 + 2.0, ui.visuals().panel_fill);
        painter.circle_filled(at, radius * 0.3, colour);
    }
}

/// A filled button that asks to be clicked.
pub fn strong(ui: &mut Ui, label: &str, fill: Color32) -> Response {
    ui.add(Button::new(RichText::new(label).color(Color32::WHITE)).fill(fill).corner_radius(CornerRadius::same(10)))
}

/// A quiet button.
pub fn quiet(ui: &mut Ui, label: &str) -> Response {
    ui.add(Button::new(label).corner_radius(CornerRadius::same(10)))
}

/// Writing of less weight.
pub fn note(ui: &mut Ui, label: impl Into<String>) -> Response {
    let colour = Palette::of(ui).quiet;
    ui.label(RichText::new(label).small().color(colour))
}

/// A small round label.
pub fn pill(ui: &mut Ui, label: &str, colour: Color32) {
    let frame = Frame::new().fill(colour.gamma_multiply(0.18)).corner_radius(CornerRadius::same(12));
    frame.inner_margin(Margin::symmetric(9, 3)).show(ui, |ui| ui.label(RichText::new(label).small().color(colour)));
}

/// A card to put things on.
pub fn card<R>(ui: &mut Ui, contents: impl FnOnce(&mut Ui) -> R) -> R {
    let frame = Frame::new().fill(Palette::of(ui).side).corner_radius(CornerRadius::same(14));
    let frame = frame.stroke(Stroke::new(1.0, Palette::of(ui).line)).inner_margin(Margin::same(16));
    frame
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            contents(ui)
        })
        .inner
}

/// A line of a list: a disc and two lines of text on a surface that reacts to the pointer.
pub fn person(ui: &mut Ui, id: &str, name: &str, line: &str, dot: Option<Color32>, chosen: bool) -> Response {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 56.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(WidgetType::SelectableLabel, true, chosen, name));
    if chosen || response.hovered() {
        let fill = if chosen { palette.chosen } else { palette.card.gamma_multiply(0.7) };
        ui.painter().rect_filled(rect, CornerRadius::same(12), fill);
    }
    paint_disc(ui, rect.left_center() + Vec2::new(32.0, 0.0), id, name, 19.0, dot);
    let left = rect.left() + 64.0;
    let width = rect.right() - left - 10.0;
    let write = |at: f32, label: &str, size: f32, colour: Color32| {
        let mut job = egui::text::LayoutJob::simple_singleline(label.to_owned(), FontId::proportional(size), colour);
        job.wrap = egui::text::TextWrapping::truncate_at_width(width);
        let galley = ui.painter().layout_job(job);
        ui.painter().galley(Pos2::new(left, rect.top() + at), galley, colour);
    };
    write(9.0, name, 15.5, palette.text);
    write(31.0, line, 12.5, palette.quiet);
    response
}

/// A picture with round corners, as large as it fits into `area` without losing its shape.
pub fn picture(ui: &Ui, area: Rect, texture: &TextureHandle) -> Rect {
    let size = texture.size_vec2();
    let scale = (area.width() / size.x).min(area.height() / size.y);
    let rect = Rect::from_center_size(area.center(), size * scale);
    let uv = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
    let shape = egui::epaint::RectShape::filled(rect, CornerRadius::same(14), Color32::WHITE);
    ui.painter().add(shape.with_texture(texture.id(), uv));
    rect
}

/// A bar that shows how loud it is; `level` from 0 to 1.
pub fn level(ui: &mut Ui, label: &str, level: f32) {
    let palette = Palette::of(ui);
    ui.horizontal(|ui| {
        note(ui, label);
        let (rect, _) = ui.allocate_exact_size(Vec2::new(52.0, 6.0), Sense::hover());
        ui.painter().rect_filled(rect, CornerRadius::same(3), palette.card);
        let mut filled = rect;
        filled.set_width(rect.width() * level.clamp(0.0, 1.0));
        ui.painter().rect_filled(filled, CornerRadius::same(3), palette.good);
    });
}
