//! What the person is typing and looking at, and what this machine answered.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use eframe::egui::{Context, TextureHandle, TextureOptions, ThemePreference};
use twocan_media::settings::MediaSettings;

use super::chat::Heights;
use super::dialogs::Dialog;
use super::picker::Picker;
use super::settings::Section;
use super::welcome::First;
use crate::local::{Done, Local, Machine};
use crate::model::{Model, Node};
use crate::prefs::{Look, Prefs};
use crate::text::{self, fill, t, ui as w};
use crate::theme::THEME_VARIABLE;
use crate::theme::fonts::Fallback;
use crate::trial::Trial;
use crate::worker::Command;
use crate::worker::node::NodeCommand;

/// Pictures of people that are kept ready to be drawn.
const MAX_PORTRAITS: usize = 256;

/// What the left side leads to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Page {
    /// Friends and their conversations.
    #[default]
    People,
    /// Calls that are over.
    Calls,
    /// My address.
    Address,
    /// A page of settings.
    Settings(Section),
}

/// What the person is typing and looking at.
#[derive(Default)]
pub struct State {
    /// A window above the others.
    pub dialog: Option<Dialog>,
    /// The page of a call.
    pub call: super::call::State,
    /// A call that rings.
    pub ring: super::ring::State,
    /// What stands in the search field.
    pub search: String,
    /// What stands in the passphrase field.
    pub passphrase: String,
    /// Whether it is shown.
    pub passphrase_shown: bool,
    /// The address was copied (Unix ms).
    pub copied_ms: Option<u64>,
    /// A node is being started since (Unix ms).
    pub starting_ms: Option<u64>,
    /// The page that is looked at.
    pub page: Page,
    /// Details of the friend are shown.
    pub details: bool,
    /// Only missed calls are shown.
    pub missed_only: bool,
    /// The first start, while it goes on.
    pub first: Option<First>,
    /// Choosing a file.
    pub picker: Option<Picker>,
    /// What a person chose for the window.
    pub prefs: Prefs,
    /// What a person chose for sound and picture.
    pub media: MediaSettings,
    /// What this machine has.
    pub machine: Option<Machine>,
    /// Devices that are being tried.
    pub trial: Trial,
    /// Synthetic devices instead of real ones.
    pub synthetic: bool,
    /// Work of this machine.
    pub local: Local,
    /// The camera's picture while devices are tried.
    pub mirror: super::devices::Mirror,
    pub(super) heights: Heights,
    portraits: BTreeMap<String, Option<TextureHandle>>,
    asked: std::collections::BTreeSet<String>,
    fallback: Fallback,
    /// A node was started by itself once.
    started_itself: bool,
    applied: Option<Prefs>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("page", &self.page).field("dialog", &self.dialog).finish_non_exhaustive()
    }
}

impl State {
    /// With what is kept for this home.
    #[must_use]
    pub fn of_home(home: &Path, context: &Context, synthetic: bool) -> Self {
        let local = Local::new(home, context.clone());
        let (media, _) = local.load();
        let prefs = Prefs::of(&media);
        let first = (!prefs.welcomed).then(First::default);
        Self { local, media, prefs, first, synthetic, ..Self::default() }
    }

    /// Before anything is drawn: takes in what this machine answered, and asks for what is missing.
    pub(super) fn before(&mut self, context: &Context, model: &mut Model, now_ms: u64, commands: &mut Vec<Command>) {
        self.wear(context);
        while let Some(done) = self.local.next() {
            self.done(context, done, model, now_ms, commands);
        }
        if model.node == Node::Up {
            if std::mem::take(&mut model.fresh) {
                commands.push(Command::Node(NodeCommand::Everything));
            }
            if std::mem::take(&mut model.desk.history_stale) {
                commands.push(Command::Node(NodeCommand::History));
            }
            if let Some((name, bytes)) = model.desk.to_save.take() {
                self.picker = Some(Picker::save(name, bytes, &self.local));
            }
        }
        // A node that does not run is started once without a question; after that a person decides.
        let begun = self.first.as_ref().is_none_or(|first| first.begun);
        if model.not_running() && begun && !model.was_up && !self.started_itself && self.local.has_home() {
            self.started_itself = true;
            self.starting_ms = Some(now_ms);
            commands.push(Command::StartNode);
        }
    }

    /// Theme, size and language as they are chosen.
    fn wear(&mut self, context: &Context) {
        text::speak(self.prefs.spoken());
        if self.applied.as_ref() == Some(&self.prefs) {
            return;
        }
        if std::env::var_os(THEME_VARIABLE).is_none() && self.local.has_home() {
            context.set_theme(match self.prefs.look {
                Look::System => ThemePreference::System,
                Look::Light => ThemePreference::Light,
                Look::Dark => ThemePreference::Dark,
            });
        }
        context.set_zoom_factor(f32::from(self.prefs.scale) / 100.0);
        self.applied = Some(self.prefs.clone());
    }

