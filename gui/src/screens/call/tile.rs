//! Tiles: a picture with rounded corners that fills its place, or the person's disc; name, microphone, quality.

use eframe::egui::epaint::RectShape;
use eframe::egui::{
    Align2, Color32, CornerRadius, FontId, Pos2, Rect, Sense, Stroke, StrokeKind, TextureHandle, Ui, Vec2, WidgetInfo,
    WidgetType,
};

use super::{TILE, bars, stage};
use crate::design::{Avatar, one_line};
use crate::model::call::Party;
use crate::model::call::layout::fill;
use crate::text::{self, call as words, t};
use crate::theme::{icons, letters};

/// Corners of tiles.
const RADIUS: u8 = 14;
/// At most so much of a camera's picture is cut off to fill a tile.
const CUT: f32 = 0.38;
/// Around who speaks.
const SPEAKING: Color32 = Color32::from_rgb(83, 211, 141);
/// Behind names.
const TAG: Color32 = Color32::from_black_alpha(150);

/// What stands on a tile.
pub(super) struct Tile<'a> {
    pub(super) party: &'a Party,
    /// The picture, if there is one.
    pub(super) texture: Option<&'a TextureHandle>,
    pub(super) speaking: bool,
    /// Held: it is seen that nothing moves.
    pub(super) dim: bool,
}

/// Draws a tile of one of the others.
pub(super) fn show(ui: &Ui, rect: Rect, tile: &Tile) {
    let painter = ui.painter();
    match tile.texture {
        Some(texture) => picture(ui, rect, texture, CUT, false),
        None => {
            painter.rect_filled(rect, CornerRadius::same(RADIUS), TILE);
            let radius = (rect.height().min(rect.width()) * 0.22).clamp(18.0, 72.0);
            Avatar::new(&tile.party.id, &tile.party.name, radius).paint(ui, rect.center());
        }
    }
    if tile.dim {
        painter.rect_filled(rect, CornerRadius::same(RADIUS), Color32::from_black_alpha(140));
        let font = FontId::new(34.0, letters::icons_filled());
        painter.text(rect.center(), Align2::CENTER_CENTER, icons::PAUSE, font, Color32::from_white_alpha(220));
    }
    if tile.speaking {
        around(ui, rect);
    }
    let response = ui.interact(rect, ui.id().with(("tile", tile.party.participant)), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, stage::said(tile.party)));
    // Words come where the mark is pointed at, not wherever the pointer rests on a picture.
    if let (Some(tag), Some(mark)) = (tag(ui, rect, tile.party), &tile.party.mark) {
        let response = ui.interact(tag, ui.id().with(("tag", tile.party.participant)), Sense::hover());
        response.on_hover_text(&mark.why);
    }
}

/// Draws a shared screen, whole.
pub(super) fn screen(ui: &Ui, rect: Rect, party: &Party, texture: &TextureHandle) {
    picture(ui, rect, texture, 0.0, false);
    let name = format!("{}: {}", text::clean(&party.name), t(words::SHARE));
    let response = ui.interact(rect, ui.id().with(("screen", party.participant)), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, &name));
}

/// Draws my own picture, as in a mirror.
pub(super) fn own(ui: &Ui, rect: Rect, texture: &TextureHandle, speaking: bool) {
    let back = Color32::from_black_alpha(110);
    ui.painter().rect_filled(rect.expand(2.0), CornerRadius::same(RADIUS + 2), back);
    picture(ui, rect, texture, CUT, true);
    if speaking {
        around(ui, rect);
    }
    let response = ui.interact(rect, ui.id().with("own"), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, t(words::YOU)));
}

fn around(ui: &Ui, rect: Rect) {
    let stroke = Stroke::new(3.0, SPEAKING);
    ui.painter().rect_stroke(rect, CornerRadius::same(RADIUS), stroke, StrokeKind::Inside);
}

fn picture(ui: &Ui, rect: Rect, texture: &TextureHandle, cut: f32, mirrored: bool) {
    let (mut part, place) = fill(texture.size_vec2(), rect, cut);
    if place != rect {
        ui.painter().rect_filled(rect, CornerRadius::same(RADIUS), TILE);
    }
    if mirrored {
        (part.min.x, part.max.x) = (part.max.x, part.min.x);
    }
    let corners = if place == rect { CornerRadius::same(RADIUS) } else { CornerRadius::same(4) };
    let shape = RectShape::filled(place, corners, Color32::WHITE);
    ui.painter().add(shape.with_texture(texture.id(), part));
}

/// Name, microphone and quality in the corner; where, if there is room.
fn tag(ui: &Ui, rect: Rect, party: &Party) -> Option<Rect> {
    let painter = ui.painter();
    let font = FontId::new(letters::SMALL, letters::medium());
    let room = rect.width() - 24.0 - if party.muted { 20.0 } else { 0.0 } - 26.0;
    let galley = painter.layout_no_wrap(text::clean(&party.name), font.clone(), Color32::WHITE);
    let width = galley.size().x.min(room.max(24.0));
    let extra = if party.muted { 20.0 } else { 0.0 } + if party.mark.is_some() { 22.0 } else { 0.0 };
    let size = Vec2::new(width + extra + 20.0, 26.0);
    let tag = Rect::from_min_size(Pos2::new(rect.min.x + 8.0, rect.max.y - 8.0 - size.y), size);
    if !rect.contains_rect(tag) {
        return None;
    }
    painter.rect_filled(tag, CornerRadius::same(13), TAG);
    let mut x = tag.min.x + 10.0;
    if party.muted {
        let at = Pos2::new(x + 6.0, tag.center().y);
        let colour = Color32::from_rgb(255, 120, 128);
        let icon = FontId::new(14.0, letters::icons_filled());
        painter.text(at, Align2::CENTER_CENTER, icons::MICROPHONE_SLASH, icon, colour);
        x += 20.0;
    }
    let top = tag.center().y - galley.size().y / 2.0;
    one_line(painter, Pos2::new(x, top), &text::clean(&party.name), font, Color32::WHITE, width + 1.0);
    if let Some(mark) = &party.mark {
        let at = Rect::from_center_size(Pos2::new(tag.max.x - 17.0, tag.center().y), Vec2::new(15.0, 12.0));
        bars::paint(painter, at, mark.level, Color32::from_white_alpha(70));
    }
    Some(tag)
}
