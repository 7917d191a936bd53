//! Calls that are over: missed ones stand out, one click calls back.

use eframe::egui::{
    Align, Color32, CornerRadius, CursorIcon, FontId, Layout, Rect, ScrollArea, Sense, Ui, Vec2, WidgetInfo, WidgetType,
};
use twocan_control::{Direction, HistoryEntry, Outcome};

use super::{Dialog, Page, State, View};
use crate::design::list::ROW;
use crate::design::{Avatar, empty, focus_ring, icon_button, one_line, plain, segments};
use crate::model::Model;
use crate::model::desk::was_missed;
use crate::text::{self, fill, people as wp, t, ui as w};
use crate::theme::{Palette, icons, letters, radius, space};
use crate::worker::Command;
use crate::worker::node::NodeCommand;

pub(super) fn show(ui: &mut Ui, model: &mut Model, state: &mut State, view: &View, commands: &mut Vec<Command>) {
    ui.horizontal(|ui| {
        ui.add_space(6.0);
        ui.label(letters::heading(t(w::CALLS)));
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            if !model.desk.history.is_empty() && icon_button(ui, icons::TRASH, t(wp::CLEAR_CALLS)).clicked() {
                state.dialog = Some(Dialog::ClearCalls);
            }
        });
    });
    ui.add_space(2.0);
    ui.horizontal(|ui| {
        ui.add_space(2.0);
        let chosen = usize::from(state.missed_only);
        if let Some(at) = segments(ui, t(w::CALLS), &[t(wp::ALL_CALLS), t(wp::MISSED)], chosen) {
            state.missed_only = at == 1;
        }
    });
    ui.add_space(space::S);
    // Being looked at, they are seen.
    if model.desk.missed() > 0 && ui.input(|input| input.focused) {
        for entry in &mut model.desk.history {
            entry.unseen = false;
        }
        commands.push(Command::Node(NodeCommand::HistorySeen));
    }
    let shown: Vec<HistoryEntry> =
        model.desk.history.iter().filter(|entry| !state.missed_only || was_missed(entry)).cloned().collect();
    if shown.is_empty() {
        ui.add_space(space::XXL);
        let (title, line) = if state.missed_only { (wp::NO_MISSED, "") } else { (wp::NO_CALLS, t(wp::NO_CALLS_LINE)) };
        empty(ui, icons::PHONE, t(title), line);
        return;
    }
    ui.spacing_mut().item_spacing.y = 0.0;
    let area = ScrollArea::vertical().id_salt("calls").auto_shrink([false, false]);
    area.show_rows(ui, ROW, shown.len(), |ui, seen| {
        for entry in shown.get(seen).into_iter().flatten() {
            row(ui, model, state, view, entry, commands);
        }
    });
}

fn row(
    ui: &mut Ui,
    model: &mut Model,
    state: &mut State,
    view: &View,
    entry: &HistoryEntry,
    commands: &mut Vec<Command>,
) {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), ROW), Sense::click());
    let missed = was_missed(entry);
    let line = describe(entry);
    let time = text::short_time(entry.started_ms, view.now_ms);
    let said = format!("{}, {line}, {time}", entry.friend_name);
    let chosen = model.selected.as_deref() == Some(entry.friend.as_str());
    response.widget_info(|| WidgetInfo::selected(WidgetType::SelectableLabel, true, chosen, &said));
    let surface = if response.hovered() { palette.hover } else { palette.side };
    if response.hovered() {
        ui.painter().rect_filled(rect, CornerRadius::same(radius::M), surface);
    }
    focus_ring(ui, &response, rect.shrink(2.0), radius::M);
    let known = model.friend(&entry.friend);
    let hash = known.and_then(|friend| friend.picture.clone());
    let picture = state.portrait(Some(&entry.friend), hash.as_ref(), model, commands);
    let avatar = Avatar::new(&entry.friend, &entry.friend_name, 21.0).picture(picture.as_ref().map(|p| p.id()));
    avatar.on(surface).paint(ui, rect.left_center() + Vec2::new(32.0, 0.0));
    let left = rect.left_center() + Vec2::new(64.0, -20.0);
    let room = rect.width() - 64.0 - 56.0;
    let ink = if missed { palette.bad } else { palette.text };
    let ink = if palette.page.r() < 128 && missed { ink.lerp_to_gamma(Color32::WHITE, 0.35) } else { ink };
    state.writes(ui.ctx(), &entry.friend_name);
    one_line(ui.painter(), left, &entry.friend_name, FontId::new(letters::BODY, letters::medium()), ink, room);
    let icon = match (missed, entry.direction, entry.video) {
        (true, ..) => icons::PHONE_X,
        (_, Direction::Incoming, _) => icons::ARROW_DOWN_LEFT,
        (_, Direction::Outgoing, _) => icons::ARROW_UP_RIGHT,
    };
    let font = FontId::new(15.0, letters::icons());
    let at = left + Vec2::new(0.0, 30.0);
    let taken = ui.painter().text(at, eframe::egui::Align2::LEFT_CENTER, icon, font, palette.faint);
    let second = left + Vec2::new(taken.width() + 4.0, 22.0);
    let line = format!("{line} · {time}");
    one_line(ui.painter(), second, &line, plain(letters::SMALL), palette.quiet, room - taken.width());
    if response.on_hover_cursor(CursorIcon::PointingHand).clicked() && model.friend(&entry.friend).is_some() {
        model.selected = Some(entry.friend.clone());
        state.page = Page::Calls;
    }
    if model.friend(&entry.friend).is_some() {
        let place = Rect::from_center_size(rect.right_center() - Vec2::new(26.0, 0.0), Vec2::splat(38.0));
        let icon = if entry.video { icons::VIDEO_CAMERA } else { icons::PHONE };
        let name = fill(wp::CALL_BACK, &[&entry.friend_name]);
        let mut side = ui.new_child(eframe::egui::UiBuilder::new().max_rect(place));
        if icon_button(&mut side, icon, &name).clicked() {
            commands.push(Command::Call { friend: entry.friend.clone(), video: entry.video });
        }
    }
}

/// What a call was, in words.
fn describe(entry: &HistoryEntry) -> String {
    if was_missed(entry) {
        return t(wp::CALL_MISSED).into();
    }
    let outcome = match entry.outcome {
        Outcome::Completed => {
            let way = if entry.direction == Direction::Incoming { wp::CALL_IN } else { wp::CALL_OUT };
            return format!("{} · {}", t(way), text::duration(entry.talked_ms));
        }
        Outcome::Declined => wp::DECLINED,
        Outcome::Cancelled => wp::CANCELLED,
        Outcome::Unanswered => wp::NO_ANSWER,
        Outcome::Busy => wp::BUSY,
        Outcome::DoNotDisturb => wp::DND,
        Outcome::AnsweredElsewhere => wp::ELSEWHERE,
        Outcome::Unreachable => wp::UNREACHABLE,
        Outcome::Failed => wp::FAILED,
    };
    t(outcome).into()
}
