//! The quality mark: five bars, and the words behind them.

use eframe::egui::{
    Color32, CornerRadius, CursorIcon, Painter, Pos2, Rect, Response, Sense, Ui, Vec2, WidgetInfo, WidgetType,
};

use crate::design::focus_ring;
use crate::model::call::Mark;
use crate::theme::Palette;

/// Bars of a mark.
const BARS: u8 = 5;

/// The colour of a level.
pub(super) fn colour(level: u8) -> Color32 {
    match level {
        0..=1 => Color32::from_rgb(255, 99, 107),
        2..=3 => Color32::from_rgb(240, 180, 70),
        _ => Color32::from_rgb(83, 211, 141),
    }
}

/// Paints the bars; those above the level in `off`.
pub(super) fn paint(painter: &Painter, rect: Rect, level: u8, off: Color32) {
    let gap = rect.width() / 14.0;
    let width = (rect.width() - gap * f32::from(BARS - 1)) / f32::from(BARS);
    for bar in 0..BARS {
        let height = rect.height() * (0.32 + 0.68 * f32::from(bar) / f32::from(BARS - 1));
        let x = rect.min.x + f32::from(bar) * (width + gap);
        let place = Rect::from_min_max(Pos2::new(x, rect.max.y - height), Pos2::new(x + width, rect.max.y));
        painter.rect_filled(place, CornerRadius::same(1), if bar < level { colour(level) } else { off });
    }
}

/// The bars as a button that explains itself.
pub(super) fn button(ui: &mut Ui, mark: &Mark, name: &str) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(36.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Button, true, format!("{name}: {}", mark.why)));
    if ui.is_rect_visible(rect) {
        let palette = Palette::of(ui);
        if response.hovered() {
            ui.painter().rect_filled(rect, CornerRadius::same(10), palette.hover);
        }
        paint(ui.painter(), Rect::from_center_size(rect.center(), Vec2::new(20.0, 16.0)), mark.level, palette.line);
        focus_ring(ui, &response, rect, 10);
    }
    response.on_hover_text(&mark.why).on_hover_cursor(CursorIcon::PointingHand)
}
