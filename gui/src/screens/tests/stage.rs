//! A window that nobody sees: passes with given input, clicks by the names that screen readers get, pictures.

use std::path::PathBuf;

use eframe::egui::accesskit::{Node, NodeId, Role};
use eframe::egui::{
    ColorImage, Context, Event as Input, FullOutput, Key, Modifiers, PointerButton, Pos2, RawInput, Rect, Theme, Vec2,
};

use super::raster::Raster;
use crate::app::Shell;
use crate::model::Update;
use crate::pictures;
use crate::seat::Live;
use crate::worker::Command;

/// The moment in which all tests take place.
pub(super) const NOW: u64 = 1_700_000_100_000;
/// Pixels that may be another colour, one in so many; and by how much any pixel may differ without counting.
const ONE_IN: usize = 400;
const DIFFERENCE: u8 = 26;

pub(super) struct Stage {
    pub(super) context: Context,
    pub(super) shell: Shell,
    pub(super) size: Vec2,
    pub(super) commands: Vec<Command>,
    live: Live,
    raster: Raster,
    time: f64,
    nodes: Vec<(NodeId, Node)>,
    focus: NodeId,
}

impl Stage {
    pub(super) fn new(updates: impl IntoIterator<Item = Update>) -> Self {
        Self::sized(Vec2::new(1100.0, 720.0), updates)
    }

    pub(super) fn sized(size: Vec2, updates: impl IntoIterator<Item = Update>) -> Self {
        let context = Context::default();
        context.enable_accesskit();
        crate::theme::install(&context);
        let mut shell = Shell::default();
        shell.state.prefs.language = Some(crate::text::Language::English);
        for update in updates {
            shell.model.apply(update, NOW);
        }
        let (raster, live) = (Raster::default(), Live::default());
        let mut stage = Self {
            context,
            shell,
            size,
            commands: Vec::new(),
            live,
            raster,
            time: 0.0,
            nodes: Vec::new(),
            focus: NodeId(0),
        };
        // Fonts and sizes are known after a pass or two.
        stage.settle();
        stage
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..4 {
            self.pass(vec![]);
        }
    }

    /// One pass with these inputs.
    pub(super) fn pass(&mut self, events: Vec<Input>) -> FullOutput {
        let screen_rect = Some(Rect::from_min_size(Pos2::ZERO, self.size));
        self.time += 0.5;
        let modifiers = events.iter().rev().find_map(|event| match event {
            Input::Key { modifiers, .. } => Some(*modifiers),
            _ => None,
        });
        let (modifiers, time) = (modifiers.unwrap_or_default(), Some(self.time));
        let input = RawInput { screen_rect, events, modifiers, focused: true, time, ..RawInput::default() };
        let mut commands = Vec::new();
        let output = self.context.run_ui(input, |ui| commands.extend(self.shell.show(ui, NOW, &self.live)));
        self.commands.extend(commands);
        self.raster.update(&output.textures_delta);
        if let Some(update) = &output.platform_output.accesskit_update {
            self.nodes.clone_from(&update.nodes);
            self.focus = update.focus;
        }
        output
    }

    /// Everything that a screen reader would read, line by line.
    pub(super) fn text(&mut self) -> String {
        self.pass(vec![]);
        let said = |node: &Node| node.label().or(node.value()).map(str::to_owned);
        self.nodes.iter().filter_map(|(_, node)| said(node)).collect::<Vec<_>>().join("\n")
    }

    /// The place of the last thing with this name that can be clicked; else of any.
    fn find(&self, name: &str) -> Pos2 {
        let named = |node: &Node| {
            node.label().or(node.value()).is_some_and(|label| label == name || label.starts_with(&format!("{name},")))
        };
        let all: Vec<&Node> = self.nodes.iter().map(|(_, node)| node).filter(|node| named(node)).collect();
        let clickable = all.iter().rfind(|node| node.role() != Role::Label);
        let found = clickable.or(all.last());
        let bounds = found.and_then(|node| node.bounds());
        let bounds = bounds.unwrap_or_else(|| panic!("no \"{name}\" among {:?}", self.names()));
        Pos2::new(((bounds.x0 + bounds.x1) / 2.0) as f32, ((bounds.y0 + bounds.y1) / 2.0) as f32)
    }

