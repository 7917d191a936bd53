//! The lines of a conversation: bubbles by day, marks, links, files with their progress.

use std::collections::BTreeMap;
use std::sync::Arc;

use eframe::egui::text::{LayoutJob, TextFormat};
use eframe::egui::{
    Align2, Color32, CornerRadius, CursorIcon, FontFamily, FontId, Galley, OpenUrl, Pos2, Rect, ScrollArea, Sense,
    Stroke, Ui, UiBuilder, Vec2, WidgetInfo, WidgetType,
};
use twocan_control::{AcceptFile, ChatMessage, Direction, FileAct, FileState, FileTransfer};

use super::{State, View};
use crate::design::{Button, card, empty, link, one_line, plain};
use crate::model::Model;
use crate::model::chat::{Mark, Piece, pieces};
use crate::text::{self, chat as wc, fill, t, ui as w};
use crate::theme::{Palette, icons, letters, radius, space};
use crate::worker::Command;
use crate::worker::node::NodeCommand;

/// Widest bubble.
const WIDEST: f32 = 520.0;
/// Lines of one side within this time belong together.
const TOGETHER_MS: u64 = 5 * 60_000;
/// Height of the bubble of a file without buttons, and of its row of buttons.
const FILE: f32 = 66.0;
const FILE_BUTTONS: f32 = 40.0;
const FILE_WIDTH: f32 = 300.0;

/// Heights of lines that were laid out, so that those out of sight need not be.
#[derive(Clone, Debug, Default)]
pub(super) struct Heights {
    of: String,
    width: f32,
    known: BTreeMap<u64, f32>,
}

/// The lines of the conversation with this friend.
pub(super) fn show(
    ui: &mut Ui,
    id: &str,
    model: &mut Model,
    state: &mut State,
    view: &View,
    commands: &mut Vec<Command>,
) {
    let Some(friend) = model.friend(id).cloned() else { return };
    let lines = model.chats.lines_mut(&friend.id);
    if !lines.asked && friend.state == twocan_control::FriendState::Accepted {
        (lines.asked, lines.loading) = (true, true);
        commands.push(Command::Node(NodeCommand::Lines { friend: friend.id.clone(), before: None }));
    }
    let seen = ui.input(|input| input.focused);
    if seen && model.chats.unread(&friend.id) > 0 && model.chats.lines(&friend.id).is_some_and(|l| !l.lines.is_empty())
    {
        commands.push(Command::Node(NodeCommand::MarkRead { friend: friend.id.clone() }));
        model.chats.seen(&friend.id);
    }
    let Some(lines) = model.chats.lines(&friend.id) else { return };
    if lines.lines.is_empty() {
        nothing(ui, &friend.name, friend.state, lines.loading, lines.trouble.as_ref());
        return;
    }
    let width = ui.available_width() - 14.0;
    if state.heights.of != friend.id || (state.heights.width - width).abs() > 0.5 {
        state.heights = Heights { of: friend.id.clone(), width, known: BTreeMap::new() };
    }
    let (more, loading) = (lines.more, lines.loading);
    let first = lines.lines.keys().next().copied();
    let area = ScrollArea::vertical().id_salt(("chat", &friend.id)).auto_shrink([false, false]).stick_to_bottom(true);
    let mut wants_older = false;
    let shown: Vec<ChatMessage> = lines.lines.values().cloned().collect();
    area.show_viewport(ui, |ui, viewport| {
        ui.spacing_mut().item_spacing.y = 0.0;
        // Few lines stand at the bottom, where the next one will be written.
        let total: f32 = shown.iter().filter_map(|line| state.heights.known.get(&line.place)).sum();
        ui.add_space((ui.clip_rect().height() - total - 60.0).max(12.0));
        if more {
            ui.vertical_centered(|ui| {
                if loading {
                    ui.spinner();
                } else if link(ui, t(wc::OLDER)).clicked() || viewport.min.y < 40.0 {
                    wants_older = true;
                }
            });
        }
        let mut before: Option<&ChatMessage> = None;
        for line in &shown {
            one(ui, model, state, view, before, line, width, commands);
            before = Some(line);
        }
        ui.add_space(space::S);
    });
    if let Some(place) = first.filter(|_| wants_older) {
        model.chats.lines_mut(&friend.id).loading = true;
        let command = NodeCommand::Lines { friend: friend.id.clone(), before: Some(place) };
        commands.push(Command::Node(command));
    }
}

