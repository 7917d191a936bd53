//! The small window: the call in a corner of the screen, above all other windows.

use eframe::egui::{
    self, CentralPanel, CornerRadius, Frame, Pos2, Rect, Ui, UiBuilder, Vec2, ViewportCommand, WindowLevel,
};
use twocan_control::Call;

use super::tile::{self, Tile};
use super::{STAGE, State, controls, dark};
use crate::design::icon_button;
use crate::screens::View;
use crate::seat::Place;
use crate::text::{call as words, t};
use crate::theme::icons;
use crate::worker::Command;

/// Its size in points.
const SIZE: Vec2 = Vec2::new(384.0, 240.0);
/// Smallest size of the large window.
const LEAST: Vec2 = Vec2::new(640.0, 420.0);

/// The large window becomes the small one.
pub(super) fn enter(context: &egui::Context, state: &mut State) {
    state.small = Some(context.content_rect().size());
    context.send_viewport_cmd(ViewportCommand::MinInnerSize(SIZE));
    context.send_viewport_cmd(ViewportCommand::InnerSize(SIZE));
    context.send_viewport_cmd(ViewportCommand::WindowLevel(WindowLevel::AlwaysOnTop));
}

/// And large again.
pub(super) fn leave(context: &egui::Context, state: &mut State) {
    if let Some(size) = state.small.take() {
        context.send_viewport_cmd(ViewportCommand::WindowLevel(WindowLevel::Normal));
        context.send_viewport_cmd(ViewportCommand::InnerSize(size));
        context.send_viewport_cmd(ViewportCommand::MinInnerSize(LEAST));
    }
}

pub(super) fn show(ui: &mut Ui, call: &Call, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    CentralPanel::default().frame(Frame::NONE.fill(STAGE)).show(ui, |ui| {
        let area = ui.available_rect_before_wrap();
        let mut ui = dark(ui, area);
        ui.painter().rect_filled(area, CornerRadius::ZERO, STAGE);
        let tile = area.shrink(4.0);
        let Some(party) = view.parties.first() else { return };
        match view.textures.get(Place::Screen(party.participant)).filter(|_| party.screen) {
            Some(texture) => tile::screen(&ui, tile, party, texture),
            None => {
                let texture = view.textures.get(Place::Camera(party.participant)).filter(|_| party.video);
                tile::show(&ui, tile, &Tile { party, texture, speaking: false, dim: call.held });
            }
        }
        // What can be done is shown while the pointer is here, or the keyboard is used.
        let busy =
            ui.ctx().input(|input| input.pointer.has_pointer()) || ui.ctx().memory(|memory| memory.focused().is_some());
        if busy {
            controls::few(&mut ui, area, call, commands);
            let corner = Rect::from_min_size(Pos2::new(area.max.x - 48.0, area.min.y + 10.0), Vec2::splat(38.0));
            let mut corner = ui.new_child(UiBuilder::new().max_rect(corner));
            if icon_button(&mut corner, icons::ARROWS_OUT, t(words::BACK)).clicked() {
                leave(corner.ctx(), state);
            }
        }
    });
}
