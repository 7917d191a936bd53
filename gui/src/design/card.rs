//! Surfaces: cards, section headings, pills, banners, and what is shown where there is nothing yet.

use eframe::egui::{
    Align, Color32, CornerRadius, FontId, Frame, Layout, Margin, Response, RichText, Sense, Stroke, Ui, Vec2,
};

use super::button::Button;
use crate::theme::{Palette, letters, radius, space};

/// A card to put things on, as wide as there is room.
pub fn card<R>(ui: &mut Ui, contents: impl FnOnce(&mut Ui) -> R) -> R {
    let palette = Palette::of(ui);
    let frame = Frame::new().fill(palette.card).corner_radius(CornerRadius::same(radius::L));
    frame
        .inner_margin(Margin::same(16))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            contents(ui)
        })
        .inner
}

/// The heading of a group of rows.
pub fn section(ui: &mut Ui, title: &str) {
    ui.add_space(space::L);
    ui.label(letters::small(title).family(letters::semibold()).color(Palette::of(ui).quiet));
    ui.add_space(2.0);
}

/// A small round label.
pub fn pill(ui: &mut Ui, icon: Option<char>, label: &str, colour: Color32) -> Response {
    let fill = Palette::of(ui).tint(colour);
    let frame = Frame::new().fill(fill).corner_radius(CornerRadius::same(13)).inner_margin(Margin::symmetric(10, 4));
    frame
        .show(ui, |ui| {
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 5.0;
                ui.spacing_mut().interact_size.y = 16.0;
                if let Some(icon) = icon {
                    ui.label(letters::icon_fill(icon, 14.0).color(colour));
                }
                ui.label(letters::small(label).family(letters::medium()).size(12.5).color(colour));
            });
        })
        .response
}

/// A line across the page that says what is the matter; the response is of the button, if there is one.
pub fn banner(ui: &mut Ui, icon: char, text: &str, colour: Color32, action: Option<&str>) -> Option<Response> {
    let palette = Palette::of(ui);
    let frame = Frame::new().fill(palette.tint(colour)).corner_radius(CornerRadius::same(radius::M));
    frame
        .inner_margin(Margin::symmetric(14, 8))
        .show(ui, |ui| {
            ui.set_width(ui.available_width());
            ui.horizontal(|ui| {
                ui.label(letters::icon_fill(icon, 19.0).color(colour));
                let room = ui.available_width() - action.map_or(0.0, |label| 40.0 + 8.0 * label.chars().count() as f32);
                ui.vertical(|ui| {
                    ui.set_max_width(room.max(60.0));
                    ui.label(letters::small(text).size(13.5));
                });
                let label = action?;
                ui.with_layout(Layout::right_to_left(Align::Center), |ui| ui.add(Button::secondary(label).small()))
                    .inner
                    .into()
            })
            .inner
        })
        .inner
}

/// What is shown where there is nothing yet: an icon, what it means, and what to do.
pub fn empty(ui: &mut Ui, icon: char, title: &str, text: &str) {
    let palette = Palette::of(ui);
    ui.vertical_centered(|ui| {
        let (rect, _) = ui.allocate_exact_size(Vec2::splat(84.0), Sense::hover());
        ui.painter().circle_filled(rect.center(), 42.0, palette.tint(palette.accent_text));
        let font = FontId::new(38.0, letters::icons());
        ui.painter().text(rect.center(), eframe::egui::Align2::CENTER_CENTER, icon, font, palette.accent_text);
        ui.add_space(space::S);
        ui.label(letters::subhead(title));
        ui.scope(|ui| {
            ui.set_max_width(340.0);
            ui.label(letters::small(text).size(14.0).color(palette.quiet));
        });
        ui.add_space(space::XS);
    });
}

/// A line between rows.
pub fn hairline(ui: &mut Ui) {
    let (rect, _) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 1.0), Sense::hover());
    ui.painter().hline(rect.x_range(), rect.center().y, Stroke::new(1.0, Palette::of(ui).line));
}

/// Writing of less weight.
pub fn note(ui: &mut Ui, text: impl Into<String>) -> Response {
    let colour = Palette::of(ui).quiet;
    ui.label(letters::small(text).color(colour))
}

/// Like [`note`] with a style of one's own.
pub fn quiet(ui: &mut Ui, text: RichText) -> Response {
    let colour = Palette::of(ui).quiet;
    ui.label(text.color(colour))
}