fn nothing(
    ui: &mut Ui,
    name: &str,
    state: twocan_control::FriendState,
    loading: bool,
    trouble: Option<&twocan_control::Error>,
) {
    ui.add_space((ui.available_height() * 0.3 - 40.0).max(20.0));
    if loading {
        ui.vertical_centered(|ui| ui.spinner());
    } else if let Some(error) = trouble {
        ui.vertical_centered(|ui| {
            ui.label(letters::strong(t(wc::NOT_LOADED)));
            card::note(ui, error.message.clone());
        });
    } else if state == twocan_control::FriendState::Requested {
        empty(ui, icons::HOURGLASS, t(wc::WAITING_TITLE), &fill(wc::WAITING_LINE, &[name]));
    } else {
        empty(ui, icons::CHAT_TEARDROP_TEXT, &fill(wc::EMPTY_TITLE, &[name]), t(wc::EMPTY_LINE));
    }
}

/// One line with what stands above it, if it can be seen; else only its room.
#[expect(clippy::too_many_arguments, reason = "what is drawn, what it stands after, and where it goes")]
fn one(
    ui: &mut Ui,
    model: &Model,
    state: &mut State,
    view: &View,
    before: Option<&ChatMessage>,
    line: &ChatMessage,
    width: f32,
    commands: &mut Vec<Command>,
) {
    let file = line.file.as_ref().map(|note| model.chats.files.get(&note.id));
    let file_height = file.map(|found| FILE + if found.is_some_and(has_buttons) { FILE_BUTTONS } else { 0.0 });
    let known = if file.is_none() { state.heights.known.get(&line.place).copied() } else { None };
    let top = ui.cursor().min;
    if let Some(height) = known
        && !ui.is_rect_visible(Rect::from_min_size(top, Vec2::new(width, height)))
    {
        ui.allocate_exact_size(Vec2::new(width, height), Sense::hover());
        return;
    }
    let new_day =
        before.is_none_or(|before| text::day(before.kept_ms, view.now_ms) != text::day(line.kept_ms, view.now_ms));
    if new_day {
        separator(ui, &text::day(line.kept_ms, view.now_ms));
    }
    let close = before.is_some_and(|before| {
        before.direction == line.direction && !new_day && line.kept_ms.saturating_sub(before.kept_ms) < TOGETHER_MS
    });
    ui.add_space(if close { 3.0 } else { 10.0 });
    let mine = line.direction == Direction::Outgoing;
    let mark = model.chats.mark(line);
    match file_height {
        Some(height) => file_bubble(ui, state, line, file.flatten(), mine, height, width, commands),
        None => text_bubble(ui, state, line, mine, mark, width),
    }
    state.heights.known.insert(line.place, ui.cursor().min.y - top.y);
}

fn separator(ui: &mut Ui, day: &str) {
    let palette = Palette::of(ui);
    ui.add_space(14.0);
    ui.vertical_centered(|ui| ui.label(letters::tiny(day).color(palette.faint)));
    ui.add_space(2.0);
}

/// A text laid out with its links; and where in it they are (characters).
fn lay_out(ui: &Ui, text: &str, ink: Color32, width: f32) -> (Arc<Galley>, Vec<(std::ops::Range<usize>, String)>) {
    let font = FontId::new(letters::BODY, FontFamily::Proportional);
    let mut job = LayoutJob::default();
    let mut links = Vec::new();
    let mut at = 0;
    for piece in pieces(text) {
        let (words, underline) = match piece {
            Piece::Plain(words) => (words, Stroke::NONE),
            Piece::Link(words) => {
                links.push((at..at + words.chars().count(), words.to_owned()));
                (words, Stroke::new(1.0, ink))
            }
        };
        at += words.chars().count();
        job.append(words, 0.0, TextFormat { font_id: font.clone(), color: ink, underline, ..TextFormat::default() });
    }
    job.wrap.max_width = width;
    (ui.painter().layout_job(job), links)
}

