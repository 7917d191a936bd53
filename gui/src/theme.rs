//! Colours, sizes and spacing, light and dark.

use eframe::egui::{self, Color32, CornerRadius, FontFamily, FontId, Stroke, TextStyle, Theme, ThemePreference, Vec2};

/// The colours of one theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Behind the main page.
    pub page: Color32,
    /// Behind the list of friends.
    pub side: Color32,
    /// Cards and quiet buttons.
    pub card: Color32,
    /// The chosen line of a list.
    pub chosen: Color32,
    /// Writing.
    pub text: Color32,
    /// Writing of less weight.
    pub quiet: Color32,
    /// Fine lines.
    pub line: Color32,
    /// The one colour that asks to be clicked.
    pub accent: Color32,
    /// Online, answer, verified.
    pub good: Color32,
    /// Hang up, decline, wrong.
    pub bad: Color32,
    /// Look here.
    pub warn: Color32,
}

const DARK: Palette = Palette {
    page: Color32::from_rgb(18, 20, 26),
    side: Color32::from_rgb(24, 27, 35),
    card: Color32::from_rgb(34, 38, 49),
    chosen: Color32::from_rgb(43, 49, 64),
    text: Color32::from_rgb(236, 239, 245),
    quiet: Color32::from_rgb(150, 158, 174),
    line: Color32::from_rgb(45, 50, 62),
    accent: Color32::from_rgb(66, 120, 245),
    good: Color32::from_rgb(40, 167, 105),
    bad: Color32::from_rgb(218, 62, 74),
    warn: Color32::from_rgb(222, 160, 46),
};

const LIGHT: Palette = Palette {
    page: Color32::from_rgb(250, 251, 253),
    side: Color32::from_rgb(240, 242, 247),
    card: Color32::from_rgb(229, 233, 241),
    chosen: Color32::from_rgb(214, 224, 244),
    text: Color32::from_rgb(24, 28, 38),
    quiet: Color32::from_rgb(98, 107, 125),
    line: Color32::from_rgb(218, 223, 232),
    accent: Color32::from_rgb(45, 99, 226),
    good: Color32::from_rgb(27, 143, 86),
    bad: Color32::from_rgb(204, 48, 62),
    warn: Color32::from_rgb(176, 116, 12),
};

impl Palette {
    /// The colours of the theme that is shown now.
    #[must_use]
    pub fn of(ui: &egui::Ui) -> Self {
        Self::dark(ui.visuals().dark_mode)
    }

    /// The colours of a theme.
    #[must_use]
    pub fn dark(dark: bool) -> Self {
        if dark { DARK } else { LIGHT }
    }
}

/// Says which theme is shown, "light" or "dark"; else the system does.
pub const THEME_VARIABLE: &str = "TWOCAN_GUI_THEME";

/// Sets up both themes.
pub fn install(context: &egui::Context) {
    context.set_theme(match std::env::var(THEME_VARIABLE).as_deref() {
        Ok("light") => ThemePreference::Light,
        Ok("dark") => ThemePreference::Dark,
        _ => ThemePreference::System,
    });
    for theme in [Theme::Dark, Theme::Light] {
        context.style_mut_of(theme, |style| dress(style, Palette::dark(theme == Theme::Dark)));
    }
}

fn dress(style: &mut egui::Style, palette: Palette) {
    let size = |size| FontId::new(size, FontFamily::Proportional);
    style.text_styles = [
        (TextStyle::Small, size(12.5)),
        (TextStyle::Body, size(15.0)),
        (TextStyle::Button, size(15.0)),
        (TextStyle::Heading, size(22.0)),
        (TextStyle::Monospace, FontId::new(13.5, FontFamily::Monospace)),
    ]
    .into();
    style.spacing.item_spacing = Vec2::new(10.0, 8.0);
    style.spacing.button_padding = Vec2::new(14.0, 8.0);
    style.spacing.interact_size.y = 34.0;
    style.interaction.selectable_labels = false;
    let visuals = &mut style.visuals;
    visuals.panel_fill = palette.page;
    visuals.window_fill = palette.side;
    visuals.extreme_bg_color = palette.page;
    visuals.override_text_color = Some(palette.text);
    visuals.selection.bg_fill = palette.accent.gamma_multiply(0.55);
    visuals.selection.stroke = Stroke::new(1.0, palette.text);
    visuals.window_stroke = Stroke::new(1.0, palette.line);
    visuals.window_corner_radius = CornerRadius::same(16);
    visuals.hyperlink_color = palette.accent;
    let widgets = &mut visuals.widgets;
    widgets.noninteractive.bg_stroke = Stroke::new(1.0, palette.line);
    for widget in [&mut widgets.inactive, &mut widgets.hovered, &mut widgets.active, &mut widgets.open] {
        widget.corner_radius = CornerRadius::same(10);
        widget.weak_bg_fill = palette.card;
        widget.bg_fill = palette.card;
        widget.bg_stroke = Stroke::NONE;
        widget.fg_stroke = Stroke::new(1.0, palette.text);
        widget.expansion = 0.0;
    }
    widgets.hovered.weak_bg_fill = palette.chosen;
    widgets.active.weak_bg_fill = palette.chosen;
    widgets.hovered.bg_stroke = Stroke::new(1.0, palette.line);
}
