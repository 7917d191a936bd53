//! Short messages at the bottom: what was done, or what went wrong and what helps.

use eframe::egui::{
    Align, Align2, Area, CornerRadius, Frame, Id, Layout, Margin, Order, Stroke, Ui, Vec2, WidgetInfo, WidgetType,
};

use super::button::{icon_button, link};
use crate::text::{t, ui as w};
use crate::theme::{self, Palette, icons, letters, radius};

/// One message to be shown.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// What it says.
    pub text: &'a str,
    /// What helps.
    pub hint: Option<&'a str>,
    /// Something went wrong.
    pub bad: bool,
    /// A button that helps.
    pub action: Option<&'a str>,
}

/// What was clicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clicked {
    /// The cross of the message with this number.
    Close(usize),
    /// Its button.
    Action(usize),
}

/// Shows messages, the oldest above.
pub fn toasts<'a>(ui: &Ui, toasts: impl Iterator<Item = Shown<'a>>) -> Option<Clicked> {
    let palette = Palette::of(ui);
    let dark = ui.visuals().dark_mode;
    let mut clicked = None;
    let area = Area::new(Id::new("toasts")).order(Order::Foreground);
    area.anchor(Align2::CENTER_BOTTOM, Vec2::new(0.0, -22.0)).show(ui.ctx(), |ui| {
        for (at, toast) in toasts.enumerate() {
            let frame = Frame::new().fill(palette.raised).corner_radius(CornerRadius::same(radius::L));
            let frame = frame.stroke(Stroke::new(1.0, palette.line)).shadow(theme::shadow(dark));
            let shown = frame.inner_margin(Margin { left: 14, right: 8, top: 8, bottom: 8 }).show(ui, |ui| {
                ui.set_width(420.0_f32.min(ui.ctx().content_rect().width() - 60.0));
                ui.horizontal(|ui| {
                    let (icon, colour) = if toast.bad {
                        (icons::WARNING_CIRCLE, palette.bad)
                    } else {
                        (icons::CHECK_CIRCLE, palette.good)
                    };
                    ui.label(letters::icon_fill(icon, 22.0).color(colour));
                    let room = ui.available_width() - 50.0;
                    ui.allocate_ui_with_layout(Vec2::new(room, 0.0), Layout::top_down(Align::Min), |ui| {
                        ui.spacing_mut().item_spacing.y = 1.0;
                        ui.label(letters::strong(toast.text).size(14.0));
                        if let Some(hint) = toast.hint {
                            ui.label(letters::small(hint).color(palette.quiet));
                        }
                        if let Some(action) = toast.action
                            && link(ui, action).clicked()
                        {
                            clicked = Some(Clicked::Action(at));
                        }
                    });
                    ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
                        if icon_button(ui, icons::X, t(w::CLOSE)).clicked() {
                            clicked = Some(Clicked::Close(at));
                        }
                    });
                });
            });
            shown.response.widget_info(|| WidgetInfo::labeled(WidgetType::Other, true, toast.text));
        }
    });
    clicked
}