fn text_bubble(ui: &mut Ui, state: &mut State, line: &ChatMessage, mine: bool, mark: Option<Mark>, width: f32) {
    let palette = Palette::of(ui);
    let (fill, ink) = if mine { (palette.accent, Color32::WHITE) } else { (palette.bubble, palette.text) };
    let faint = if mine { Color32::from_white_alpha(190) } else { palette.quiet };
    state.writes(ui.ctx(), &line.text);
    let widest = (width * 0.78).min(WIDEST);
    let (galley, links) = lay_out(ui, &line.text, ink, widest - 24.0);
    let time = text::time_of_day(line.sent_ms);
    let stamp = ui.painter().layout_no_wrap(time, FontId::new(11.0, letters::medium()), faint);
    let foot = stamp.size().x + if mark.is_some() { 20.0 } else { 0.0 };
    let last = galley.rows.last().map_or(0.0, |row| row.rect().width());
    // The time stands in the last line if there is room, else below.
    let beside = last + 12.0 + foot <= widest - 24.0;
    let inner = if beside { galley.size().x.max(last + 12.0 + foot) } else { galley.size().x.max(foot) };
    let height = galley.size().y + if beside { 16.0 } else { 32.0 };
    let (row, _) = ui.allocate_exact_size(Vec2::new(width, height), Sense::hover());
    let size = Vec2::new(inner + 24.0, height);
    let left = if mine { row.right() - size.x } else { row.left() };
    let bubble = Rect::from_min_size(Pos2::new(left, row.top()), size);
    let id = ui.id().with(("line", line.place));
    let response = ui.interact(bubble, id, Sense::click());
    let said = format!("{}, {}", line.text, text::time_of_day(line.sent_ms));
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, &said));
    ui.painter().rect_filled(bubble, CornerRadius::same(radius::L), fill);
    crate::design::focus_ring(ui, &response, bubble, radius::L);
    let at = bubble.min + Vec2::new(12.0, 8.0);
    let pointed = response.hover_pos().and_then(|pos| {
        let inside = Rect::from_min_size(at, galley.size()).contains(pos);
        let index = galley.cursor_from_pos(pos - at).index;
        links.iter().find(|(range, _)| inside && range.contains(&index.into())).map(|(_, link)| link.clone())
    });
    ui.painter().galley(at, galley, ink);
    let foot_y = bubble.bottom() - 8.0 - stamp.size().y;
    let stamp_x = bubble.right() - 12.0 - foot;
    let stamp_width = stamp.size().x;
    ui.painter().galley(Pos2::new(stamp_x, foot_y), stamp, faint);
    if let Some(mark) = mark {
        let icon = match mark {
            Mark::Waiting => icons::CLOCK,
            Mark::Delivered => icons::CHECK,
            Mark::Read => icons::CHECKS,
        };
        let ink = if mark == Mark::Read { Color32::WHITE } else { faint };
        let place = Pos2::new(stamp_x + stamp_width + 12.0, foot_y + 7.0);
        ui.painter().text(place, Align2::CENTER_CENTER, icon, FontId::new(15.0, letters::icons()), ink);
    }
    let tip = mark.map(|mark| {
        t(match mark {
            Mark::Waiting => wc::MARK_WAITING,
            Mark::Delivered => wc::MARK_DELIVERED,
            Mark::Read => wc::MARK_READ,
        })
    });
    let over_link = pointed.is_some();
    let mut response = response;
    if let Some(link) = pointed {
        response = response.on_hover_cursor(CursorIcon::PointingHand);
        if response.clicked() {
            ui.ctx().open_url(OpenUrl::new_tab(link));
        }
    }
    if let Some(tip) = tip.filter(|_| !over_link) {
        response = response.on_hover_text_at_pointer(tip);
    }
    response.context_menu(|ui| {
        if ui.button(t(w::COPY)).clicked() {
            ui.ctx().copy_text(line.text.clone());
            ui.close();
        }
        for (_, link) in &links {
            if ui.button(fill_link(link)).clicked() {
                ui.ctx().open_url(OpenUrl::new_tab(link));
                ui.close();
            }
        }
    });
}

fn fill_link(link: &str) -> String {
    fill(wc::OPEN_LINK, &[&text::clean_to(link, 40)])
}

fn has_buttons(file: &FileTransfer) -> bool {
    match file.state {
        FileState::Preparing | FileState::Waiting | FileState::Running | FileState::Paused => true,
        FileState::Offered => true,
        FileState::Done => file.direction == Direction::Incoming && file.path.is_some(),
        FileState::Declined | FileState::Cancelled | FileState::Failed => false,
    }
}