    /// Changes what is kept for the window.
    pub fn prefer(&mut self, change: impl FnOnce(&mut Prefs)) {
        change(&mut self.prefs);
        let prefs = self.prefs.clone();
        self.local.keep(move |settings| prefs.keep(settings));
    }

    /// Changes what is kept for sound and picture.
    pub fn choose(&mut self, change: impl Fn(&mut MediaSettings) + Send + 'static) {
        change(&mut self.media);
        self.local.keep(change);
    }

    fn done(&mut self, context: &Context, done: Done, model: &mut Model, now_ms: u64, commands: &mut Vec<Command>) {
        match done {
            Done::Machine(machine) => self.machine = Some(machine),
            Done::Settings(settings, trouble) => {
                self.media = *settings;
                if let Some(trouble) = trouble {
                    model.tell(trouble, true, now_ms);
                }
            }
            Done::Folder(path, entries) => {
                if let Some(picker) = &mut self.picker {
                    picker.listed(path, entries);
                }
            }
            Done::Scanned(result) => {
                if let Some(Dialog::Add(add)) = &mut self.dialog {
                    add.scanned(result);
                }
            }
            Done::Portrait(hash, image) => {
                let texture =
                    image.map(|image| context.load_texture(format!("portrait-{hash}"), image, TextureOptions::LINEAR));
                while self.portraits.len() >= MAX_PORTRAITS {
                    self.portraits.pop_first();
                }
                self.portraits.insert(hash, texture);
            }
            Done::OwnPortrait(Ok(bytes)) => commands.push(Command::Node(NodeCommand::SetPicture(bytes))),
            Done::Saved(Ok(path)) => model.tell(fill(w::SAVED_AS, &[&path.display().to_string()]), false, now_ms),
            Done::Saved(Err(error)) => model.tell(fill(w::CANNOT_SAVE, &[&error]), true, now_ms),
            Done::OwnPortrait(Err(error)) => model.tell(error, true, now_ms),
        }
    }

    /// The picture of a person by its hash, if it is here; it is asked for otherwise.
    pub fn portrait(
        &mut self,
        friend: Option<&str>,
        hash: Option<&String>,
        model: &Model,
        commands: &mut Vec<Command>,
    ) -> Option<TextureHandle> {
        let hash = hash?;
        if let Some(texture) = self.portraits.get(hash) {
            return texture.clone();
        }
        while self.portraits.len() >= MAX_PORTRAITS {
            self.portraits.pop_first();
        }
        match model.desk.pictures.get(hash) {
            Some(bytes) => {
                self.portraits.insert(hash.clone(), None);
                self.local.portrait(hash.clone(), bytes.clone());
            }
            None if !self.asked.contains(hash) => {
                if self.asked.len() >= MAX_PORTRAITS * 4 {
                    self.asked.clear();
                }
                self.asked.insert(hash.clone());
                let friend = friend.map(str::to_owned);
                commands.push(Command::Node(NodeCommand::Picture { friend, hash: hash.clone() }));
            }
            None => {}
        }
        None
    }

    /// Pictures of the friends in calls, as far as they are here.
    #[must_use]
    pub fn faces(&self, model: &Model) -> super::Faces {
        let face = |hash: &String| self.portraits.get(hash)?.as_ref().map(TextureHandle::id);
        let friends = model.calls().filter_map(|call| model.friend(&call.friend));
        friends.filter_map(|friend| Some((friend.id.clone(), face(friend.picture.as_ref()?)?))).collect()
    }

    /// Looks for a font for what is about to be written.
    pub fn writes(&mut self, context: &Context, text: &str) {
        self.fallback.needs(context, text);
    }

    /// Goes to a page.
    pub fn go(&mut self, page: Page) {
        if self.page != page {
            self.trial.stop();
        }
        self.page = page;
    }

    /// Where files are saved first.
    #[must_use]
    pub fn downloads(model: &Model) -> PathBuf {
        let folder = model.desk.settings.ready().map(|settings| PathBuf::from(&settings.download_folder));
        folder.or_else(std::env::home_dir).unwrap_or_else(|| PathBuf::from("/"))
    }

    /// "Copied" is shown for a moment.
    #[must_use]
    pub fn copied(&self, now_ms: u64) -> bool {
        self.copied_ms.is_some_and(|at| now_ms.saturating_sub(at) < 2_000)
    }

    /// The word on a button that copies.
    #[must_use]
    pub fn copy_word(&self, now_ms: u64) -> &'static str {
        t(if self.copied(now_ms) { w::COPIED } else { w::COPY })
    }
}
