//! Small windows above the others: add a friend, rename, remove.

use eframe::egui::{CornerRadius, Frame, Id, Key, Margin, Modal, Stroke, TextEdit, Ui};
use twocan_control::{AddFriend, FriendId};

use super::State;
use crate::theme::Palette;
use crate::widgets;
use crate::worker::Command;

/// A small window and what was typed into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialog {
    /// Ask somebody to be a friend.
    Add {
        /// The address.
        address: String,
        /// A name to show here.
        name: String,
        /// A line about myself.
        message: String,
    },
    /// Give a friend another name here.
    Rename {
        /// Whom.
        friend: FriendId,
        /// The name.
        name: String,
    },
    /// Ask before a friendship is ended.
    Remove {
        /// Whose.
        friend: FriendId,
        /// The name.
        name: String,
    },
    /// The name that friends see.
    Name(String),
}

impl Dialog {
    /// An empty form to add a friend.
    #[must_use]
    pub fn add() -> Self {
        Self::Add { address: String::new(), name: String::new(), message: String::new() }
    }
}

pub(super) fn show(ui: &Ui, state: &mut State, commands: &mut Vec<Command>) {
    let Some(mut dialog) = state.dialog.take() else { return };
    let mut done = None;
    let palette = Palette::of(ui);
    let frame = Frame::new().fill(palette.page).stroke(Stroke::new(1.0, palette.line));
    let frame = frame.corner_radius(CornerRadius::same(18)).inner_margin(Margin::same(22));
    let shown = Modal::new(Id::new("dialog")).frame(frame).show(ui.ctx(), |ui| {
        ui.set_width(420.0);
        done = contents(ui, &mut dialog);
    });
    match done {
        Some(Some(command)) => commands.push(command),
        Some(None) => {}
        None if shown.should_close() => {}
        None => state.dialog = Some(dialog),
    }
}

/// `Some` closes the window, with or without a command.
fn contents(ui: &mut Ui, dialog: &mut Dialog) -> Option<Option<Command>> {
    match dialog {
        Dialog::Add { address, name, message } => {
            ui.heading("Add a friend");
            widgets::note(ui, "Paste the address that you were given (twocan1… or twocan:…).");
            let first = field(ui, address, "Address", 600);
            field(ui, name, "Name to show here (optional)", 64);
            field(ui, message, "A line about yourself (optional)", 280);
            if address.is_empty() {
                first.request_focus();
            }
            let ready = !address.trim().is_empty();
            confirm(ui, "Ask", ready).map(|yes| {
                yes.then(|| {
                    let given = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
                    let address = address.trim().to_owned();
                    Command::Add(AddFriend { address, name: given(name), message: given(message) })
                })
            })
        }
        Dialog::Rename { friend, name } => {
            ui.heading("Rename");
            field(ui, name, "Name", 64).request_focus();
            let ready = !name.trim().is_empty();
            let command = || Command::Rename { friend: friend.clone(), name: name.trim().to_owned() };
            confirm(ui, "Rename", ready).map(|yes| yes.then(command))
        }
        Dialog::Name(name) => {
            ui.heading("Your name");
            widgets::note(ui, "What your friends see.");
            field(ui, name, "Name", 64).request_focus();
            confirm(ui, "Save", true).map(|yes| yes.then(|| Command::SetName(name.trim().to_owned())))
        }
        Dialog::Remove { friend, name } => {
            ui.heading(format!("Remove {name}?"));
            widgets::note(ui, "You will not see each other any more; to come back, one of you asks again.");
            confirm(ui, "Remove", true).map(|yes| yes.then(|| Command::Remove { friend: friend.clone() }))
        }
    }
}

fn field(ui: &mut Ui, text: &mut String, hint: &'static str, limit: usize) -> eframe::egui::Response {
    let edit = TextEdit::singleline(text).hint_text(hint).char_limit(limit).desired_width(f32::INFINITY);
    ui.add(edit.margin(Margin::symmetric(12, 9)).background_color(Palette::of(ui).card))
}

/// Two buttons; `Some(true)` is the first of them, or Enter.
fn confirm(ui: &mut Ui, label: &str, ready: bool) -> Option<bool> {
    let palette = Palette::of(ui);
    ui.add_space(6.0);
    let enter = ui.input(|input| input.key_pressed(Key::Enter));
    ui.horizontal(|ui| {
        let yes = ui.add_enabled_ui(ready, |ui| widgets::strong(ui, label, palette.accent)).inner;
        let no = widgets::quiet(ui, "Cancel");
        if ready && (yes.clicked() || enter) { Some(true) } else { no.clicked().then_some(false) }
    })
    .inner
}
