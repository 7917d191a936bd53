//! The numbers of a call, live: what they say in a word, and how they went in the last minutes.

use eframe::egui::{
    Align2, Color32, CornerRadius, FontId, Pos2, Rect, ScrollArea, Sense, Shape, Stroke, Ui, Vec2, WidgetInfo,
    WidgetType,
};
use twocan_control::{Call, PictureQuality};

use super::{Side, State, bars, side_head};
use crate::design::plain;
use crate::model::Model;
use crate::model::call::plot::{KEPT, Sample, ceiling};
use crate::model::call::{Plots, mark};
use crate::text::{call as words, t};
use crate::theme::{Palette, letters};

/// Height of a plot.
const HEIGHT: f32 = 64.0;

/// One line of a plot: what a sample says.
type Value = fn(&Sample) -> Option<f64>;

/// A plot.
struct Plot {
    name: crate::text::Word,
    unit: &'static str,
    /// The top is never less.
    least: f64,
    lines: &'static [(Option<crate::text::Word>, Value)],
}

const PLOTS: &[Plot] = &[
    Plot { name: words::RTT, unit: "ms", least: 50.0, lines: &[(None, |sample| sample.rtt_ms)] },
    Plot {
        name: words::LOSS_NAME,
        unit: "%",
        least: 2.0,
        lines: &[
            (Some(words::INCOMING), |sample| Some(sample.loss_in * 100.0)),
            (Some(words::OUTGOING), |sample| Some(sample.loss_out * 100.0)),
        ],
    },
    Plot { name: words::JITTER, unit: "ms", least: 10.0, lines: &[(None, |sample| Some(sample.jitter_ms))] },
    Plot {
        name: words::BITRATE,
        unit: "kbit/s",
        least: 100.0,
        lines: &[
            (Some(words::INCOMING), |sample| Some(sample.bitrate_in / 1000.0)),
            (Some(words::OUTGOING), |sample| Some(sample.bitrate_out / 1000.0)),
        ],
    },
];

pub(super) fn show(ui: &mut Ui, call: &Call, model: &Model, state: &mut State) {
    if side_head(ui, t(words::DETAILS)) {
        state.side = Side::None;
    }
    let palette = Palette::of(ui);
    ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        // Lines of writing, nothing to click on.
        ui.spacing_mut().interact_size.y = 18.0;
        ui.spacing_mut().item_spacing.y = 4.0;
        if let Some(mark) = mark(call) {
            ui.horizontal_top(|ui| {
                let (rect, _) = ui.allocate_exact_size(Vec2::new(24.0, 20.0), Sense::hover());
                bars::paint(ui.painter(), rect, mark.level, palette.line);
                ui.vertical(|ui| {
                    let mut why = mark.why.clone();
                    if let Some(first) = why.get_mut(0..1) {
                        first.make_ascii_uppercase();
                    }
                    ui.label(letters::body(why));
                });
            });
            ui.add_space(6.0);
        }
        pictures(ui, call);
        let plots = &model.stage.plots;
        if plots.last().is_none() {
            ui.label(letters::small(t(words::NO_NUMBERS)).color(palette.quiet));
            return;
        }
        for plot in PLOTS {
            draw(ui, plot, plots);
        }
        ui.label(letters::tiny(t(words::LAST_MINUTES)).color(palette.faint));
    });
}

/// Sizes and rates of the pictures.
fn pictures(ui: &mut Ui, call: &Call) {
    let palette = Palette::of(ui);
    let Some(of) = call.quality.as_ref().and_then(|quality| quality.participants.first()) else { return };
    let line = |picture: &PictureQuality| {
        let PictureQuality { width, height, frame_rate, bitrate, .. } = picture;
        format!("{width} × {height}, {frame_rate:.0}/s, {} kbit/s", bitrate / 1000)
    };
    for (word, flow) in [(words::PICTURE_IN, &of.received), (words::PICTURE_OUT, &of.sent)] {
        for picture in [&flow.screen, &flow.camera].into_iter().flatten().filter(|picture| picture.width > 0) {
            ui.horizontal_wrapped(|ui| {
                ui.label(letters::small(t(word)).color(palette.quiet));
                ui.label(letters::small(line(picture)));
            });
        }
    }
    ui.add_space(6.0);
}

fn draw(ui: &mut Ui, plot: &Plot, plots: &Plots) {
    let palette = Palette::of(ui);
    let colours = [palette.accent_text, palette.good];
    let lines: Vec<Vec<(f32, f64)>> = plot.lines.iter().map(|(_, value)| plots.line(value)).collect();
    let top = ceiling(lines.iter().flatten().map(|(_, value)| *value).fold(0.0, f64::max), plot.least);
    ui.add_space(8.0);
    let mut said = t(plot.name).to_owned();
    ui.horizontal(|ui| {
        ui.label(letters::small(t(plot.name)).family(letters::medium()));
        for ((line, (word, _)), colour) in lines.iter().zip(plot.lines).zip(colours) {
            let now = line.last().map_or_else(|| "–".to_owned(), |(_, value)| number(*value));
            let word = word.map(|word| format!("{} ", t(word))).unwrap_or_default();
            let writing = format!("{word}{now} {}", plot.unit);
            said.push_str(&format!(", {writing}"));
            ui.label(letters::small(writing).color(colour));
        }
    });
    let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), HEIGHT), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, &said));
    let painter = ui.painter();
    painter.rect_filled(rect, CornerRadius::same(8), palette.field);
    let inner = rect.shrink2(Vec2::new(2.0, 6.0));
    let font = plain(10.5);
    painter.text(
        rect.right_top() + Vec2::new(-6.0, 3.0),
        Align2::RIGHT_TOP,
        number(top),
        FontId { ..font },
        palette.faint,
    );
    let middle = [Pos2::new(inner.min.x, inner.center().y), Pos2::new(inner.max.x, inner.center().y)];
    painter.line_segment(middle, Stroke::new(1.0, palette.line));
    for (line, colour) in lines.iter().zip(colours) {
        curve(ui, inner, line, top, colour);
    }
}

fn curve(ui: &Ui, rect: Rect, line: &[(f32, f64)], top: f64, colour: Color32) {
    let at = |(ago, value): &(f32, f64)| {
        let x = rect.max.x - rect.width() * (ago / KEPT as f32).min(1.0);
        let y = rect.max.y - rect.height() * (value / top).clamp(0.0, 1.0) as f32;
        Pos2::new(x, y)
    };
    let points: Vec<Pos2> = line.iter().map(at).collect();
    match points.as_slice() {
        [] => {}
        [one] => drop(ui.painter().circle_filled(*one, 2.0, colour)),
        _ => drop(ui.painter().add(Shape::line(points, Stroke::new(1.8, colour)))),
    }
}

/// A number with as many digits as it deserves.
fn number(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
