//! Writes down where everything stands, for whoever drives the window from outside (the story of `tests`): the names that
//! a screen reader gets, and their places. Only where the environment asks for it; nobody else pays for it.

use std::path::PathBuf;

use eframe::egui::{Context, FullOutput, Plugin, Ui, ViewportId, accesskit};
use serde_json::{Value, json};

/// Names the folder to write into; empty or missing: nothing is written.
pub const VARIABLE: &str = "TWOCAN_GUI_PLACES";

/// Writes `NAME.json` for each window: `root`, and `ring` for the one that rings.
#[derive(Debug)]
pub struct Places {
    folder: PathBuf,
    window: ViewportId,
    /// What was written last, by window.
    written: Vec<(ViewportId, String)>,
}

/// Begins to write, if the environment asks for it.
pub fn install(context: &Context) {
    let folder = std::env::var_os(VARIABLE).filter(|folder| !folder.is_empty());
    if let Some(folder) = folder {
        context.enable_accesskit();
        context.add_plugin(Places { folder: folder.into(), window: ViewportId::ROOT, written: Vec::new() });
    }
}

impl Plugin for Places {
    fn debug_name(&self) -> &'static str {
        "places"
    }

    fn on_end_pass(&mut self, ui: &mut Ui) {
        self.window = ui.ctx().viewport_id();
    }

    fn output_hook(&mut self, context: &Context, output: &mut FullOutput) {
        // A screen reader that comes and goes switches the tree off.
        context.enable_accesskit();
        let Some(update) = &output.platform_output.accesskit_update else { return };
        let text = list(update).to_string();
        let window = self.window;
        if self.written.iter().any(|(of, last)| *of == window && *last == text) {
            return;
        }
        let name = if window == ViewportId::ROOT { "root" } else { "ring" };
        let path = self.folder.join(format!("{name}.json"));
        let fresh = self.folder.join(format!("{name}.new"));
        // Whole or not at all: somebody reads it at any moment.
        if std::fs::write(&fresh, &text).and_then(|()| std::fs::rename(&fresh, &path)).is_ok() {
            self.written.retain(|(of, _)| *of != window);
            self.written.push((window, text));
        }
    }
}

/// Name, role, value and place of everything that has a name.
fn list(update: &accesskit::TreeUpdate) -> Value {
    let one = |node: &accesskit::Node| {
        let (name, value) = (node.label().unwrap_or_default(), node.value().unwrap_or_default());
        let bounds = node.bounds().filter(|_| !name.is_empty() || !value.is_empty())?;
        let role = format!("{:?}", node.role());
        let place = [bounds.x0, bounds.y0, bounds.x1, bounds.y1];
        Some(json!({ "name": name, "value": value, "role": role, "place": place, "off": node.is_disabled() }))
    };
    update.nodes.iter().filter_map(|(_, node)| one(node)).collect()
}

#[cfg(test)]
mod tests {
    use eframe::egui::{Pos2, RawInput, Rect, Vec2};

    use super::*;

    #[test]
    fn everything_with_a_name_is_written_with_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let context = Context::default();
        context.enable_accesskit();
        let plugin = Places { folder: folder.path().into(), window: ViewportId::ROOT, written: Vec::new() };
        context.add_plugin(plugin);
        for _ in 0..3 {
            let screen_rect = Some(Rect::from_min_size(Pos2::ZERO, Vec2::new(300.0, 200.0)));
            let input = RawInput { screen_rect, ..RawInput::default() };
            drop(context.run_ui(input, |ui| drop(ui.button("Answer"))));
        }
        let text = std::fs::read_to_string(folder.path().join("root.json")).unwrap();
        let list: Vec<Value> = serde_json::from_str(&text).unwrap();
        let button = list.iter().find(|node| node["name"] == "Answer").expect("the button is there");
        assert_eq!(button["role"], "Button");
        assert!(button["place"][2].as_f64().unwrap() > button["place"][0].as_f64().unwrap());
    }
}
