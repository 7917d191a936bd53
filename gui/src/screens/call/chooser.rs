//! What to share: screens and windows with their names.

use eframe::egui::{
    CornerRadius, CursorIcon, FontId, Pos2, Rect, Response, ScrollArea, Sense, Stroke, StrokeKind, Ui, Vec2,
    WidgetInfo, WidgetType,
};
use twocan_control::Call;
use twocan_media::session::{Share, ShareSound};
use twocan_media::video::screen::{Offer, ScreenSource};

use super::State;
use crate::design::dialog::{Choice, Main, dialog};
use crate::design::{Button, empty, focus_ring, one_line, plain, section, switch};
use crate::model::Model;
use crate::model::call::gear::Look;
use crate::seat::Act;
use crate::text::{call as words, t};
use crate::theme::{Palette, icons, letters, radius};
use crate::worker::Command;

/// What is chosen so far.
#[derive(Debug, Default)]
pub struct Chooser {
    source: Option<ScreenSource>,
    sound: bool,
}

pub(super) fn show(ui: &Ui, call: &Call, model: &Model, state: &mut State, commands: &mut Vec<Command>) {
    let Some(mut chooser) = state.chooser.take() else { return };
    let main = Main { label: t(words::SHARE_START), danger: false, enabled: chooser.source.is_some() };
    let choice = dialog(ui, "share", t(words::SHARE_TITLE), 560.0, Some(main), |ui| {
        match &model.gears.screens {
            None => drop(ui.spinner()),
            Some(Ok(offer)) if !(offer.screens.is_empty() && offer.windows.is_empty() && !asks_itself(offer)) => {
                let height = (ui.ctx().content_rect().height() - 260.0).max(140.0);
                let done = ScrollArea::vertical().max_height(height).show(ui, |ui| list(ui, offer, &mut chooser)).inner;
                ui.add_space(10.0);
                ui.horizontal(|ui| {
                    switch(ui, t(words::SHARE_SOUND), &mut chooser.sound);
                    ui.label(t(words::SHARE_SOUND));
                });
                return done;
            }
            Some(found) => {
                let why = found.as_ref().err().cloned().unwrap_or_default();
                empty(ui, icons::MONITOR, t(words::SHARE_NONE), &why);
                if ui.add(Button::secondary(t(words::TRY_AGAIN))).clicked() {
                    commands.push(Command::Look(Look::Screens));
                }
            }
        }
        false
    });
    match (choice, chooser.source.clone()) {
        (Choice::Done, Some(source)) => {
            let sound = chooser.sound.then_some(ShareSound::System);
            let act = Act::Share(Some(Share { source, sound }));
            commands.push(Command::InCall { call: call.id.clone(), act });
        }
        (Choice::Closed, _) => {}
        _ => state.chooser = Some(chooser),
    }
}

/// The list; whether one was clicked twice.
fn list(ui: &mut Ui, offer: &Offer, chooser: &mut Chooser) -> bool {
    let mut done = false;
    #[cfg(target_os = "linux")]
    if offer.dialog.is_some() {
        ui.add_space(6.0);
        let response = row(
            ui,
            icons::SCREENCAST,
            t(words::SHARE_DIALOG),
            (0, 0),
            matches!(chooser.source, Some(ScreenSource::Dialog(_))),
        );
        done |= response.double_clicked();
        if response.clicked() || response.double_clicked() {
            chooser.source = Some(ScreenSource::Dialog(Default::default()));
        }
    }
    let mut line = |ui: &mut Ui, icon: char, name: &str, size: (u32, u32), source: ScreenSource| {
        let response = row(ui, icon, name, size, chooser.source.as_ref() == Some(&source));
        done |= response.double_clicked();
        if response.clicked() || response.double_clicked() {
            chooser.source = Some(source);
        }
    };
    if !offer.screens.is_empty() {
        section(ui, t(words::SHARE_SCREENS));
    }
    for screen in &offer.screens {
        let source = ScreenSource::Screen(Some(screen.number));
        line(ui, icons::MONITOR, &screen.name, (screen.width, screen.height), source);
    }
    if !offer.windows.is_empty() {
        section(ui, t(words::SHARE_WINDOWS));
    }
    for window in &offer.windows {
        let source = ScreenSource::Window(window.id.clone());
        line(ui, icons::FILE_TEXT, &window.title, (window.width, window.height), source);
    }
    done
}

/// Whether the desktop asks in a dialog of its own what to share.
fn asks_itself(offer: &Offer) -> bool {
    #[cfg(target_os = "linux")]
    return offer.dialog.is_some();
    #[cfg(not(target_os = "linux"))]
    false
}

fn row(ui: &mut Ui, icon: char, name: &str, (width, height): (u32, u32), chosen: bool) -> Response {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 44.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(WidgetType::RadioButton, true, chosen, name));
    if ui.is_rect_visible(rect) {
        let fill = match (chosen, response.hovered()) {
            (true, _) => palette.chosen,
            (false, true) => palette.hover,
            (false, false) => palette.raised,
        };
        let stroke = if chosen { Stroke::new(1.5, palette.accent_text) } else { Stroke::new(1.0, palette.line) };
        let painter = ui.painter();
        painter.rect(rect.shrink(1.0), CornerRadius::same(radius::M), fill, stroke, StrokeKind::Inside);
        let at = Pos2::new(rect.min.x + 24.0, rect.center().y);
        let font = FontId::new(20.0, letters::icons());
        painter.text(at, eframe::egui::Align2::CENTER_CENTER, icon, font, palette.quiet);
        let size = if width == 0 { String::new() } else { format!("{width} × {height}") };
        let galley = painter.layout_no_wrap(size, plain(letters::SMALL), palette.faint);
        let right = rect.max.x - 14.0 - galley.size().x;
        painter.galley(Pos2::new(right, rect.center().y - galley.size().y / 2.0), galley, palette.faint);
        let room = Rect::from_min_max(
            Pos2::new(rect.min.x + 46.0, rect.center().y - 9.0),
            Pos2::new(right - 12.0, rect.max.y),
        );
        let font = FontId::new(letters::BODY, letters::medium());
        one_line(painter, room.min, name, font, palette.text, room.width());
        focus_ring(ui, &response, rect, radius::M);
    }
    response.on_hover_cursor(CursorIcon::PointingHand)
}
