//! Windows above the others: add, rename, remove, words, backup.

mod add;
mod secrets;

use eframe::egui::Ui;
use twocan_control::limits::{MAX_FRIEND, MAX_NAME};

use super::{State, View};
use crate::design::card::note;
use crate::design::dialog::Main;
use crate::design::{Button, Choice, Field, dialog};
use crate::model::Model;
use crate::model::desk::Loadable;
use crate::text::{Word, fill, people as wp, settings as ws, t, ui as w};
use crate::theme::{icons, letters};
use crate::worker::Command;
use crate::worker::node::NodeCommand;

use add::Add;
use secrets::Restore;
pub(super) use secrets::Secret;

/// A window above the others, with what is typed in it.
#[derive(Clone, Debug)]
pub enum Dialog {
    /// Ask somebody to be a friend.
    Add(Add),
    /// Give a friend another name here.
    Rename {
        /// Whom.
        friend: String,
        /// The name.
        name: String,
    },
    /// End a friendship, or withdraw a request.
    Remove {
        /// With whom.
        friend: String,
        /// Under which name.
        name: String,
        /// It is a friendship.
        accepted: bool,
    },
    /// Block somebody.
    Block {
        /// Whom.
        friend: String,
        /// Under which name.
        name: String,
    },
    /// Forget a conversation.
    DeleteChat {
        /// With whom.
        friend: String,
        /// Under which name.
        name: String,
    },
    /// The name that friends see.
    Name(String),
    /// Forget all calls.
    ClearCalls,
    /// A new contact token.
    Rotate,
    /// The 24 words.
    Words,
    /// An encrypted backup.
    Backup(Secret),
    /// A passphrase for the keys.
    Passphrase(Secret),
    /// Bring an identity back, before the first start of the node.
    Restore(Restore),
    /// How to do that later.
    HowToRestore,
}

impl Dialog {
    /// Adding a friend, with nothing typed yet.
    #[must_use]
    pub fn add() -> Self {
        Self::Add(Add::default())
    }

    /// Adding the friend with this address.
    #[must_use]
    pub fn adding(address: &str) -> Self {
        let mut add = Add::default();
        add.address = address.chars().filter(|c| !c.is_control()).take(MAX_FRIEND).collect();
        Self::Add(add)
    }
}

pub(super) fn show(ui: &Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    let Some(mut open) = state.dialog.take() else { return };
    let choice = match &mut open {
        Dialog::Add(add) => add.show(ui, state, commands),
        Dialog::Rename { name, friend } => rename(ui, name, friend, commands),
        Dialog::Name(name) => own_name(ui, name, commands),
        Dialog::Words => secrets::words(ui, model, state, view, commands),
        Dialog::Backup(secret) => secret.backup(ui, commands),
        Dialog::Passphrase(secret) => secret.passphrase(ui, commands),
        Dialog::Restore(restore) => restore.show(ui, state, view, commands),
        Dialog::HowToRestore => dialog(ui, "how", t(ws::HOW_TITLE), 440.0, None, |ui| {
            ui.label(letters::body(t(ws::HOW_LINE)));
            false
        }),
        question => ask(ui, question, model, commands),
    };
    if choice == Choice::Open {
        state.dialog = Some(open);
    }
}

/// A yes-or-no question.
fn ask(ui: &Ui, question: &Dialog, model: &mut Model, commands: &mut Vec<Command>) -> Choice {
    let none = String::new();
    let (title, text, label, name): (Word, Word, Word, &String) = match question {
        Dialog::Remove { name, accepted: true, .. } => (wp::REMOVE_TITLE, wp::REMOVE_TEXT, wp::REMOVE_YES, name),
        Dialog::Remove { name, .. } => (wp::WITHDRAW_TITLE, wp::WITHDRAW_TEXT, wp::WITHDRAW_YES, name),
        Dialog::Block { name, .. } => (wp::BLOCK_TITLE, wp::BLOCK_TEXT, wp::BLOCK, name),
        Dialog::DeleteChat { name, .. } => (wp::DELETE_TITLE, wp::DELETE_TEXT, wp::DELETE_YES, name),
        Dialog::ClearCalls => (wp::CLEAR_TITLE, wp::CLEAR_TEXT, wp::CLEAR_YES, &none),
        _ => (wp::ROTATE_TITLE, wp::ROTATE_TEXT, ws::NEW_ADDRESS, &none),
    };
    let danger = !matches!(question, Dialog::Rotate);
    let main = Main { label: t(label), danger, enabled: true };
    let choice = dialog(ui, "question", &fill(title, &[name]), 420.0, Some(main), |ui| {
        ui.label(letters::body(fill(text, &[name])));
        false
    });
    if choice == Choice::Done {
        commands.push(match question.clone() {
            Dialog::Remove { friend, .. } => Command::Remove { friend },
            Dialog::Block { friend, .. } => Command::Node(NodeCommand::Block(friend)),
            Dialog::DeleteChat { friend, .. } => Command::Node(NodeCommand::DeleteConversation { friend }),
            Dialog::ClearCalls => Command::Node(NodeCommand::ClearHistory),
            _ => {
                model.desk.privacy = Loadable::Unknown;
                Command::Node(NodeCommand::Rotate)
            }
        });
    }
    choice
}

fn rename(ui: &Ui, name: &mut String, friend: &str, commands: &mut Vec<Command>) -> Choice {
    let main = Main { label: t(w::SAVE), danger: false, enabled: true };
    let choice = dialog(ui, "rename", t(wp::RENAME), 400.0, Some(main), |ui| {
        let typed = Field::new(name, t(w::NAME), t(w::NAME)).most(MAX_NAME).show(ui);
        focus(ui, &typed.response);
        note(ui, t(wp::RENAME_LINE));
        typed.enter
    });
    if choice == Choice::Done {
        commands.push(Command::Rename { friend: friend.to_owned(), name: name.trim().to_owned() });
    }
    choice
}

fn own_name(ui: &Ui, name: &mut String, commands: &mut Vec<Command>) -> Choice {
    let main = Main { label: t(w::SAVE), danger: false, enabled: !name.trim().is_empty() };
    let choice = dialog(ui, "own-name", t(ws::YOUR_NAME), 400.0, Some(main), |ui| {
        let typed = Field::new(name, t(ws::YOUR_NAME), t(ws::NAME_HINT)).most(MAX_NAME).show(ui);
        focus(ui, &typed.response);
        typed.enter
    });
    if choice == Choice::Done {
        commands.push(Command::SetName(name.trim().to_owned()));
    }
    choice
}

/// Gives the first field of a dialog the keyboard when the dialog opens.
fn focus(ui: &Ui, response: &eframe::egui::Response) {
    let id = ui.id().with("focused-once");
    let now = ui.ctx().cumulative_pass_nr();
    let before = ui.data_mut(|data| std::mem::replace(data.get_temp_mut_or_default::<u64>(id), now));
    if before + 2 < now || before == 0 {
        response.request_focus();
    }
}

/// A button that copies a text.
fn copy(ui: &mut Ui, text: &str, state: &mut State, now_ms: u64) {
    let icon = if state.copied(now_ms) { icons::CHECK } else { icons::COPY };
    if ui.add(Button::secondary(state.copy_word(now_ms)).icon(icon).small()).clicked() {
        ui.ctx().copy_text(text.to_owned());
        state.copied_ms = Some(now_ms);
    }
}