    fn names(&self) -> Vec<&str> {
        self.nodes.iter().filter_map(|(_, node)| node.label().or(node.value())).collect()
    }

    /// The name of what has the keyboard.
    pub(super) fn focused(&self) -> String {
        let node = self.nodes.iter().find(|(id, _)| *id == self.focus).map(|(_, node)| node);
        node.and_then(|node| node.label().or(node.value())).unwrap_or_default().to_owned()
    }

    /// Names of everything that can be operated, with its role.
    pub(super) fn controls(&mut self) -> Vec<(Role, Option<String>)> {
        self.pass(vec![]);
        let roles = [Role::Button, Role::CheckBox, Role::TextInput, Role::Link, Role::RadioButton, Role::ComboBox];
        let of = |node: &Node| (node.role(), node.label().or(node.value()).map(str::to_owned));
        self.nodes.iter().filter(|(_, node)| roles.contains(&node.role())).map(|(_, node)| of(node)).collect()
    }

    pub(super) fn click(&mut self, name: &str) {
        self.pass(vec![]);
        let pos = self.find(name);
        let button = |pressed| Input::PointerButton {
            pos,
            button: PointerButton::Primary,
            pressed,
            modifiers: Modifiers::default(),
        };
        self.pass(vec![Input::PointerMoved(pos)]);
        self.pass(vec![button(true)]);
        self.pass(vec![button(false)]);
        self.pass(vec![Input::PointerGone]);
        self.settle();
    }

    pub(super) fn key(&mut self, key: Key, modifiers: Modifiers) {
        let event = |pressed| Input::Key { key, physical_key: None, pressed, repeat: false, modifiers };
        self.pass(vec![event(true)]);
        self.pass(vec![event(false)]);
    }

    pub(super) fn write(&mut self, text: &str) {
        self.pass(vec![Input::Text(text.to_owned())]);
    }

    pub(super) fn sent(&mut self) -> String {
        format!("{:?}", std::mem::take(&mut self.commands))
    }

    pub(super) fn picture(&mut self) -> ColorImage {
        let output = self.pass(vec![]);
        let primitives = self.context.tessellate(output.shapes, output.pixels_per_point);
        self.raster.draw(&primitives, [self.size.x as usize, self.size.y as usize])
    }

    /// Compares with the kept picture, in both themes.
    pub(super) fn look(&mut self, name: &str) {
        for (theme, word) in [(Theme::Light, "light"), (Theme::Dark, "dark")] {
            self.context.set_theme(theme);
            self.settle();
            let size = if self.size.x < 900.0 { "small" } else { "large" };
            compare(&format!("{name}-{size}-{word}"), &self.picture());
        }
    }
}

fn compare(name: &str, picture: &ColorImage) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/snapshots");
    let kept = folder.join(format!("{name}.png"));
    if std::env::var_os("TWOCAN_BLESS").is_some() {
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(kept, pictures::png(picture).unwrap()).unwrap();
        return;
    }
    let bytes =
        std::fs::read(&kept).unwrap_or_else(|error| panic!("{}: {error}; TWOCAN_BLESS=1 makes it", kept.display()));
    let expected = pictures::pixels(&bytes).unwrap();
    let new = folder.join(format!("{name}.new.png"));
    let differ = expected.size != picture.size || {
        let far = |(a, b): &(&eframe::egui::Color32, &eframe::egui::Color32)| {
            (0..3).any(|n| a.to_array()[n].abs_diff(b.to_array()[n]) > DIFFERENCE)
        };
        expected.pixels.iter().zip(&picture.pixels).filter(far).count() > picture.pixels.len() / ONE_IN
    };
    if differ {
        std::fs::write(&new, pictures::png(picture).unwrap()).unwrap();
        panic!("{name} looks another way than it did: see {}", new.display());
    }
}
