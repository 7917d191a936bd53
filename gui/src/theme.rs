//! The design in numbers: colours, letters, spacing and radii, light and dark.
//!
//! ```text
//! theme::Palette   the colours of one theme; Palette::of(ui) gives those shown now
//! theme::letters   the type scale: title, heading, strong, body, small, tiny, mono, icon
//! theme::icons     code points of the icons
//! theme::space     distances; theme::radius  corners
//! design::*        the widgets that are made of these
//! ```

pub mod fonts;
pub mod icons;
pub mod letters;

use eframe::egui::{
    self, Color32, CornerRadius, FontFamily, FontId, Margin, Shadow, Stroke, TextStyle, Theme, ThemePreference, Vec2,
};

/// Distances in points. Everything stands on a grid of four.
pub mod space {
    /// Between things that belong together.
    pub const XS: f32 = 4.0;
    /// Between lines of a group.
    pub const S: f32 = 8.0;
    /// Inside of controls.
    pub const M: f32 = 12.0;
    /// Inside of cards, between groups.
    pub const L: f32 = 16.0;
    /// Around pages.
    pub const XL: f32 = 24.0;
    /// Between sections.
    pub const XXL: f32 = 40.0;
}

/// Radii of corners in points.
pub mod radius {
    /// Fields and small buttons.
    pub const S: u8 = 8;
    /// Buttons, rows.
    pub const M: u8 = 10;
    /// Cards.
    pub const L: u8 = 14;
    /// Dialogs, tiles.
    pub const XL: u8 = 18;
}

/// The colours of one theme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Palette {
    /// Behind the main page.
    pub page: Color32,
    /// Behind the list of friends.
    pub side: Color32,
    /// Cards and quiet buttons.
    pub card: Color32,
    /// What lies above the page: dialogs, menus.
    pub raised: Color32,
    /// Behind what is typed.
    pub field: Color32,
    /// A row or button under the pointer.
    pub hover: Color32,
    /// The chosen line of a list.
    pub chosen: Color32,
    /// Writing.
    pub text: Color32,
    /// Writing of less weight.
    pub quiet: Color32,
    /// Icons and writing that may be overlooked.
    pub faint: Color32,
    /// Fine lines.
    pub line: Color32,
    /// The one colour that asks to be clicked, as a surface under white writing.
    pub accent: Color32,
    /// The same colour as writing on the page.
    pub accent_text: Color32,
    /// Online, answer, verified.
    pub good: Color32,
    /// Hang up, decline, wrong.
    pub bad: Color32,
    /// Look here.
    pub warn: Color32,
    /// Behind a friend's message.
    pub bubble: Color32,
}

const DARK: Palette = Palette {
    page: Color32::from_rgb(19, 19, 24),
    side: Color32::from_rgb(26, 26, 33),
    card: Color32::from_rgb(35, 35, 44),
    raised: Color32::from_rgb(33, 33, 41),
    field: Color32::from_rgb(37, 37, 46),
    hover: Color32::from_rgb(36, 36, 45),
    chosen: Color32::from_rgb(48, 44, 77),
    text: Color32::from_rgb(239, 239, 244),
    quiet: Color32::from_rgb(162, 162, 177),
    faint: Color32::from_rgb(118, 118, 134),
    line: Color32::from_rgb(47, 47, 58),
    accent: Color32::from_rgb(104, 84, 224),
    accent_text: Color32::from_rgb(167, 153, 255),
    good: Color32::from_rgb(37, 146, 92),
    bad: Color32::from_rgb(217, 54, 67),
    warn: Color32::from_rgb(224, 164, 58),
    bubble: Color32::from_rgb(38, 38, 48),
};

const LIGHT: Palette = Palette {
    page: Color32::from_rgb(255, 255, 255),
    side: Color32::from_rgb(246, 246, 250),
    card: Color32::from_rgb(246, 246, 250),
    raised: Color32::from_rgb(255, 255, 255),
    field: Color32::from_rgb(238, 238, 245),
    hover: Color32::from_rgb(236, 236, 243),
    chosen: Color32::from_rgb(230, 226, 252),
    text: Color32::from_rgb(24, 23, 31),
    quiet: Color32::from_rgb(94, 93, 110),
    faint: Color32::from_rgb(138, 137, 154),
    line: Color32::from_rgb(227, 227, 236),
    accent: Color32::from_rgb(91, 70, 214),
    accent_text: Color32::from_rgb(84, 62, 206),
    good: Color32::from_rgb(21, 131, 78),
    bad: Color32::from_rgb(203, 42, 56),
    warn: Color32::from_rgb(156, 98, 0),
    bubble: Color32::from_rgb(240, 240, 246),
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

    /// A shade of a colour to put writing of that colour on.
    #[must_use]
    pub fn tint(self, colour: Color32) -> Color32 {
        self.page.lerp_to_gamma(colour, 0.16)
    }
}

/// Says which theme is shown, "light" or "dark"; else the settings do.
pub const THEME_VARIABLE: &str = "TWOCAN_GUI_THEME";

/// Sets up fonts and both themes. Fonts are there from the next pass on.
pub fn install(context: &egui::Context) {
    context.set_fonts(fonts::definitions());
    context.set_theme(match std::env::var(THEME_VARIABLE).as_deref() {
        Ok("light") => ThemePreference::Light,
        Ok("dark") => ThemePreference::Dark,
        _ => ThemePreference::System,
    });
    for theme in [Theme::Dark, Theme::Light] {
        context.style_mut_of(theme, |style| dress(style, Palette::dark(theme == Theme::Dark)));
    }
}

