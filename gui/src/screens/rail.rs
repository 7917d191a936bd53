//! The rail at the far left: where one can go, and me.

use eframe::egui::{
    Align, Align2, Color32, CornerRadius, CursorIcon, FontId, Key, Layout, Modifiers, Popup, Rect, Response, Sense, Ui,
    Vec2, WidgetInfo, WidgetType,
};
use twocan_control::Availability;

use super::{Page, Section, State};
use crate::design::list::badge_at;
use crate::design::{Avatar, Row, focus_ring, logo};
use crate::model::Model;
use crate::model::people::own_presence;
use crate::text::{people as wp, t, ui as w};
use crate::theme::{Palette, icons, letters, radius};
use crate::worker::Command;

/// Ctrl+1 … Ctrl+4 lead to the pages, Ctrl+F into the search.
pub(super) fn keys(ui: &Ui, state: &mut State) {
    let pages = [
        (Key::Num1, Page::People),
        (Key::Num2, Page::Calls),
        (Key::Num3, Page::Address),
        (Key::Num4, Page::Settings(Section::default())),
    ];
    for (key, page) in pages {
        if ui.input_mut(|input| input.consume_key(Modifiers::COMMAND, key)) {
            state.go(page);
        }
    }
    if ui.input_mut(|input| input.consume_key(Modifiers::COMMAND, Key::F)) {
        state.go(Page::People);
        ui.memory_mut(|memory| memory.request_focus(super::people::search_id()));
    }
    if ui.input_mut(|input| input.consume_key(Modifiers::COMMAND, Key::N)) {
        state.dialog = Some(super::Dialog::add());
    }
}

pub(super) fn show(ui: &mut Ui, model: &Model, state: &mut State, commands: &mut Vec<Command>) {
    ui.with_layout(Layout::top_down(Align::Center), |ui| {
        ui.spacing_mut().item_spacing.y = 6.0;
        logo::show(ui, 36.0);
        ui.add_space(10.0);
        let requests = u32::try_from(model.requests().len()).unwrap_or(u32::MAX);
        let unread = model.chats.all_unread().saturating_add(requests);
        let settings = matches!(state.page, Page::Settings(_));
        let places = [
            (icons::CHATS_CIRCLE, w::PEOPLE, Page::People, state.page == Page::People, unread),
            (icons::PHONE, w::CALLS, Page::Calls, state.page == Page::Calls, model.desk.missed()),
            (icons::QR_CODE, w::MY_ADDRESS, Page::Address, state.page == Page::Address, 0),
            (icons::GEAR_SIX, w::SETTINGS, Page::Settings(Section::default()), settings, 0),
        ];
        for (icon, name, page, chosen, number) in places {
            if place(ui, icon, t(name), chosen, number).clicked() {
                state.go(page);
            }
        }
        ui.with_layout(Layout::bottom_up(Align::Center), |ui| me(ui, model, state, commands));
    });
}

fn place(ui: &mut Ui, icon: char, name: &str, chosen: bool, number: u32) -> Response {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(46.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(WidgetType::Button, true, chosen, name));
    let fill = if chosen {
        palette.chosen
    } else if response.hovered() {
        palette.hover
    } else {
        Color32::TRANSPARENT
    };
    ui.painter().rect_filled(rect, CornerRadius::same(radius::L), fill);
    let (ink, family) =
        if chosen { (palette.accent_text, letters::icons_filled()) } else { (palette.quiet, letters::icons()) };
    ui.painter().text(rect.center(), Align2::CENTER_CENTER, icon, FontId::new(24.0, family), ink);
    if number > 0 {
        badge_at(ui, rect.right_top() + Vec2::new(3.0, 9.0), number, palette.accent);
    }
    focus_ring(ui, &response, rect, radius::L);
    response.on_hover_text(name).on_hover_cursor(CursorIcon::PointingHand)
}

/// My disc with a menu: availability, profile.
fn me(ui: &mut Ui, model: &Model, state: &mut State, commands: &mut Vec<Command>) {
    let Some(identity) = &model.identity else { return };
    let palette = Palette::of(ui);
    let picture = state.portrait(None, identity.picture.as_ref(), model, commands);
    let name = if identity.name.is_empty() { t(wp::ME) } else { identity.name.as_str() };
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(46.0), Sense::click());
    let label = format!("{name}, {}", t(word(model.availability)));
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Button, true, &label));
    let avatar = Avatar::new(&identity.root, name, 19.0).picture(picture.as_ref().map(|picture| picture.id()));
    avatar.presence(Some(own_presence(model.availability))).on(palette.side).paint(ui, rect.center());
    focus_ring(ui, &response, rect, 23);
    let response = response.on_hover_text(label).on_hover_cursor(CursorIcon::PointingHand);
    Popup::menu(&response).width(230.0).show(|ui| {
        ui.set_width(230.0);
        let avatar = Avatar::new(&identity.root, name, 19.0).picture(picture.as_ref().map(|picture| picture.id()));
        if Row::new(avatar, name, t(wp::EDIT_PROFILE)).show(ui).clicked() {
            state.go(Page::Settings(Section::Profile));
            ui.close();
        }
        for availability in [Availability::Available, Availability::Dnd, Availability::Invisible] {
            let chosen = availability == model.availability;
            if choice(ui, t(word(availability)), t(meaning(availability)), chosen).clicked() {
                commands.push(Command::SetAvailability(availability));
                ui.close();
            }
        }
    });
}

/// An entry of a menu with a tick.
fn choice(ui: &mut Ui, name: &str, line: &str, chosen: bool) -> Response {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 46.0), Sense::click());
    response.widget_info(|| WidgetInfo::selected(WidgetType::RadioButton, true, chosen, name));
    if response.hovered() {
        ui.painter().rect_filled(rect, CornerRadius::same(radius::S), palette.hover);
    }
    focus_ring(ui, &response, rect, radius::S);
    let left = rect.left_top() + Vec2::new(10.0, 6.0);
    let width = rect.width() - 44.0;
    crate::design::one_line(ui.painter(), left, name, FontId::new(14.5, letters::medium()), palette.text, width);
    let second = left + Vec2::new(0.0, 18.0);
    crate::design::one_line(ui.painter(), second, line, crate::design::plain(12.0), palette.quiet, width + 20.0);
    if chosen {
        let at = Rect::from_min_max(rect.min, rect.max).right_center() - Vec2::new(20.0, 8.0);
        let font = FontId::new(18.0, letters::icons());
        ui.painter().text(at, Align2::CENTER_CENTER, icons::CHECK, font, palette.accent_text);
    }
    response.on_hover_cursor(CursorIcon::PointingHand)
}

/// An availability in words.
pub(super) fn word(availability: Availability) -> crate::text::Word {
    match availability {
        Availability::Available => wp::AVAILABLE,
        Availability::Dnd => wp::DO_NOT_DISTURB,
        Availability::Invisible => wp::INVISIBLE,
    }
}

fn meaning(availability: Availability) -> crate::text::Word {
    match availability {
        Availability::Available => wp::AVAILABLE_LINE,
        Availability::Dnd => wp::DND_LINE,
        Availability::Invisible => wp::INVISIBLE_LINE,
    }
}
