//! What the bench found, as a table: each number beside what it should be.

use super::usage::rasteriser;
use super::window::{Measured, Plan};
use crate::seat::Place;

/// Prints everything.
pub(super) fn print(plan: &Plan, starts: &[f64], measured: &Measured) {
    println!("drawn by {}; {} people, {} friends", measured.renderer, plan.people, plan.friends);
    let mut starts = starts.to_vec();
    starts.sort_by(f64::total_cmp);
    let start = starts.get(starts.len() / 2).copied().unwrap_or_default();
    let all = starts.iter().map(|ms| format!("{ms:.0}")).collect::<Vec<_>>().join(" ");
    line("cold start to a usable window", format!("{start:.0} ms"), "500 ms", start <= 500.0, &format!("all: {all}"));
    for (place, rate) in &measured.tiles {
        let Place::Camera(number) = place else { continue };
        line(&format!("pictures drawn, tile {number}"), format!("{rate:.1}/s"), "at least 25/s", *rate >= 25.0, "");
    }
    println!("{:<36} {:>12}", "frames of the window", format!("{:.1}/s", measured.frames));
    let (raster, rest): (Vec<_>, Vec<_>) = measured.processor.iter().partition(|(name, _)| rasteriser(name));
    let sum = |part: &[(&String, &f64)]| part.iter().map(|(_, percent)| **percent).sum::<f64>();
    // What plays the films is the bench's own.
    let ours: Vec<_> = rest.into_iter().filter(|(name, _)| *name != "players").collect();
    let total = sum(&raster) + sum(&ours);
    let parts = |part: &[(&String, &f64)]| {
        let shown = part.iter().filter(|(_, percent)| **percent >= 0.3);
        shown.map(|(name, percent)| format!("{name} {percent:.1}")).collect::<Vec<_>>().join(", ")
    };
    line("processor, all", format!("{total:.0} %"), "60 % of a core", total <= 60.0, &parts(&raster));
    let outside = sum(&ours);
    line(
        "processor, outside the rasteriser",
        format!("{outside:.0} %"),
        "20 % of a core",
        outside <= 20.0,
        &parts(&ours),
    );
    let (mean, p95, worst) = spread(&measured.delays);
    let more = format!("mean {mean:.2}, worst {worst:.2}");
    line("picture to glass, 95 of 100", format!("{p95:.2} frames"), "2 frames", p95 <= 2.0, &more);
    let (mean, p95, worst) = spread(&measured.frame_ms);
    println!(
        "{:<36} {:>12}   mean {mean:.1}, 95 of 100 {p95:.1}",
        "longest frame in the call",
        format!("{worst:.1} ms")
    );
    let (mean, p95, worst) = spread(&measured.scroll_ms);
    let more = format!("{} frames, mean {mean:.1}, 95 of 100 {p95:.1}", measured.scroll_ms.len());
    line("longest frame while the list scrolls", format!("{worst:.1} ms"), "50 ms", worst <= 50.0, &more);
    let memory = measured.memory;
    let mb = |kb: u64| kb as f64 / 1024.0;
    let more = format!("heap and the like {:.0}", mb(memory.anonymous));
    let ours = mb(memory.ours());
    line("private memory, without Mesa's, LLVM's", format!("{ours:.0} MB"), "120 MB", ours <= 120.0, &more);
    let more = format!("Mesa and LLVM mapped {:.0}, made {:.0}", mb(memory.mesa), mb(memory.made));
    line("private memory, all", format!("{:.0} MB", mb(memory.all)), "240 MB", mb(memory.all) <= 240.0, &more);
    if let Some(growth) = measured.growth {
        let grown = mb(growth.late) - mb(growth.early);
        let more = format!(
            "{} calls, {} pictures decoded, {} frames; {:.1} MB after a quarter, {:.1} MB at the end",
            growth.calls,
            growth.pictures,
            growth.frames,
            mb(growth.early),
            mb(growth.late)
        );
        line("growth over the long run", format!("{grown:+.1} MB"), "2 MB", grown <= 2.0, &more);
    }
}

fn line(what: &str, value: String, wanted: &str, reached: bool, more: &str) {
    let mark = if reached { "ok " } else { "NOT" };
    println!("{what:<36} {value:>12}   {mark} ({wanted})  {more}");
}

/// Mean, 95th percentile and largest.
fn spread(values: &[f64]) -> (f64, f64, f64) {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = |share: f64| sorted.get(((sorted.len() as f64 * share) as usize).min(sorted.len().saturating_sub(1)));
    let mean = sorted.iter().sum::<f64>() / sorted.len().max(1) as f64;
    (mean, at(0.95).copied().unwrap_or_default(), at(1.0).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_is_that_of_the_numbers() {
        let values: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(spread(&values), (49.5, 95.0, 99.0));
        assert_eq!(spread(&[]), (0.0, 0.0, 0.0));
    }
}
