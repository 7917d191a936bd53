//! Buttons: the one that asks to be clicked, the others, those of danger, round ones with an icon.

use eframe::egui::{
    Align2, Color32, CornerRadius, CursorIcon, FontId, Galley, Pos2, Rect, Response, Sense, Stroke, StrokeKind, Ui,
    Vec2, Widget, WidgetInfo, WidgetType,
};
use std::sync::Arc;

use super::focus_ring;
use crate::theme::{Palette, letters, radius};

/// What a button means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Primary,
    Secondary,
    Danger,
    Good,
    Ghost,
}

/// A button with a label, with or without an icon.
#[derive(Clone, Debug)]
#[must_use = "add it to a Ui"]
pub struct Button<'a> {
    label: &'a str,
    icon: Option<char>,
    kind: Kind,
    wide: bool,
    small: bool,
    enabled: bool,
}

impl<'a> Button<'a> {
    fn new(label: &'a str, kind: Kind) -> Self {
        Self { label, icon: None, kind, wide: false, small: false, enabled: true }
    }

    /// The one that asks to be clicked. One on a page.
    pub fn primary(label: &'a str) -> Self {
        Self::new(label, Kind::Primary)
    }

    /// Any other.
    pub fn secondary(label: &'a str) -> Self {
        Self::new(label, Kind::Secondary)
    }

    /// Takes something away, or ends it.
    pub fn danger(label: &'a str) -> Self {
        Self::new(label, Kind::Danger)
    }

    /// Takes a call.
    pub fn good(label: &'a str) -> Self {
        Self::new(label, Kind::Good)
    }

    /// Hardly there until it is pointed at.
    pub fn ghost(label: &'a str) -> Self {
        Self::new(label, Kind::Ghost)
    }

    /// With an icon before the label.
    pub fn icon(mut self, icon: char) -> Self {
        self.icon = Some(icon);
        self
    }

    /// As wide as there is room.
    pub fn wide(mut self) -> Self {
        self.wide = true;
        self
    }

    /// Less high, for lists and cards.
    pub fn small(mut self) -> Self {
        self.small = true;
        self
    }

    /// Whether it can be clicked.
    pub fn enabled(mut self, enabled: bool) -> Self {
        self.enabled = enabled;
        self
    }

    fn colours(&self, palette: Palette) -> (Color32, Color32, Stroke) {
        match self.kind {
            Kind::Primary => (palette.accent, Color32::WHITE, Stroke::NONE),
            Kind::Secondary => (palette.card, palette.text, Stroke::new(1.0, palette.line)),
            Kind::Danger => (palette.bad, Color32::WHITE, Stroke::NONE),
            Kind::Good => (palette.good, Color32::WHITE, Stroke::NONE),
            Kind::Ghost => (Color32::TRANSPARENT, palette.accent_text, Stroke::NONE),
        }
    }
}

impl Widget for Button<'_> {
    fn ui(self, ui: &mut Ui) -> Response {
        let palette = Palette::of(ui);
        let (fill, ink, stroke) = self.colours(palette);
        let (height, size) = if self.small { (32.0, 13.5) } else { (40.0, 14.5) };
        let galley = |text: String, font: FontId| -> Arc<Galley> { ui.painter().layout_no_wrap(text, font, ink) };
        let label = galley(self.label.to_owned(), FontId::new(size, letters::medium()));
        let icon = self.icon.map(|code| galley(code.to_string(), FontId::new(size + 4.0, letters::icons())));
        let gap = if icon.is_some() && !self.label.is_empty() { 8.0 } else { 0.0 };
        let content = label.size().x + gap + icon.as_ref().map_or(0.0, |icon| icon.size().x);
        let padding = if self.small { 12.0 } else { 18.0 };
        let natural = content + 2.0 * padding;
        let width = if self.wide { ui.available_width().max(natural) } else { natural };
        let sense = if self.enabled { Sense::click() } else { Sense::hover() };
        let (rect, response) = ui.allocate_exact_size(Vec2::new(width, height), sense);
        response.widget_info(|| WidgetInfo::labeled(WidgetType::Button, self.enabled, self.label));
        if ui.is_rect_visible(rect) {
            let fade = |colour: Color32| if self.enabled { colour } else { colour.gamma_multiply(0.45) };
            let lit = lit(ui, &response, fill, palette);
            let corner = CornerRadius::same(radius::M);
            ui.painter().rect(rect, corner, fade(lit), stroke, StrokeKind::Inside);
            let mut x = rect.center().x - content / 2.0;
            if let Some(icon) = icon {
                let width = icon.size().x;
                let at = Pos2::new(x, rect.center().y - icon.size().y / 2.0);
                ui.painter().galley_with_override_text_color(at, icon, fade(ink));
                x += width + gap;
            }
            let at = Pos2::new(x, rect.center().y - label.size().y / 2.0);
            ui.painter().galley_with_override_text_color(at, label, fade(ink));
            focus_ring(ui, &response, rect, radius::M);
        }
        if self.enabled { response.on_hover_cursor(CursorIcon::PointingHand) } else { response }
    }
}

