//! The field to write into: Enter sends, Shift+Enter begins a new line, files are dropped or chosen.

use eframe::egui::{
    Align2, Color32, CornerRadius, FontId, Frame, Id, Key, KeyboardShortcut, LayerId, Margin, Modifiers, Order, Stroke,
    StrokeKind, TextEdit, Ui, WidgetInfo, WidgetType,
};
use twocan_control::limits::MAX_MESSAGE;

use super::{For, Picker, State};
use crate::design::{icon_button, round_button};
use crate::model::Model;
use crate::text::{chat as wc, fill, t};
use crate::theme::{Palette, icons, letters, radius};
use crate::worker::Command;
use crate::worker::node::NodeCommand;

/// Highest field, in lines; then it scrolls.
const MAX_ROWS: f32 = 6.0;

/// The field of the conversation with this friend.
pub(super) fn show(ui: &mut Ui, id: &str, model: &mut Model, state: &mut State, commands: &mut Vec<Command>) {
    let palette = Palette::of(ui);
    let Some(friend) = model.friend(id).cloned() else { return };
    dropped(ui, &friend.id, &friend.name, state, commands);
    if let Some(trouble) = model.chats.conversation(&friend.id).and_then(|whole| whole.trouble.clone()) {
        crate::design::card::note(ui, trouble);
    }
    let draft = model.chats.drafts.entry(friend.id.clone()).or_default();
    let mut send = false;
    ui.horizontal(|ui| {
        if icon_button(ui, icons::PAPERCLIP, t(wc::ATTACH)).clicked() {
            state.picker = Some(Picker::open(For::Send(friend.id.clone()), &state.local));
        }
        let room = ui.available_width() - 50.0;
        let frame = Frame::new().fill(palette.field).corner_radius(CornerRadius::same(20));
        let shown = frame.inner_margin(Margin::symmetric(16, 10)).show(ui, |ui| {
            ui.set_width(room - 32.0);
            let hint = fill(wc::WRITE_TO, &[&friend.name]);
            let height = 20.0 * MAX_ROWS;
            let area =
                eframe::egui::ScrollArea::vertical().max_height(height).min_scrolled_height(22.0).id_salt("draft");
            area.show(ui, |ui| {
                let edit = TextEdit::multiline(draft).id(field_id(&friend.id)).frame(Frame::NONE).desired_rows(1);
                let edit = edit.margin(Margin::ZERO).desired_width(f32::INFINITY).char_limit(MAX_MESSAGE / 4);
                let edit = edit.hint_text(letters::body(&hint).color(palette.faint));
                let edit = edit.background_color(Color32::TRANSPARENT);
                let response = ui.add(edit.return_key(KeyboardShortcut::new(Modifiers::SHIFT, Key::Enter)));
                let value = draft.clone();
                response.widget_info(|| {
                    let mut info = WidgetInfo::labeled(WidgetType::TextEdit, true, &hint);
                    info.current_text_value = Some(value.clone());
                    info
                });
                response
            })
            .inner
        });
        let response = shown.inner;
        let stroke = if response.has_focus() { Stroke::new(2.0, palette.accent_text) } else { Stroke::NONE };
        ui.painter().rect_stroke(shown.response.rect, CornerRadius::same(20), stroke, StrokeKind::Inside);
        let enter = response.has_focus()
            && ui.input(|input| input.key_pressed(Key::Enter) && !input.modifiers.shift && !input.modifiers.alt);
        let full = !draft.trim().is_empty();
        let (fill, ink) = if full { (palette.accent, Color32::WHITE) } else { (palette.card, palette.faint) };
        let clicked = round_button(ui, icons::PAPER_PLANE_RIGHT, t(wc::SEND), 40.0, fill, ink).clicked();
        send = full && (enter || clicked);
        if clicked {
            response.request_focus();
        }
    });
    if send {
        let text = std::mem::take(draft).trim().to_owned();
        commands.push(Command::Node(NodeCommand::Send { friend: friend.id, text }));
    }
}

/// The field of a friend's conversation.
pub(super) fn field_id(friend: &str) -> Id {
    Id::new(("draft", friend))
}

/// Files over the window: shown, and offered when they are let go.
fn dropped(ui: &Ui, friend: &str, name: &str, state: &State, commands: &mut Vec<Command>) {
    if state.dialog.is_some() || state.picker.is_some() {
        return;
    }
    let (hovering, files) = ui.input(|input| {
        (
            !input.raw.hovered_files.is_empty(),
            input.raw.dropped_files.iter().filter_map(|f| f.path.clone()).collect::<Vec<_>>(),
        )
    });
    for path in files {
        commands.push(Command::Node(NodeCommand::OfferFile { friend: friend.to_owned(), path }));
    }
    if hovering {
        let palette = Palette::of(ui);
        let painter = ui.ctx().layer_painter(LayerId::new(Order::Foreground, Id::new("drop")));
        let rect = ui.ctx().content_rect().shrink(14.0);
        let corner = CornerRadius::same(radius::XL);
        painter.rect_filled(rect, corner, palette.page.gamma_multiply(0.92));
        painter.rect_stroke(rect, corner, Stroke::new(2.5, palette.accent_text), StrokeKind::Inside);
        let words = fill(wc::DROP, &[name]);
        let font = FontId::new(letters::HEADING, letters::semibold());
        painter.text(rect.center(), Align2::CENTER_CENTER, words, font, palette.accent_text);
    }
}