/// The shadow under what lies above the page.
#[must_use]
pub fn shadow(dark: bool) -> Shadow {
    let alpha = if dark { 130 } else { 46 };
    Shadow { offset: [0, 10], blur: 36, spread: 0, color: Color32::from_black_alpha(alpha) }
}

fn dress(style: &mut egui::Style, palette: Palette) {
    let size = |size| FontId::new(size, FontFamily::Proportional);
    style.text_styles = [
        (TextStyle::Small, size(letters::SMALL)),
        (TextStyle::Body, size(letters::BODY)),
        (TextStyle::Button, size(letters::BODY)),
        (TextStyle::Heading, FontId::new(letters::HEADING, letters::semibold())),
        (TextStyle::Monospace, FontId::new(13.5, FontFamily::Monospace)),
    ]
    .into();
    style.spacing.item_spacing = Vec2::new(space::S, space::S);
    style.spacing.button_padding = Vec2::new(14.0, 8.0);
    style.spacing.interact_size.y = 34.0;
    style.spacing.menu_margin = Margin::same(6);
    style.spacing.combo_width = 120.0;
    style.spacing.scroll = egui::style::ScrollStyle::thin();
    style.interaction.selectable_labels = false;
    style.interaction.tooltip_delay = 0.35;
    let visuals = &mut style.visuals;
    visuals.panel_fill = palette.page;
    visuals.window_fill = palette.raised;
    visuals.extreme_bg_color = palette.field;
    visuals.text_edit_bg_color = Some(palette.field);
    visuals.faint_bg_color = palette.card;
    visuals.override_text_color = Some(palette.text);
    visuals.weak_text_color = Some(palette.quiet);
    visuals.selection.bg_fill = palette.accent.gamma_multiply(0.45);
    visuals.selection.stroke = Stroke::new(2.0, palette.accent_text);
    visuals.window_stroke = Stroke::new(1.0, palette.line);
    visuals.window_corner_radius = CornerRadius::same(radius::XL);
    visuals.menu_corner_radius = CornerRadius::same(radius::L);
    visuals.window_shadow = shadow(visuals.dark_mode);
    visuals.popup_shadow = shadow(visuals.dark_mode);
    visuals.hyperlink_color = palette.accent_text;
    visuals.slider_trailing_fill = true;
    visuals.interact_cursor = Some(egui::CursorIcon::PointingHand);
    let widgets = &mut visuals.widgets;
    widgets.noninteractive.bg_stroke = Stroke::new(1.0, palette.line);
    widgets.noninteractive.fg_stroke = Stroke::new(1.0, palette.text);
    for widget in [&mut widgets.inactive, &mut widgets.hovered, &mut widgets.active, &mut widgets.open] {
        widget.corner_radius = CornerRadius::same(radius::M);
        widget.weak_bg_fill = palette.card;
        widget.bg_fill = palette.line;
        widget.bg_stroke = Stroke::NONE;
        widget.fg_stroke = Stroke::new(1.0, palette.text);
        widget.expansion = 0.0;
    }
    widgets.hovered.weak_bg_fill = palette.hover;
    widgets.active.weak_bg_fill = palette.chosen;
    widgets.open.weak_bg_fill = palette.hover;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast of WCAG 2.2, 1 to 21.
    fn contrast(a: Color32, b: Color32) -> f32 {
        let light = |colour: Color32| {
            let [r, g, b, _] = egui::Rgba::from(colour).to_array();
            0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
        };
        let (a, b) = (light(a), light(b));
        a.max(b) / a.min(b)
    }

    #[test]
    fn writing_can_be_read_on_every_surface_of_both_themes() {
        for palette in [DARK, LIGHT] {
            for surface in [palette.page, palette.side, palette.card, palette.raised, palette.field, palette.bubble] {
                assert!(contrast(palette.text, surface) > 7.0, "{palette:?}");
                for colour in [palette.quiet, palette.accent_text] {
                    assert!(
                        contrast(colour, surface) > 4.5,
                        "{colour:?} on {surface:?}: {}",
                        contrast(colour, surface)
                    );
                }
            }
            assert!(contrast(palette.quiet, palette.chosen) > 4.5);
            for filled in [palette.accent, palette.bad] {
                assert!(contrast(Color32::WHITE, filled) > 4.5, "{filled:?}: {}", contrast(Color32::WHITE, filled));
            }
            // Large writing and icons: 3 is enough.
            assert!(contrast(Color32::WHITE, palette.good) > 3.0 && contrast(palette.faint, palette.page) > 3.0);
            assert!(contrast(palette.warn, palette.page) > 4.5, "{}", contrast(palette.warn, palette.page));
        }
    }

    #[test]
    fn every_icon_is_in_both_fonts() {
        let context = egui::Context::default();
        install(&context);
        // Fonts are there from the second pass on.
        for _ in 0..2 {
            let _ = context.run_ui(egui::RawInput::default(), |_| {});
        }
        context.fonts_mut(|fonts| {
            for family in [letters::icons(), letters::icons_filled()] {
                let id = FontId::new(20.0, family);
                for (name, code) in icons::ALL {
                    assert!(fonts.has_glyph(&id, *code), "{name} in {id:?}");
                }
            }
        });
    }
}
