//! What is drawn, screen by screen. Each takes the model and says what the person wants done.
//!
//! ```text
//! rail │ list (people, calls, settings) │ page (conversation and details, call, address, settings)
//! ```

mod address;
pub mod call;
mod chat;
mod composer;
mod details;
mod devices;
mod dialogs;
mod friend;
mod history;
mod people;
mod picker;
mod rail;
pub mod ring;
mod settings;
mod state;
mod trouble;
mod welcome;

use eframe::egui::{CentralPanel, Frame, Margin, Panel, Ui};
use twocan_control::SettingsUpdate;

use crate::design::toast::{Clicked, Shown, toasts};
use crate::model::call::Party;
use crate::model::{Help, Model, Node};
use crate::seat::{Film, Media, Place, Textures};
use crate::text::{t, trouble as wt};
use crate::theme::Palette;
use crate::worker::Command;
use crate::worker::node::NodeCommand;

pub use dialogs::Dialog;
pub use picker::{For, Picker};
pub use settings::{SECTIONS, Section};
pub use state::{Page, State};
pub use welcome::First;

/// Pictures of friends, by their ids.
pub type Faces = std::collections::BTreeMap<twocan_control::FriendId, eframe::egui::TextureId>;

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
    state.before(ui.ctx(), model, view.now_ms, commands);
    if state.first.is_some() {
        welcome::show(ui, model, state, view, commands);
    } else if model.node == Node::Up {
        state.starting_ms = None;
        whole(ui, model, state, view, commands);
    } else {
        let palette = Palette::of(ui);
        let page = Frame::new().fill(palette.page).inner_margin(Margin::same(24));
        CentralPanel::default().frame(page).show(ui, |ui| trouble::show(ui, model, state, view, commands));
    }
    if state.picker.is_some() {
        picked(ui, state, commands);
    } else {
        dialogs::show(ui, model, state, view, commands);
    }
    messages(ui, model, state, view, commands);
}

fn whole(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let width = ui.available_width();
    ring::show(ui, model, &mut state.ring, view, commands);
    if call::alone(ui, model, state, view, commands) {
        return;
    }
    rail::keys(ui, state);
    let rail = Frame::new().fill(palette.side).inner_margin(Margin::symmetric(0, 12));
    Panel::left("rail").exact_size(64.0).resizable(false).show_separator_line(false).frame(rail).show(ui, |ui| {
        rail::show(ui, model, state, commands);
    });
    let margin = Margin { left: 2, right: 10, top: 14, bottom: 0 };
    let list = Frame::new().fill(palette.side).inner_margin(margin);
    let size = (width * 0.3).clamp(236.0, 320.0);
    Panel::left("list").exact_size(size).resizable(false).show_separator_line(false).frame(list).show(ui, |ui| {
        match state.page {
            Page::People | Page::Address => people::show(ui, model, state, view, commands),
            Page::Calls => history::show(ui, model, state, view, commands),
            Page::Settings(section) => settings::list(ui, state, section),
        }
    });
    ring::line(ui, model, commands);
    let page = Frame::new().fill(palette.page);
    if call::shown(model, &state.call).is_some() && matches!(state.page, Page::People | Page::Calls) {
        let whole = CentralPanel::default().frame(Frame::NONE);
        whole.show(ui, |ui| call::show(ui, model, state, view, commands));
        return;
    }
    CentralPanel::default().frame(page).show(ui, |ui| match state.page {
        Page::Settings(section) => settings::show(ui, section, model, state, view, commands),
        Page::People | Page::Calls if model.selected().is_some() => {
            friend::show(ui, model, state, view, commands);
        }
        _ => address::show(ui, model, state, view, commands),
    });
}

/// Choosing a file, and what is done with it.
fn picked(ui: &Ui, state: &mut State, commands: &mut Vec<Command>) {
    let Some(picker) = &mut state.picker else { return };
    let Some(result) = picker.show(ui, &state.local) else { return };
    let purpose = picker.purpose.clone();
    state.picker = None;
    let Some(path) = result else { return };
    match purpose {
        For::Send(friend) => commands.push(Command::Node(NodeCommand::OfferFile { friend, path })),
        For::Scan => {
            if let Some(Dialog::Add(add)) = &mut state.dialog {
                add.scanning();
            }
            state.local.scan(Some(path));
        }
        For::Portrait => state.local.own_portrait(path),
        For::Backup => {
            if let Some(Dialog::Restore(restore)) = &mut state.dialog {
                restore.file = Some(path);
            }
        }
        For::Downloads => {
            let folder = path.to_string_lossy().into_owned();
            let update = SettingsUpdate { download_folder: Some(folder), ..SettingsUpdate::default() };
            commands.push(Command::Node(NodeCommand::UpdateSettings(update)));
        }
        For::Save(bytes) => state.local.save(path, bytes),
    }
}

/// Messages that go by themselves, at the bottom.
fn messages(ui: &Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let shown = model.toasts().map(|toast| Shown {
        text: &toast.text,
        hint: toast.hint.as_deref(),
        bad: toast.bad,
        action: toast.help.map(|help| match help {
            Help::Start => t(wt::START),
            Help::Devices => t(wt::DEVICES),
            Help::Doctor => t(wt::EXAMINE),
        }),
    });
    match toasts(ui, shown) {
        None => {}
        Some(Clicked::Close(at)) => model.forget_toast(at),
        Some(Clicked::Action(at)) => {
            let help = model.toasts().nth(at).and_then(|toast| toast.help);
            model.forget_toast(at);
            match help {
                Some(Help::Start) => {
                    state.starting_ms = Some(view.now_ms);
                    commands.push(Command::StartNode);
                }
                Some(Help::Devices) => state.go(Page::Settings(Section::Devices)),
                Some(Help::Doctor) => state.go(Page::Settings(Section::Network)),
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
