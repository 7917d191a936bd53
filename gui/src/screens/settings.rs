//! Settings: the list of pages, and the pages.

mod general;
pub(super) mod identity;
mod network;

use eframe::egui::{Align2, CornerRadius, CursorIcon, FontId, ScrollArea, Sense, Ui, Vec2, WidgetInfo, WidgetType};

pub(super) use identity::service;

use super::address::column;
use super::{Page, State, View, devices};
use crate::design::{focus_ring, one_line};
use crate::model::Model;
use crate::text::{Word, settings as ws, t, ui as w};
use crate::theme::{Palette, icons, letters, radius, space};
use crate::worker::Command;

/// A page of settings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Section {
    /// Name and picture.
    #[default]
    Profile,
    /// Microphone, speaker, camera, voice.
    Devices,
    /// How others find and reach this node.
    Network,
    /// What may disturb.
    Notifications,
    /// Theme, size, language.
    Appearance,
    /// Read marks, files.
    Messages,
    /// Words, backup, passphrase, blocked people.
    Identity,
    /// Versions, data folder, report.
    About,
}

/// All of them in their order.
pub const SECTIONS: [Section; 8] = [
    Section::Profile,
    Section::Devices,
    Section::Messages,
    Section::Notifications,
    Section::Appearance,
    Section::Network,
    Section::Identity,
    Section::About,
];

impl Section {
    fn words(self) -> (char, Word) {
        match self {
            Self::Profile => (icons::USER_CIRCLE, ws::PROFILE),
            Self::Devices => (icons::MICROPHONE, ws::DEVICES),
            Self::Network => (icons::GLOBE, ws::NETWORK),
            Self::Notifications => (icons::BELL, ws::NOTIFICATIONS),
            Self::Appearance => (icons::PALETTE, ws::APPEARANCE),
            Self::Messages => (icons::CHAT_CIRCLE_TEXT, ws::MESSAGES),
            Self::Identity => (icons::KEY, ws::IDENTITY),
            Self::About => (icons::INFO, ws::ABOUT),
        }
    }
}

/// The list at the left.
pub(super) fn list(ui: &mut Ui, state: &mut State, section: Section) {
    ui.horizontal(|ui| {
        ui.set_min_height(38.0);
        ui.add_space(6.0);
        ui.label(letters::heading(t(w::SETTINGS)));
    });
    ui.add_space(6.0);
    ui.spacing_mut().item_spacing.y = 2.0;
    for one in SECTIONS {
        let palette = Palette::of(ui);
        let (icon, word) = one.words();
        let chosen = one == section;
        let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 44.0), Sense::click());
        response.widget_info(|| WidgetInfo::selected(WidgetType::SelectableLabel, true, chosen, t(word)));
        if chosen || response.hovered() {
            let fill = if chosen { palette.chosen } else { palette.hover };
            ui.painter().rect_filled(rect, CornerRadius::same(radius::M), fill);
        }
        focus_ring(ui, &response, rect.shrink(2.0), radius::M);
        let (family, ink) =
            if chosen { (letters::icons_filled(), palette.accent_text) } else { (letters::icons(), palette.quiet) };
        let at = rect.left_center() + Vec2::new(24.0, 0.0);
        ui.painter().text(at, Align2::CENTER_CENTER, icon, FontId::new(21.0, family), ink);
        let font = FontId::new(letters::BODY, letters::medium());
        let left = rect.left_center() + Vec2::new(46.0, -9.0);
        one_line(ui.painter(), left, t(word), font, palette.text, rect.width() - 52.0);
        if response.on_hover_cursor(CursorIcon::PointingHand).clicked() {
            state.go(Page::Settings(one));
        }
    }
}

/// The page at the right.
pub(super) fn show(
    ui: &mut Ui,
    section: Section,
    model: &mut Model,
    state: &mut State,
    view: &View,
    commands: &mut Vec<Command>,
) {
    let area = ScrollArea::vertical().id_salt(("settings", section.words().1.en)).auto_shrink([false, false]);
    area.show(ui, |ui| {
        column(ui, |ui| {
            ui.label(letters::title(t(section.words().1)));
            ui.add_space(space::XS);
            match section {
                Section::Profile => general::profile(ui, model, state, commands),
                Section::Devices => devices::settings(ui, state),
                Section::Network => network::show(ui, model, state, commands),
                Section::Notifications => general::notifications(ui, model, state, commands),
                Section::Appearance => general::appearance(ui, state),
                Section::Messages => general::messages(ui, model, state, commands),
                Section::Identity => identity::show(ui, model, state, view, commands),
                Section::About => identity::about(ui, model, commands),
            }
        });
    });
}

/// What stands in place of something that is asked for, or did not come.
fn pending(ui: &mut Ui, error: Option<&twocan_control::Error>) -> bool {
    match error {
        None => {
            ui.horizontal(|ui| {
                ui.spinner();
                crate::design::card::note(ui, t(w::LOADING));
            });
            false
        }
        Some(error) => {
            let palette = Palette::of(ui);
            let again =
                crate::design::banner(ui, icons::WARNING_CIRCLE, &error.message, palette.bad, Some(t(w::RETRY)));
            if let Some(hint) = &error.hint {
                crate::design::card::note(ui, hint.clone());
            }
            again.is_some_and(|again| again.clicked())
        }
    }
}
