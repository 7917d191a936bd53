//! Switches, and a choice of a few.

use eframe::egui::{
    Color32, CornerRadius, CursorIcon, FontId, Pos2, Rect, Response, Sense, Stroke, StrokeKind, Ui, Vec2, WidgetInfo,
    WidgetType, lerp,
};

use super::focus_ring;
use crate::theme::{Palette, letters, radius};

/// On or off.
pub fn switch(ui: &mut Ui, name: &str, on: &mut bool) -> Response {
    let palette = Palette::of(ui);
    let (rect, mut response) = ui.allocate_exact_size(Vec2::new(44.0, 26.0), Sense::click());
    if response.clicked() {
        *on = !*on;
        response.mark_changed();
    }
    response.widget_info(|| WidgetInfo::selected(WidgetType::Checkbox, true, *on, name));
    if ui.is_rect_visible(rect) {
        let how = ui.ctx().animate_bool_with_time(response.id, *on, 0.12);
        let off = palette.faint.gamma_multiply(0.7);
        ui.painter().rect_filled(rect, CornerRadius::same(13), off.lerp_to_gamma(palette.accent, how));
        let x = lerp(rect.left() + 13.0..=rect.right() - 13.0, how);
        ui.painter().circle_filled(Pos2::new(x, rect.center().y), 10.0, Color32::WHITE);
        focus_ring(ui, &response, rect, 13);
    }
    response.on_hover_cursor(CursorIcon::PointingHand)
}

/// One of a few, side by side. Returns the number of the one that was clicked.
pub fn segments(ui: &mut Ui, name: &str, labels: &[&str], chosen: usize) -> Option<usize> {
    let palette = Palette::of(ui);
    let font = FontId::new(13.5, letters::medium());
    let galleys: Vec<_> = labels
        .iter()
        .map(|label| ui.painter().layout_no_wrap((*label).to_owned(), font.clone(), palette.text))
        .collect();
    let widths: Vec<f32> = galleys.iter().map(|galley| galley.size().x + 24.0).collect();
    let size = Vec2::new(widths.iter().sum::<f32>() + 6.0, 36.0);
    let (rect, _) = ui.allocate_exact_size(size, Sense::hover());
    ui.painter().rect_filled(rect, CornerRadius::same(radius::M), palette.field);
    let mut x = rect.left() + 3.0;
    let mut clicked = None;
    for (at, (galley, width)) in galleys.into_iter().zip(widths).enumerate() {
        let part = Rect::from_min_size(Pos2::new(x, rect.top() + 3.0), Vec2::new(width, 30.0));
        x += width;
        let response = ui.interact(part, ui.id().with((name, at)), Sense::click());
        let is = at == chosen;
        let label = labels[at];
        response.widget_info(|| WidgetInfo::selected(WidgetType::RadioButton, true, is, format!("{name}: {label}")));
        if is {
            let stroke = Stroke::new(1.0, palette.line);
            let fill = if ui.visuals().dark_mode { palette.chosen } else { Color32::WHITE };
            ui.painter().rect(part, CornerRadius::same(radius::S), fill, stroke, StrokeKind::Inside);
        }
        let ink = if is { palette.text } else { palette.quiet };
        ui.painter().galley_with_override_text_color(part.center() - galley.size() / 2.0, galley, ink);
        focus_ring(ui, &response, part, radius::S);
        if response.on_hover_cursor(CursorIcon::PointingHand).clicked() {
            clicked = Some(at);
        }
    }
    clicked
}
