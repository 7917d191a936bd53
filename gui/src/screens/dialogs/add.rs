//! Adding a friend: by pasting the address, or by a QR code from a file, the clipboard or the camera.

use eframe::egui::{Image, Ui, Vec2};
use twocan_control::AddFriend;
use twocan_control::limits::{MAX_FRIEND, MAX_NAME, MAX_TEXT};

use super::focus;
use crate::design::dialog::Main;
use crate::design::{Button, Choice, Field, banner, caption, card, dialog};
use crate::pictures;
use crate::screens::{For, Picker, State};
use crate::text::{people as wp, t, ui as w};
use crate::theme::{Palette, icons, space};
use crate::worker::Command;

/// The camera's pictures are looked at for a code so often (pictures from one to the next).
const EVERY: u64 = 6;

/// What is typed, and how scanning goes.
#[derive(Clone, Debug, Default)]
pub struct Add {
    /// `twocan1…` or `twocan:…`.
    pub address: String,
    /// A line for the other side.
    pub message: String,
    /// A name to show here.
    pub name: String,
    scanning: bool,
    camera: bool,
    seen: u64,
    trouble: Option<String>,
    found: bool,
}

impl Add {
    /// A picture is being looked at.
    pub fn scanning(&mut self) {
        (self.scanning, self.found, self.trouble) = (true, false, None);
    }

    /// Takes in what was found in a picture.
    pub fn scanned(&mut self, result: Result<String, String>) {
        self.scanning = false;
        match result {
            Ok(text) if text.len() <= MAX_FRIEND && text.starts_with("twocan") => {
                (self.address, self.found, self.trouble) = (text, true, None);
            }
            Ok(_) => self.trouble = Some(t(wp::OTHER_CODE).into()),
            Err(error) => self.trouble = Some(error),
        }
    }

    pub(super) fn show(&mut self, ui: &Ui, state: &mut State, commands: &mut Vec<Command>) -> Choice {
        if self.camera {
            self.look(state);
        }
        let main = Main { label: t(wp::ASK), danger: false, enabled: !self.address.trim().is_empty() };
        let choice = dialog(ui, "add", t(w::ADD_FRIEND), 470.0, Some(main), |ui| self.contents(ui, state));
        if choice != Choice::Open && self.camera {
            state.trial.stop();
        }
        if choice == Choice::Done {
            let some = |text: &str| Some(text.trim().to_owned()).filter(|text| !text.is_empty());
            commands.push(Command::Add(AddFriend {
                address: self.address.trim().to_owned(),
                name: some(&self.name),
                message: some(&self.message),
            }));
        }
        choice
    }

    fn contents(&mut self, ui: &mut Ui, state: &mut State) -> bool {
        let palette = Palette::of(ui);
        caption(ui, t(wp::ADDRESS));
        let field = Field::new(&mut self.address, t(wp::ADDRESS), "twocan1…").icon(icons::LINK).mono().clearable();
        let typed = field.most(MAX_FRIEND).show(ui);
        focus(ui, &typed.response);
        if self.found {
            banner(ui, icons::CHECK_CIRCLE, t(wp::CODE_FOUND), palette.good, None);
        }
        if let Some(trouble) = &self.trouble {
            banner(ui, icons::WARNING_CIRCLE, trouble, palette.bad, None);
        }
        self.sources(ui, state);
        ui.add_space(space::XS);
        caption(ui, t(wp::GREETING));
        let hint = t(wp::GREETING_HINT);
        let enter = Field::new(&mut self.message, t(wp::GREETING), hint).most(MAX_TEXT).show(ui).enter;
        caption(ui, t(wp::NAME_HERE));
        let hint = t(wp::NAME_HERE_HINT);
        let last = Field::new(&mut self.name, t(wp::NAME_HERE), hint).most(MAX_NAME).show(ui).enter;
        card::note(ui, t(wp::ADD_LINE));
        typed.enter || enter || last
    }

    fn sources(&mut self, ui: &mut Ui, state: &mut State) {
        if self.camera {
            ui.vertical_centered(|ui| {
                if let Some(texture) = self.picture(ui, state) {
                    ui.add(Image::new(texture).corner_radius(12));
                } else {
                    ui.allocate_ui(Vec2::new(320.0, 180.0), |ui| ui.centered_and_justified(|ui| ui.spinner()));
                }
                ui.ctx().request_repaint_after(std::time::Duration::from_millis(50));
                if let Some(trouble) = state.trial.trouble() {
                    card::note(ui, trouble);
                }
            });
        }
        ui.horizontal_wrapped(|ui| {
            card::note(ui, t(wp::BY_CODE));
            if self.scanning {
                ui.spinner();
                return;
            }
            if ui.add(Button::secondary(t(wp::FROM_FILE)).icon(icons::IMAGE).small()).clicked() {
                state.picker = Some(Picker::open(For::Scan, &state.local));
            }
            if ui.add(Button::secondary(t(wp::FROM_CLIPBOARD)).icon(icons::COPY).small()).clicked() {
                self.scanning();
                state.local.scan(None);
            }
            let (label, icon) =
                if self.camera { (w::CLOSE, icons::WEBCAM_SLASH) } else { (wp::FROM_CAMERA, icons::CAMERA) };
            if ui.add(Button::secondary(t(label)).icon(icon).small()).clicked() {
                self.camera = !self.camera;
                if self.camera {
                    state.trial.start(&state.media, state.synthetic);
                } else {
                    state.trial.stop();
                }
            }
        });
    }

    fn picture(&self, ui: &Ui, state: &mut State) -> Option<eframe::egui::load::SizedTexture> {
        let tap = state.trial.preview();
        let texture = state.mirror.look(ui, tap.as_ref())?;
        Some(eframe::egui::load::SizedTexture::new(texture.id(), Vec2::new(320.0, 180.0)))
    }

    /// Looks for a code in the camera's picture.
    fn look(&mut self, state: &State) {
        let Some(tap) = state.trial.preview() else { return };
        if tap.count() < self.seen + EVERY {
            return;
        }
        self.seen = tap.count();
        let Some(picture) = tap.latest() else { return };
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        if let Some(text) = pictures::scan_luma(width, height, picture.luma()) {
            self.scanned(Ok(text));
            if self.found {
                self.camera = false;
                state.trial.stop();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_codes_of_addresses_are_taken() {
        let mut add = Add::default();
        add.scanning();
        add.scanned(Ok("https://example.org".into()));
        assert!(add.address.is_empty() && add.trouble.is_some() && !add.scanning);
        add.scanned(Ok(format!("twocan:{}", "x".repeat(MAX_FRIEND))));
        assert!(add.address.is_empty());
        add.scanned(Ok("twocan1abc".into()));
        assert!(add.address == "twocan1abc" && add.trouble.is_none() && add.found);
        add.scanned(Err("no code".into()));
        assert_eq!(add.trouble.as_deref(), Some("no code"));
    }
}
