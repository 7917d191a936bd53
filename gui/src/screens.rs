//! What is drawn, screen by screen. Each takes the model and says what the person wants done.

pub mod call;
mod dialogs;
mod friend;
mod home;
pub mod ring;
mod side;
mod trouble;

use eframe::egui::{
    self, Align2, Area, CentralPanel, Color32, CornerRadius, Frame, Id, Margin, Order, Panel, Ui, Vec2,
};

use crate::model::call::Party;
use crate::model::{Model, Node};
use crate::seat::{Film, Media, Place, Textures};
use crate::theme::Palette;
use crate::worker::Command;

pub use dialogs::Dialog;

/// What the person is typing and looking at.
#[derive(Debug, Default)]
pub struct State {
    /// A window above the others.
    pub dialog: Option<Dialog>,
    /// The page of a call.
    pub call: call::State,
    /// A call that rings.
    pub ring: ring::State,
    /// What stands in the search field.
    pub search: String,
    /// What stands in the passphrase field.
    pub passphrase: String,
    /// The address was copied (Unix ms).
    pub copied_ms: Option<u64>,
    /// A node is being started since (Unix ms).
    pub starting_ms: Option<u64>,
}

/// Pictures of friends, by their ids.
pub type Faces = std::collections::BTreeMap<twocan_control::FriendId, egui::TextureId>;

/// What is given to look at.
pub struct View<'a> {
    /// Unix time.
    pub now_ms: u64,
    /// The media of the call.
    pub media: Option<&'a Media>,
    /// The others in the call.
    pub parties: &'a [Party],
    /// The pictures of the call.
    pub textures: &'a Textures,
    /// The pictures that friends chose for themselves.
    pub faces: &'a Faces,
    /// Where they come from.
    pub films: &'a [(Place, &'a Film)],
}

impl std::fmt::Debug for View<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("now_ms", &self.now_ms).finish_non_exhaustive()
    }
}

/// Draws the whole window.
pub fn show(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let page = Frame::new().fill(palette.page).inner_margin(Margin::same(24));
    if model.node != Node::Up {
        CentralPanel::default().frame(page).show(ui, |ui| trouble::show(ui, model, state, view, commands));
        toasts(ui, model);
        return;
    }
    state.starting_ms = None;
    ring::show(ui, model, &mut state.ring, view, commands);
    if call::alone(ui, model, &mut state.call, view, commands) {
        return;
    }
    let side = Frame::new().fill(palette.side).inner_margin(Margin::same(14));
    Panel::left("side").exact_size(290.0).resizable(false).show_separator_line(false).frame(side).show(ui, |ui| {
        side::show(ui, model, state, view, commands);
    });
    ring::line(ui, model, commands);
    if call::shown(model, &state.call).is_some() {
        CentralPanel::default()
            .frame(Frame::NONE)
            .show(ui, |ui| call::show(ui, model, &mut state.call, view, commands));
        toasts(ui, model);
        return;
    }
    CentralPanel::default().frame(page).show(ui, |ui| {
        if model.selected().is_some() {
            friend::show(ui, model, state, view, commands);
        } else {
            home::show(ui, model, state, view, commands);
        }
    });
    dialogs::show(ui, state, commands);
    toasts(ui, model);
}

/// Messages that go by themselves, at the bottom.
fn toasts(ui: &Ui, model: &Model) {
    let palette = Palette::of(ui);
    let area = Area::new(Id::new("toasts")).order(Order::Foreground).interactable(false);
    area.anchor(Align2::RIGHT_BOTTOM, Vec2::new(-20.0, -18.0)).show(ui.ctx(), |ui| {
        for toast in model.toasts() {
            let fill = if toast.bad { palette.bad } else { palette.good };
            let frame =
                Frame::new().fill(fill).corner_radius(CornerRadius::same(12)).inner_margin(Margin::symmetric(14, 9));
            frame.show(ui, |ui| {
                ui.set_max_width(380.0);
                ui.label(egui::RichText::new(&toast.text).color(Color32::WHITE));
            });
        }
    });
}

#[cfg(test)]
mod tests;
