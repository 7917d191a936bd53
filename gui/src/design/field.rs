//! Fields to write into.

use eframe::egui::{
    Color32, CornerRadius, Frame, Id, Key, Margin, Response, Stroke, StrokeKind, TextEdit, Ui, Vec2, WidgetInfo,
    WidgetType,
};

use super::button::icon_button;
use crate::text::{t, ui as w};
use crate::theme::{Palette, icons, letters, radius};

/// What was done to a field.
#[derive(Debug)]
pub struct Typed {
    /// Of the field itself.
    pub response: Response,
    /// Enter was pressed in it.
    pub enter: bool,
}

/// One line (or several) to write into.
#[derive(Debug)]
#[must_use = "show it"]
pub struct Field<'a> {
    text: &'a mut String,
    name: &'a str,
    hint: &'a str,
    icon: Option<char>,
    secret: bool,
    rows: usize,
    most: usize,
    width: f32,
    clear: bool,
    mono: bool,
    id: Option<Id>,
}

impl<'a> Field<'a> {
    /// A field whose name (for screen readers) and hint are given.
    pub fn new(text: &'a mut String, name: &'a str, hint: &'a str) -> Self {
        Self {
            text,
            name,
            hint,
            icon: None,
            secret: false,
            rows: 1,
            most: 4096,
            width: f32::INFINITY,
            clear: false,
            mono: false,
            id: None,
        }
    }

    /// With an icon at its beginning.
    pub fn icon(mut self, icon: char) -> Self {
        self.icon = Some(icon);
        self
    }

    /// What is written is not shown.
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Higher than one line.
    pub fn rows(mut self, rows: usize) -> Self {
        self.rows = rows;
        self
    }

    /// At most so many characters.
    pub fn most(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// So wide.
    pub fn width(mut self, width: f32) -> Self {
        self.width = width;
        self
    }

    /// With a cross to empty it.
    pub fn clearable(mut self) -> Self {
        self.clear = true;
        self
    }

    /// In letters of equal width.
    pub fn mono(mut self) -> Self {
        self.mono = true;
        self
    }

    /// With an id, to be given the focus from elsewhere.
    pub fn id(mut self, id: Id) -> Self {
        self.id = Some(id);
        self
    }

    /// Takes its room and paints.
    pub fn show(self, ui: &mut Ui) -> Typed {
        let palette = Palette::of(ui);
        let frame = Frame::new().fill(palette.field).corner_radius(CornerRadius::same(radius::M));
        let width = self.width.min(ui.available_width());
        let shown = frame.inner_margin(Margin::symmetric(12, 9)).show(ui, |ui| {
            ui.set_width(width - 24.0);
            ui.horizontal(|ui| {
                ui.spacing_mut().item_spacing.x = 8.0;
                ui.spacing_mut().interact_size.y = 20.0;
                if let Some(icon) = self.icon {
                    ui.label(letters::icon(icon, 18.0).color(palette.faint));
                }
                let cross = self.clear && !self.text.is_empty();
                let room = ui.available_width() - if cross { 26.0 } else { 0.0 };
                let edit = if self.rows > 1 {
                    TextEdit::multiline(self.text).desired_rows(self.rows)
                } else {
                    TextEdit::singleline(self.text)
                };
                let mut edit = edit.frame(Frame::NONE).margin(Margin::ZERO).desired_width(room).char_limit(self.most);
                edit = edit.password(self.secret).hint_text(letters::body(self.hint).color(palette.faint));
                if self.mono {
                    edit = edit.font(eframe::egui::TextStyle::Monospace);
                }
                if let Some(id) = self.id {
                    edit = edit.id(id);
                }
                let response = ui.add(edit.background_color(Color32::TRANSPARENT));
                let (name, value, secret) = (self.name, self.text.clone(), self.secret);
                response.widget_info(|| {
                    let shown = if secret { String::new() } else { value.clone() };
                    let mut info = WidgetInfo::labeled(WidgetType::TextEdit, true, name);
                    info.current_text_value = Some(shown);
                    info
                });
                if cross {
                    ui.scope(|ui| {
                        ui.set_max_size(Vec2::splat(18.0));
                        if cross_button(ui).clicked() {
                            self.text.clear();
                            response.request_focus();
                        }
                    });
                }
                response
            })
            .inner
        });
        let response = shown.inner;
        let stroke =
            if response.has_focus() { Stroke::new(2.0, palette.accent_text) } else { Stroke::new(1.0, palette.line) };
        let corner = CornerRadius::same(radius::M);
        ui.painter().rect_stroke(shown.response.rect, corner, stroke, StrokeKind::Inside);
        let enter = response.lost_focus() && ui.input(|input| input.key_pressed(Key::Enter));
        Typed { response, enter }
    }
}

fn cross_button(ui: &mut Ui) -> Response {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::splat(18.0), eframe::egui::Sense::click());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Button, true, t(w::CLEAR)));
    let font = eframe::egui::FontId::new(18.0, letters::icons_filled());
    ui.painter().text(rect.center(), eframe::egui::Align2::CENTER_CENTER, icons::X_CIRCLE, font, palette.faint);
    super::focus_ring(ui, &response, rect, 9);
    response
}

/// The label above a field.
pub fn caption(ui: &mut Ui, text: &str) {
    ui.label(letters::small(text).family(letters::medium()).color(Palette::of(ui).quiet));
}

/// A secret with a button that shows it; the state of the button is kept by the caller.
pub fn secret(ui: &mut Ui, text: &mut String, name: &str, hint: &str, shown: &mut bool) -> Typed {
    ui.horizontal(|ui| {
        let room = ui.available_width() - 46.0;
        let mut field = Field::new(text, name, hint).width(room).most(1024).icon(icons::LOCK_KEY);
        field.secret = !*shown;
        let typed = field.show(ui);
        let icon = if *shown { icons::EYE_SLASH } else { icons::EYE };
        if icon_button(ui, icon, t(if *shown { w::HIDE } else { w::SHOW })).clicked() {
            *shown = !*shown;
        }
        typed
    })
    .inner
}