#[expect(clippy::too_many_arguments, reason = "what is drawn, and where it goes")]
fn file_bubble(
    ui: &mut Ui,
    state: &mut State,
    line: &ChatMessage,
    file: Option<&FileTransfer>,
    mine: bool,
    height: f32,
    width: f32,
    commands: &mut Vec<Command>,
) {
    let palette = Palette::of(ui);
    let Some(note) = &line.file else { return };
    let name = text::clean_to(&note.name, 120);
    state.writes(ui.ctx(), &name);
    let (row, _) = ui.allocate_exact_size(Vec2::new(width, height), Sense::hover());
    let left = if mine { row.right() - FILE_WIDTH } else { row.left() };
    let bubble = Rect::from_min_size(Pos2::new(left, row.top()), Vec2::new(FILE_WIDTH.min(width), height));
    let corner = CornerRadius::same(radius::L);
    ui.painter().rect(bubble, corner, palette.bubble, Stroke::new(1.0, palette.line), eframe::egui::StrokeKind::Inside);
    let disc = bubble.min + Vec2::new(34.0, 33.0);
    ui.painter().circle_filled(disc, 20.0, palette.accent);
    let icon = match file.map(|file| file.state) {
        Some(FileState::Done) => icons::CHECK,
        Some(FileState::Failed | FileState::Cancelled | FileState::Declined) => icons::X,
        Some(FileState::Paused) => icons::PAUSE,
        _ if mine => icons::FILE_ARROW_UP,
        _ => icons::FILE_ARROW_DOWN,
    };
    let font = FontId::new(20.0, letters::icons_filled());
    ui.painter().text(disc, Align2::CENTER_CENTER, icon, font, Color32::WHITE);
    let words = bubble.min + Vec2::new(64.0, 13.0);
    let room = bubble.width() - 76.0;
    one_line(ui.painter(), words, &name, FontId::new(14.5, letters::medium()), palette.text, room);
    let status = file.map_or_else(|| text::size(note.size), status);
    let said = format!("{name}, {status}");
    ui.interact(bubble, ui.id().with(("file", line.place)), Sense::hover())
        .widget_info(|| WidgetInfo::labeled(WidgetType::Label, true, &said));
    one_line(ui.painter(), words + Vec2::new(0.0, 20.0), &status, plain(12.5), palette.quiet, room);
    let Some(file) = file else { return };
    if matches!(file.state, FileState::Running | FileState::Paused | FileState::Waiting) {
        let track = Rect::from_min_size(Pos2::new(words.x, bubble.min.y + 56.0), Vec2::new(room, 4.0));
        ui.painter().rect_filled(track, CornerRadius::same(2), palette.line);
        let share = if file.size == 0 { 1.0 } else { (file.done as f64 / file.size as f64).clamp(0.0, 1.0) as f32 };
        let mut filled = track;
        filled.set_width(track.width() * share);
        ui.painter().rect_filled(filled, CornerRadius::same(2), palette.accent_text);
    }
    if height > FILE {
        let area = Rect::from_min_max(Pos2::new(words.x, bubble.max.y - FILE_BUTTONS), bubble.max);
        let mut below = ui.new_child(UiBuilder::new().max_rect(area));
        below.horizontal(|ui| file_buttons(ui, file, mine, commands));
    }
}

fn file_buttons(ui: &mut Ui, file: &FileTransfer, mine: bool, commands: &mut Vec<Command>) {
    ui.spacing_mut().item_spacing.x = 6.0;
    let mut act = |act| commands.push(Command::Node(NodeCommand::File { id: file.id.clone(), act }));
    match file.state {
        FileState::Offered if !mine => {
            if ui.add(Button::primary(t(wc::TAKE)).small()).clicked() {
                act(FileAct::Accept(AcceptFile::default()));
            }
            if ui.add(Button::ghost(t(wc::DECLINE)).small()).clicked() {
                act(FileAct::Decline);
            }
        }
        FileState::Done => {
            if let Some(path) = &file.path
                && ui.add(Button::ghost(t(wc::OPEN_FOLDER)).icon(icons::FOLDER_OPEN).small()).clicked()
                && let Some(folder) = std::path::Path::new(path).parent()
            {
                ui.ctx().open_url(OpenUrl::new_tab(format!("file://{}", folder.display())));
            }
        }
        _ => {
            if matches!(file.state, FileState::Running | FileState::Waiting)
                && ui.add(Button::ghost(t(wc::PAUSE)).icon(icons::PAUSE).small()).clicked()
            {
                act(FileAct::Pause);
            }
            if file.paused_here && ui.add(Button::ghost(t(wc::RESUME)).icon(icons::PLAY).small()).clicked() {
                act(FileAct::Resume);
            }
            if ui.add(Button::ghost(t(w::CANCEL)).icon(icons::X).small()).clicked() {
                act(FileAct::Cancel);
            }
        }
    }
}

/// How a transfer is, in a line.
fn status(file: &FileTransfer) -> String {
    let size = text::size(file.size);
    match file.state {
        FileState::Preparing => t(wc::PREPARING).into(),
        FileState::Offered if file.direction == Direction::Outgoing => fill(wc::OFFERED, &[&size]),
        FileState::Offered => size,
        FileState::Waiting => fill(wc::FILE_WAITING, &[&size]),
        FileState::Running => {
            let speed = file.bytes_per_second.map(|speed| format!(" · {}/s", text::size(speed))).unwrap_or_default();
            format!("{}{speed}", fill(wc::OF, &[&text::size(file.done), &size]))
        }
        FileState::Paused if file.paused_here => fill(wc::PAUSED, &[&text::size(file.done), &size]),
        FileState::Paused => fill(wc::PAUSED_THERE, &[&text::size(file.done), &size]),
        FileState::Done => fill(if file.direction == Direction::Incoming { wc::RECEIVED } else { wc::SENT }, &[&size]),
        FileState::Declined => t(wc::FILE_DECLINED).into(),
        FileState::Cancelled | FileState::Failed => {
            let word = if file.state == FileState::Failed { wc::FILE_FAILED } else { wc::FILE_CANCELLED };
            file.reason.as_ref().map_or_else(|| t(word).into(), |reason| text::clean_line(reason))
        }
    }
}