/// The surface of something that is pointed at or held down.
fn lit(ui: &Ui, response: &Response, fill: Color32, palette: Palette) -> Color32 {
    let target = if palette.page.r() < 128 { Color32::WHITE } else { Color32::BLACK };
    let over = ui.ctx().animate_bool_with_time(response.id.with("over"), response.hovered(), 0.12);
    let held = if response.is_pointer_button_down_on() { 0.08 } else { 0.0 };
    if fill == Color32::TRANSPARENT {
        return target.gamma_multiply(0.08 * over + held);
    }
    fill.lerp_to_gamma(target, 0.08 * over + held)
}

/// An icon that can be clicked; what it does is its name, shown when pointed at.
pub fn icon_button(ui: &mut Ui, icon: char, name: &str) -> Response {
    icon_toggle(ui, icon, name, false)
}

/// The same that shows whether it is chosen.
pub fn icon_toggle(ui: &mut Ui, icon: char, name: &str, chosen: bool) -> Response {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(38.0), Sense::click());
    response.widget_info(|| {
        if chosen {
            WidgetInfo::selected(WidgetType::Button, true, true, name)
        } else {
            WidgetInfo::labeled(WidgetType::Button, true, name)
        }
    });
    if ui.is_rect_visible(rect) {
        let fill = if chosen { palette.chosen } else { Color32::TRANSPARENT };
        let corner = CornerRadius::same(radius::M);
        ui.painter().rect_filled(rect, corner, lit(ui, &response, fill, palette));
        let ink = if chosen { palette.accent_text } else { palette.quiet };
        let family = if chosen { letters::icons_filled() } else { letters::icons() };
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, icon, FontId::new(21.0, family), ink);
        focus_ring(ui, &response, rect, radius::M);
    }
    response.on_hover_text(name).on_hover_cursor(CursorIcon::PointingHand)
}

/// A round button with a filled icon, as in a call; `fill` is its surface, `ink` its icon.
pub fn round_button(ui: &mut Ui, icon: char, name: &str, diameter: f32, fill: Color32, ink: Color32) -> Response {
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(diameter), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Button, true, name));
    if ui.is_rect_visible(rect) {
        let palette = Palette::of(ui);
        ui.painter().circle_filled(rect.center(), diameter / 2.0, lit(ui, &response, fill, palette));
        let font = FontId::new(diameter * 0.44, letters::icons_filled());
        ui.painter().text(rect.center(), Align2::CENTER_CENTER, icon, font, ink);
        if response.has_focus() {
            let stroke = Stroke::new(2.0, palette.accent_text);
            ui.painter().circle_stroke(rect.center(), diameter / 2.0 + 2.5, stroke);
        }
    }
    response.on_hover_text(name).on_hover_cursor(CursorIcon::PointingHand)
}

/// Writing that can be clicked.
pub fn link(ui: &mut Ui, label: &str) -> Response {
    let palette = Palette::of(ui);
    let font = FontId::new(letters::SMALL, letters::medium());
    let galley = ui.painter().layout_no_wrap(label.to_owned(), font, palette.accent_text);
    let (rect, response) = ui.allocate_exact_size(galley.size() + Vec2::new(0.0, 6.0), Sense::click());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Link, true, label));
    let at = Pos2::new(rect.min.x, rect.min.y + 3.0);
    if response.hovered() {
        let y = rect.max.y - 3.0;
        ui.painter().hline(rect.x_range(), y, Stroke::new(1.0, palette.accent_text));
    }
    ui.painter().galley(at, galley, palette.accent_text);
    focus_ring(ui, &response, Rect::from_min_max(rect.min, rect.max), 4);
    response.on_hover_cursor(CursorIcon::PointingHand)
}
