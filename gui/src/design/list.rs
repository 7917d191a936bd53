//! Rows of lists.

use eframe::egui::{
    Align, Align2, Color32, CornerRadius, CursorIcon, FontId, Layout, Pos2, Rect, Response, Sense, Ui, UiBuilder, Vec2,
    WidgetInfo, WidgetType,
};

use super::{Avatar, focus_ring, one_line, plain};
use crate::theme::{Palette, letters, radius};

/// Height of a [`Row`] with two lines.
pub const ROW: f32 = 62.0;

/// A row: a disc, two lines, something small at the right.
#[derive(Debug)]
#[must_use = "show it"]
pub struct Row<'a> {
    avatar: Avatar<'a>,
    name: &'a str,
    line: &'a str,
    line_colour: Option<Color32>,
    icon: Option<(char, Color32)>,
    time: &'a str,
    unread: u32,
    chosen: bool,
    said: &'a str,
}

impl<'a> Row<'a> {
    /// A row of this person.
    pub fn new(avatar: Avatar<'a>, name: &'a str, line: &'a str) -> Self {
        Self { avatar, name, line, line_colour: None, icon: None, time: "", unread: 0, chosen: false, said: "" }
    }

    /// The second line in a colour of its own.
    pub fn colour(mut self, colour: Color32) -> Self {
        self.line_colour = Some(colour);
        self
    }

    /// An icon before the second line.
    pub fn icon(mut self, icon: char, colour: Color32) -> Self {
        self.icon = Some((icon, colour));
        self
    }

    /// A time at the right.
    pub fn time(mut self, time: &'a str) -> Self {
        self.time = time;
        self
    }

    /// A number in a disc at the right.
    pub fn unread(mut self, unread: u32) -> Self {
        self.unread = unread;
        self
    }

    /// Whether it is the chosen one.
    pub fn chosen(mut self, chosen: bool) -> Self {
        self.chosen = chosen;
        self
    }

    /// What a screen reader says beside the name.
    pub fn said(mut self, said: &'a str) -> Self {
        self.said = said;
        self
    }

    /// Takes its room and paints.
    pub fn show(self, ui: &mut Ui) -> Response {
        let palette = Palette::of(ui);
        let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), ROW), Sense::click());
        let label = if self.said.is_empty() { self.name.to_owned() } else { format!("{}, {}", self.name, self.said) };
        response.widget_info(|| WidgetInfo::selected(WidgetType::SelectableLabel, true, self.chosen, &label));
        if !ui.is_rect_visible(rect) {
            return response;
        }
        let surface = if self.chosen {
            palette.chosen
        } else if response.hovered() {
            palette.hover
        } else {
            ui.visuals().panel_fill
        };
        if self.chosen || response.hovered() {
            ui.painter().rect_filled(rect, CornerRadius::same(radius::M), surface);
        }
        focus_ring(ui, &response, rect.shrink(2.0), radius::M);
        let surface = if self.chosen || response.hovered() { surface } else { palette.side };
        self.avatar.on(surface).paint(ui, Pos2::new(rect.left() + 32.0, rect.center().y));
        let left = rect.left() + 64.0;
        let mut right = rect.right() - 12.0;
        let top = rect.center().y - 20.0;
        let mut first = right;
        if !self.time.is_empty() {
            let font = FontId::new(letters::TINY, letters::medium());
            let ink = if self.unread > 0 { palette.accent_text } else { palette.faint };
            let taken = ui.painter().text(Pos2::new(right, top + 10.0), Align2::RIGHT_CENTER, self.time, font, ink);
            first = taken.left() - 6.0;
        }
        let font = FontId::new(letters::BODY, letters::medium());
        one_line(ui.painter(), Pos2::new(left, top), self.name, font, palette.text, first - left);
        if self.unread > 0 {
            let taken = badge_at(ui, Pos2::new(right, top + 31.0), self.unread, palette.accent);
            right = taken.left() - 6.0;
        }
        let mut x = left;
        let y = top + 22.0;
        if let Some((icon, colour)) = self.icon {
            let font = FontId::new(15.0, letters::icons());
            let taken = ui.painter().text(Pos2::new(x, y + 8.5), Align2::LEFT_CENTER, icon, font, colour);
            x = taken.right() + 4.0;
        }
        let colour = self.line_colour.unwrap_or(palette.quiet);
        one_line(ui.painter(), Pos2::new(x, y), self.line, plain(letters::SMALL), colour, right - x);
        response.on_hover_cursor(CursorIcon::PointingHand)
    }
}

/// A number in a disc, its right middle at a place; returns what it takes.
pub fn badge_at(ui: &Ui, right: Pos2, number: u32, fill: Color32) -> Rect {
    let text = if number > 99 { "99+".to_owned() } else { number.to_string() };
    let galley = ui.painter().layout_no_wrap(text, FontId::new(letters::TINY, letters::semibold()), Color32::WHITE);
    let width = (galley.size().x + 11.0).max(19.0);
    let rect = Rect::from_min_size(Pos2::new(right.x - width, right.y - 9.5), Vec2::new(width, 19.0));
    ui.painter().rect_filled(rect, CornerRadius::same(10), fill);
    ui.painter().galley(rect.center() - galley.size() / 2.0, galley, Color32::WHITE);
    rect
}

/// A number in a disc where the layout is.
pub fn badge(ui: &mut Ui, number: u32) {
    let fill = Palette::of(ui).accent;
    let (rect, _) = ui.allocate_exact_size(Vec2::new(24.0, 19.0), Sense::hover());
    badge_at(ui, rect.right_center(), number, fill);
}

/// A row of settings: what it is and what it does at the left, the control at the right.
pub fn setting<R>(ui: &mut Ui, title: &str, text: &str, control: impl FnOnce(&mut Ui) -> R) -> R {
    let palette = Palette::of(ui);
    let width = ui.available_width();
    let right = (width * 0.42).clamp(130.0, 330.0);
    let begin = ui.cursor().min;
    // The words first: they say how high the row is.
    let words = Rect::from_min_size(begin + Vec2::new(0.0, 6.0), Vec2::new(width - right - 16.0, f32::INFINITY));
    let mut left = ui.new_child(UiBuilder::new().max_rect(words).layout(Layout::top_down(Align::Min)));
    left.spacing_mut().item_spacing.y = 2.0;
    left.label(letters::strong(title));
    if !text.is_empty() {
        left.label(letters::small(text).color(palette.quiet));
    }
    let height = (left.min_rect().height() + 12.0).max(48.0);
    let row = Rect::from_min_size(begin, Vec2::new(width, height));
    let area = Rect::from_min_max(Pos2::new(row.right() - right, row.top()), row.max);
    let mut side = ui.new_child(UiBuilder::new().max_rect(area).layout(Layout::right_to_left(Align::Center)));
    let result = control(&mut side);
    let taken = side.min_rect().height().max(height);
    ui.allocate_exact_size(Vec2::new(width, taken), Sense::hover());
    result
}
