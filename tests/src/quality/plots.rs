//! The plots: SVG files that show at a glance what the table says.

use std::path::{Path, PathBuf};

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::report::{CellResult, RateStep, Report};

/// Size of a plot in pixels.
const SIZE: (u32, u32) = (960, 480);
const VOICE: RGBColor = RGBColor(33, 102, 172);
const WORSE: RGBColor = RGBColor(178, 24, 43);
const OTHER: RGBColor = RGBColor(77, 146, 33);

/// A value, and a second one behind it.
type Values = (f64, Option<f64>);
/// One column of a bar chart: its label, a value, and a second one behind it.
type Bar = (String, f64, Option<f64>);

/// Writes all plots for which there are numbers; their names.
///
/// # Errors
/// A file cannot be written.
pub fn write(report: &Report, folder: &Path) -> Result<Vec<PathBuf>> {
    std::fs::create_dir_all(folder)?;
    let mut written = Vec::new();
    let bars = |pick: fn(&CellResult) -> Option<Values>| -> Vec<Bar> {
        let bar = |cell: &CellResult| pick(cell).map(|(value, more)| (cell.name.to_owned(), value, more));
        report.cells.iter().filter_map(bar).collect()
    };
    let voice = bars(|cell| Some((cell.median.as_ref()?.voice.share * 100.0, None)));
    let delay = bars(|cell| {
        let voice = &cell.median.as_ref()?.voice;
        Some((voice.delay_p50_ms?, voice.delay_p95_ms))
    });
    let picture = bars(|cell| Some((cell.median.as_ref()?.picture.as_ref()?.psnr_db?, None)));
    let frozen = bars(|cell| Some((cell.median.as_ref()?.picture.as_ref()?.frozen * 100.0, None)));
    let rate = bars(|cell| {
        let one = cell.median.as_ref()?;
        Some((one.wire_kbit_s, one.target_kbit_s))
    });
    for (name, title, bars) in [
        ("voice", "Voice: share of the clean codec's PESQ-WB, %", voice),
        ("delay", "Mouth to ear: median, and 95 of 100 (red), ms", delay),
        ("picture", "Picture: PSNR of what is shown, dB", picture),
        ("frozen", "Picture: share of the time frozen for more than 300 ms, %", frozen),
        ("rate", "On the line, and the node's target (red), kbit/s", rate),
    ] {
        if !bars.is_empty() {
            let path = folder.join(format!("{name}.svg"));
            bar_chart(&path, title, &bars).map_err(|error| anyhow!("{}: {error}", path.display()))?;
            written.push(path);
        }
    }
    if let Some(step) = &report.rate_step {
        let path = folder.join("rate-step.svg");
        step_chart(&path, step).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        written.push(path);
    }
    Ok(written)
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn bar_chart(path: &Path, title: &str, bars: &[Bar]) -> Drawn {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let values = bars.iter().flat_map(|(_, value, more)| [Some(*value), *more]).flatten();
    let top = values.fold(1.0_f64, f64::max) * 1.08;
    let count = bars.len() as f64;
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(96)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..count, 0.0..top)?;
    chart.configure_mesh().disable_x_mesh().x_labels(0).y_labels(8).label_style(("sans-serif", 13)).draw()?;
    let bar = |at: usize, from: f64, to: f64, value: f64, colour: RGBColor| {
        Rectangle::new([(at as f64 + from, 0.0), (at as f64 + to, value)], colour.filled())
    };
    chart.draw_series(
        bars.iter().enumerate().filter_map(|(at, (_, _, more))| Some(bar(at, 0.55, 0.85, (*more)?, WORSE))),
    )?;
    chart.draw_series(bars.iter().enumerate().map(|(at, (_, value, more))| {
        let wide = if more.is_some() { 0.5 } else { 0.8 };
        bar(at, 0.2, wide, *value, VOICE)
    }))?;
    let (x, y) = (chart.plotting_area().get_x_axis_pixel_range(), chart.plotting_area().get_y_axis_pixel_range());
    for (at, (label, value, _)) in bars.iter().enumerate() {
        let middle = x.start + ((at as f64 + 0.5) / count * f64::from(x.end - x.start)) as i32;
        let style = ("sans-serif", 13).into_font().transform(FontTransform::Rotate90).into_text_style(&root);
        root.draw_text(label, &style, (middle + 5, y.end + 8))?;
        let height = y.end - (value / top * f64::from(y.end - y.start)) as i32;
        let number = if *value < 10.0 { format!("{value:.1}") } else { format!("{value:.0}") };
        root.draw_text(&number, &("sans-serif", 11).into_font().into_text_style(&root), (middle - 12, height - 13))?;
    }
    root.present()?;
    Ok(())
}

