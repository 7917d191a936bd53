//! A person's disc: the picture, or initials on a colour of their own, with a dot for presence.

use eframe::egui::epaint::RectShape;
use eframe::egui::{
    Align2, Color32, CornerRadius, FontId, Pos2, Rect, Response, Sense, TextureId, Ui, Vec2, WidgetInfo, WidgetType,
    ecolor::Hsva,
};

use crate::text;
use crate::theme::{Palette, letters};

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// There.
    Online,
    /// There, but not to be disturbed.
    Busy,
    /// Not there, or hidden.
    Offline,
    /// Asked, without an answer yet.
    Waiting,
}

/// A person's disc.
#[derive(Clone, Copy, Debug)]
#[must_use = "show or paint it"]
pub struct Avatar<'a> {
    id: &'a str,
    name: &'a str,
    radius: f32,
    picture: Option<TextureId>,
    presence: Option<Presence>,
    behind: Option<Color32>,
}

impl<'a> Avatar<'a> {
    /// Of the person with this id (which chooses the colour) and name (which gives the initials).
    pub fn new(id: &'a str, name: &'a str, radius: f32) -> Self {
        Self { id, name, radius, picture: None, presence: None, behind: None }
    }

    /// With a picture instead of initials.
    pub fn picture(mut self, picture: Option<TextureId>) -> Self {
        self.picture = picture;
        self
    }

    /// With a dot.
    pub fn presence(mut self, presence: Option<Presence>) -> Self {
        self.presence = presence;
        self
    }

    /// On this surface, which the dot is cut out of.
    pub fn on(mut self, surface: Color32) -> Self {
        self.behind = Some(surface);
        self
    }

    /// Takes its room and paints.
    pub fn show(self, ui: &mut Ui) -> Response {
        let (rect, response) = ui.allocate_exact_size(Vec2::splat(self.radius * 2.0), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, self.name));
        self.paint(ui, rect.center());
        response
    }

    /// Paints at a place of one's choice.
    pub fn paint(self, ui: &Ui, centre: Pos2) {
        let palette = Palette::of(ui);
        let painter = ui.painter();
        let rect = Rect::from_center_size(centre, Vec2::splat(self.radius * 2.0));
        match self.picture {
            Some(texture) => {
                let corner = CornerRadius::same(self.radius.round().clamp(0.0, 255.0) as u8);
                let uv = Rect::from_min_max(Pos2::ZERO, Pos2::new(1.0, 1.0));
                painter.add(RectShape::filled(rect, corner, Color32::WHITE).with_texture(texture, uv));
            }
            None => {
                painter.circle_filled(centre, self.radius, colour(self.id));
                let font = FontId::new(self.radius * 0.78, letters::semibold());
                let initials = text::initials(self.name);
                painter.text(centre, Align2::CENTER_CENTER, initials, font, Color32::WHITE);
            }
        }
        if let Some(presence) = self.presence {
            let size = (self.radius * 0.28).clamp(4.5, 9.0);
            let at = centre + Vec2::splat(self.radius * 0.71);
            let surface = self.behind.unwrap_or(ui.visuals().panel_fill);
            painter.circle_filled(at, size + 2.0, surface);
            match presence {
                Presence::Online => {
                    painter.circle_filled(at, size, palette.good.lerp_to_gamma(Color32::GREEN, 0.12));
                }
                Presence::Busy => {
                    painter.circle_filled(at, size, palette.bad);
                    let bar = Rect::from_center_size(at, Vec2::new(size * 1.1, size * 0.36));
                    painter.rect_filled(bar, CornerRadius::same(1), Color32::WHITE);
                }
                Presence::Offline => {
                    painter.circle_stroke(at, size - 1.0, eframe::egui::Stroke::new(2.0, palette.faint));
                }
                Presence::Waiting => {
                    painter.circle_filled(at, size, palette.warn);
                }
            }
        }
    }
}

/// The colour of a person: the same for the same id on every machine, dark enough for white letters.
#[must_use]
pub fn colour(id: &str) -> Color32 {
    Color32::from(Hsva::new(text::hue(id), 0.62, 0.27, 1.0))
}
