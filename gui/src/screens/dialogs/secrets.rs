//! The 24 words, backups, passphrases. What is typed here is wiped when the dialog goes.

use std::path::PathBuf;

use eframe::egui::Ui;
use twocan_control::Passphrase;
use twocan_control::limits::MIN_BACKUP_PASSPHRASE;

use super::{copy, focus};
use crate::design::dialog::Main;
use crate::design::{Button, Choice, Field, banner, caption, card, dialog, field, segments};
use crate::model::Model;
use crate::model::desk::Loadable;
use crate::screens::{For, Picker, State, View, details};
use crate::text::{fill, people as wp, settings as ws, t, ui as w};
use crate::theme::{Palette, icons, letters, space};
use crate::worker::Command;
use crate::worker::node::NodeCommand;

/// The words of an identity.
const WORDS: usize = 24;

/// A passphrase that is typed twice.
#[derive(Clone, Default)]
pub struct Secret {
    one: String,
    two: String,
    shown: bool,
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Overwrites what was typed; the buffer is not given back with it.
fn wipe(text: &mut String) {
    drop(Passphrase { passphrase: std::mem::take(text) });
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.one);
        wipe(&mut self.two);
    }
}

impl Secret {
    fn take(&mut self) -> Passphrase {
        wipe(&mut self.two);
        Passphrase { passphrase: std::mem::take(&mut self.one) }
    }

    fn fields(&mut self, ui: &mut Ui) -> bool {
        caption(ui, t(w::PASSPHRASE));
        let first = field::secret(ui, &mut self.one, t(w::PASSPHRASE), t(w::PASSPHRASE), &mut self.shown);
        focus(ui, &first.response);
        caption(ui, t(wp::AGAIN));
        let mut shown = self.shown;
        let second = field::secret(ui, &mut self.two, t(wp::AGAIN), t(wp::AGAIN), &mut shown);
        self.shown = shown;
        if !self.two.is_empty() && self.one != self.two {
            card::note(ui, t(wp::DIFFERENT));
        }
        second.enter
    }

    pub(super) fn backup(&mut self, ui: &Ui, commands: &mut Vec<Command>) -> Choice {
        let long = self.one.chars().count() >= MIN_BACKUP_PASSPHRASE;
        let main = Main { label: t(ws::MAKE_BACKUP), danger: false, enabled: long && self.one == self.two };
        let choice = dialog(ui, "backup", t(ws::BACKUP), 440.0, Some(main), |ui| {
            ui.label(letters::body(fill(wp::BACKUP_TEXT, &[&MIN_BACKUP_PASSPHRASE.to_string()])));
            self.fields(ui)
        });
        if choice == Choice::Done {
            commands.push(Command::Node(NodeCommand::Backup(self.take())));
        }
        choice
    }

    pub(super) fn passphrase(&mut self, ui: &Ui, commands: &mut Vec<Command>) -> Choice {
        let main = Main { label: t(w::SAVE), danger: false, enabled: self.one == self.two };
        let choice = dialog(ui, "passphrase", t(ws::PASSPHRASE), 440.0, Some(main), |ui| {
            ui.label(letters::body(t(wp::PASSPHRASE_TEXT)));
            self.fields(ui)
        });
        if choice == Choice::Done {
            commands.push(Command::Node(NodeCommand::SetPassphrase(self.take())));
        }
        choice
    }
}

/// Shows the 24 words, and forgets them when the dialog goes.
pub(super) fn words(ui: &Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) -> Choice {
    if model.desk.phrase.begin() {
        commands.push(Command::Node(NodeCommand::Phrase));
    }
    let choice = dialog(ui, "words", t(ws::WORDS), 520.0, None, |ui| {
        let palette = Palette::of(ui);
        banner(ui, icons::WARNING, t(wp::WORDS_TEXT), palette.warn, None);
        ui.add_space(space::S);
        match &model.desk.phrase {
            Loadable::Ready(phrase) => {
                details::chips(ui, phrase.words.split_whitespace());
                ui.add_space(space::S);
                copy(ui, &phrase.words, state, view.now_ms);
            }
            Loadable::Failed(error) => drop(ui.label(letters::body(&error.message).color(palette.bad))),
            _ => drop(ui.spinner()),
        }
        false
    });
    if choice != Choice::Open {
        model.desk.phrase = Loadable::Unknown;
    }
    choice
}

/// Bringing an identity back.
#[derive(Clone, Default)]
pub struct Restore {
    /// From a backup rather than from words.
    from_file: bool,
    secret: String,
    shown: bool,
    /// The backup.
    pub file: Option<PathBuf>,
}

impl std::fmt::Debug for Restore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restore").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Drop for Restore {
    fn drop(&mut self) {
        wipe(&mut self.secret);
    }
}

impl Restore {
    pub(super) fn show(&mut self, ui: &Ui, state: &mut State, view: &View, commands: &mut Vec<Command>) -> Choice {
        let count = self.secret.split_whitespace().count();
        let enabled = if self.from_file { self.file.is_some() && !self.secret.is_empty() } else { count == WORDS };
        let main = Main { label: t(ws::RESTORE), danger: false, enabled };
        let choice = dialog(ui, "restore", t(ws::HOW_TITLE), 480.0, Some(main), |ui| {
            let labels = [t(wp::FROM_WORDS), t(wp::FROM_BACKUP)];
            if let Some(at) = segments(ui, t(ws::RESTORE), &labels, usize::from(self.from_file)) {
                self.from_file = at == 1;
                wipe(&mut self.secret);
            }
            ui.add_space(space::S);
            if self.from_file {
                self.backup(ui, state)
            } else {
                let hint = t(wp::WORDS_HINT);
                Field::new(&mut self.secret, t(ws::WORDS), hint).rows(4).most(400).show(ui);
                card::note(ui, fill(wp::WORDS_COUNT, &[&count.to_string()]));
                false
            }
        });
        if choice == Choice::Done {
            let text = std::mem::take(&mut self.secret);
            let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            let passphrase = if self.from_file { text } else { words(&text) };
            let file = self.file.take().filter(|_| self.from_file);
            commands.push(Command::Restore { secret: Passphrase { passphrase }, file });
            state.starting_ms = Some(view.now_ms);
            if let Some(first) = &mut state.first {
                first.begun = true;
            }
        }
        choice
    }

    fn backup(&mut self, ui: &mut Ui, state: &mut State) -> bool {
        ui.horizontal(|ui| {
            if ui.add(Button::secondary(t(w::CHOOSE)).icon(icons::FOLDER_OPEN).small()).clicked() {
                state.picker = Some(Picker::open(For::Backup, &state.local));
            }
            let name =
                self.file.as_ref().and_then(|path| path.file_name()).map(|name| name.to_string_lossy().into_owned());
            card::note(ui, name.unwrap_or_else(|| t(w::CHOOSE_BACKUP).into()));
        });
        caption(ui, t(w::PASSPHRASE));
        let name = t(w::PASSPHRASE);
        field::secret(ui, &mut self.secret, name, name, &mut self.shown).enter
    }
}