fn step_chart(path: &Path, step: &RateStep) -> Drawn {
    let root = SVGBackend::new(path, SIZE).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, below) = root.split_vertically(SIZE.1 * 3 / 5);
    let end = step.wire.last().map_or(1.0, |(at, _)| *at);
    let top = step.wire.iter().chain(&step.target).map(|(_, value)| *value).fold(4_000.0, f64::max) * 1.05;
    let mut chart = ChartBuilder::on(&above)
        .caption("4 Mbit/s, 700 kbit/s, 4 Mbit/s: on the line (blue), target (red), kbit/s", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(20)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart.configure_mesh().label_style(("sans-serif", 12)).draw()?;
    let third = end / 3.0;
    let line = [(0.0, 4e3), (third, 4e3), (third, 700.0), (2.0 * third, 700.0), (2.0 * third, 4e3), (end, 4e3)];
    chart.draw_series(LineSeries::new(line, BLACK.mix(0.4).stroke_width(1)))?;
    chart.draw_series(LineSeries::new(step.target.iter().copied(), WORSE.stroke_width(1)))?;
    chart.draw_series(LineSeries::new(step.wire.iter().copied(), VOICE.stroke_width(2)))?;
    let top = step.delay.iter().map(|(_, value)| *value).fold(200.0, f64::max) * 1.1;
    let mut chart = ChartBuilder::on(&below)
        .caption("delay of the voice, ms", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(28)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..end, 0.0..top)?;
    chart.configure_mesh().x_desc("s").label_style(("sans-serif", 12)).draw()?;
    chart.draw_series(step.delay.iter().map(|point| Circle::new(*point, 2, OTHER.filled())))?;
    root.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::cells::grid;
    use crate::quality::report::{Direction, SCHEMA, Summary};
    use crate::quality::score::VoiceScore;

    #[test]
    fn plots_are_drawn_for_what_there_is() {
        let folder = tempfile::tempdir().unwrap();
        let mut cells: Vec<CellResult> = grid().iter().map(CellResult::new).collect();
        let voice = VoiceScore { share: 0.9, delay_p50_ms: Some(60.0), delay_p95_ms: Some(90.0), ..Default::default() };
        cells[0].directions.push(Direction { voice, picture: None, target_kbit_s: None, wire_kbit_s: 40.0 });
        cells[0].conclude();
        let step =
            RateStep { wire: vec![(0.0, 900.0), (45.0, 800.0)], delay: vec![(1.0, 60.0)], ..RateStep::default() };
        let report = Report {
            schema: SCHEMA,
            summary: Summary::default(),
            cells,
            rate_step: Some(step),
            silence: None,
            cpu: None,
            other_failures: Vec::new(),
            window_s: 20.0,
            took_s: 1.0,
        };
        let written = write(&report, folder.path()).unwrap();
        let names: Vec<_> = written.iter().filter_map(|path| path.file_name()?.to_str()).collect();
        assert_eq!(names, ["voice.svg", "delay.svg", "rate.svg", "rate-step.svg"]);
        for path in written {
            let text = std::fs::read_to_string(path).unwrap();
            assert!(text.starts_with("<svg") && text.contains("</svg>"));
        }
    }
}
