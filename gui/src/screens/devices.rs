//! Microphone, speaker and camera: chosen, tried, and what is done to the voice. In the first start and the settings.

use eframe::egui::{
    Color32, ColorImage, ComboBox, CornerRadius, Rect, Sense, TextureHandle, TextureOptions, Ui, Vec2, WidgetInfo,
    WidgetType,
};
use twocan_media::audio::backend::Device;
use twocan_media::audio::process::Transmit;
use twocan_media::video::{Tap, Turn};

use super::State;
use crate::design::card::hairline;
use crate::design::{Button, banner, caption, section, segments, setting, switch};
use crate::text::{clean_to, settings as ws, t};
use crate::theme::{Palette, icons, letters, radius, space};

/// The camera's picture as a texture; a picture is uploaded once.
#[derive(Clone, Default)]
pub struct Mirror {
    count: u64,
    texture: Option<TextureHandle>,
}

impl std::fmt::Debug for Mirror {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mirror").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Mirror {
    pub(super) fn look(&mut self, ui: &Ui, tap: Option<&Tap>) -> Option<TextureHandle> {
        let tap = tap?;
        if tap.count() != self.count
            && let Some(picture) = tap.latest()
        {
            self.count = tap.count();
            let size = [picture.width() as usize, picture.height() as usize];
            let image = ColorImage::from_rgba_unmultiplied(size, &picture.to_rgba());
            match &mut self.texture {
                Some(texture) => texture.set(image, TextureOptions::LINEAR),
                None => self.texture = Some(ui.ctx().load_texture("mirror", image, TextureOptions::LINEAR)),
            }
        }
        self.texture.clone()
    }
}

/// Lists devices once, when a page first needs them.
fn listed(state: &mut State) {
    if state.machine.is_none() && state.local.has_home() {
        state.machine = Some(Default::default());
        state.local.machine();
    }
}

/// The page of the settings.
pub(super) fn settings(ui: &mut Ui, state: &mut State) {
    ui.add_space(space::M);
    choices(ui, state);
    section(ui, t(ws::VOICE));
    let mut media = state.media.clone();
    let audio = &mut media.audio;
    for (word, line, on) in [
        (ws::ECHO, ws::ECHO_LINE, &mut audio.echo_cancelling),
        (ws::NOISE, ws::NOISE_LINE, &mut audio.noise_suppression),
        (ws::GAIN, ws::GAIN_LINE, &mut audio.automatic_gain),
        (ws::RUMBLE, ws::RUMBLE_LINE, &mut audio.high_pass),
    ] {
        setting(ui, t(word), t(line), |ui| switch(ui, t(word), on));
        hairline(ui);
    }
    setting(ui, t(ws::TALK), "", |ui| {
        let modes = [
            (Transmit::Always, ws::TALK_ALWAYS),
            (Transmit::VoiceActivity, ws::TALK_VOICE),
            (Transmit::PushToTalk, ws::TALK_KEY),
        ];
        let chosen = modes.iter().find(|(mode, _)| *mode == audio.talk).map_or("", |(_, word)| t(*word));
        ComboBox::from_id_salt("talk").width(200.0).selected_text(chosen).show_ui(ui, |ui| {
            for (mode, word) in modes {
                ui.selectable_value(&mut audio.talk, mode, t(word));
            }
        });
    });
    hairline(ui);
    setting(ui, t(ws::TURN), t(ws::TURN_LINE), |ui| {
        let turns = [Turn::None, Turn::Quarter, Turn::Half, Turn::ThreeQuarters];
        let chosen = turns.iter().position(|turn| *turn == media.video.camera_turn).unwrap_or(0);
        if let Some(at) = segments(ui, t(ws::TURN), &["0°", "90°", "180°", "270°"], chosen) {
            media.video.camera_turn = turns[at];
        }
    });
    if media != state.media {
        let (audio, video) = (media.audio, media.video);
        change(state, move |kept| {
            kept.audio = audio.clone();
            kept.video = video.clone();
        });
    }
}

/// Keeps a change, and tries the devices anew if they are being tried.
fn change(state: &mut State, change: impl Fn(&mut twocan_media::settings::MediaSettings) + Send + 'static) {
    state.choose(change);
    if state.trial.running() {
        state.trial.start(&state.media, state.synthetic);
    }
}

/// Preview, level, and the choice of devices.
pub(super) fn choices(ui: &mut Ui, state: &mut State) {
    listed(state);
    let wide = ui.available_width() > 520.0;
    let size = if wide { 264.0 } else { ui.available_width().min(300.0) };
    if wide {
        ui.horizontal_top(|ui| {
            ui.vertical(|ui| {
                ui.set_width(size);
                preview(ui, state, size);
            });
            ui.add_space(space::M);
            ui.vertical(|ui| pick(ui, state));
        });
    } else {
        preview(ui, state, size);
        ui.add_space(space::S);
        pick(ui, state);
    }
    if let Some(trouble) = state.trial.trouble() {
        let colour = Palette::of(ui).warn;
        banner(ui, icons::WARNING, &trouble, colour, None);
    } else if let Some(trouble) = state.machine.as_ref().and_then(|machine| machine.trouble.clone()) {
        let colour = Palette::of(ui).warn;
        banner(ui, icons::WARNING, &trouble, colour, None);
    }
}

fn preview(ui: &mut Ui, state: &mut State, width: f32) {
    let palette = Palette::of(ui);
    let (rect, response) = ui.allocate_exact_size(Vec2::new(width, width * 9.0 / 16.0), Sense::hover());
    response.widget_info(|| WidgetInfo::labeled(WidgetType::Image, true, t(ws::PREVIEW)));
    let corner = CornerRadius::same(radius::L);
    ui.painter().rect_filled(rect, corner, palette.field);
    let tap = state.trial.preview();
    let running = state.trial.running();
    let texture = if running { state.mirror.look(ui, tap.as_ref()) } else { None };
    match texture {
        Some(texture) => {
            // One sees oneself as in a mirror.
            let uv = Rect::from_min_max(eframe::egui::pos2(1.0, 0.0), eframe::egui::pos2(0.0, 1.0));
            let shape = eframe::egui::epaint::RectShape::filled(rect, corner, Color32::WHITE);
            ui.painter().add(shape.with_texture(texture.id(), uv));
        }
        None => {
            let icon = if running { icons::WEBCAM } else { icons::WEBCAM_SLASH };
            let font = eframe::egui::FontId::new(34.0, letters::icons());
            let at = rect.center() - Vec2::new(0.0, 10.0);
            ui.painter().text(at, eframe::egui::Align2::CENTER_CENTER, icon, font, palette.faint);
            let line = rect.center() + Vec2::new(0.0, 22.0);
            let words = t(ws::PREVIEW_OFF);
            let font = crate::design::plain(letters::SMALL);
            ui.painter().text(line, eframe::egui::Align2::CENTER_CENTER, words, font, palette.quiet);
        }
    }
    ui.add_space(6.0);
    meter(ui, if running { state.trial.level() } else { 0.0 }, width);
    ui.add_space(6.0);
    if running {
        // The picture and the level move by themselves.
        ui.ctx().request_repaint_after(std::time::Duration::from_millis(33));
        if ui.add(Button::secondary(t(ws::STOP_TRYING)).icon(icons::STOP).small()).clicked() {
            state.trial.stop();
        }
    } else if ui.add(Button::secondary(t(ws::TRY)).icon(icons::PLAY).small()).clicked() {
        state.trial.start(&state.media, state.synthetic);
    }
}

/// How loud it is, in a row of small fields.
fn meter(ui: &mut Ui, level: f32, width: f32) {
    const FIELDS: usize = 24;
    let palette = Palette::of(ui);
    ui.horizontal(|ui| {
        ui.spacing_mut().interact_size.y = 18.0;
        ui.label(letters::icon(icons::MICROPHONE, 17.0).color(palette.quiet));
        let (rect, response) = ui.allocate_exact_size(Vec2::new(width - 30.0, 10.0), Sense::hover());
        response.widget_info(|| WidgetInfo::labeled(WidgetType::ProgressIndicator, true, t(ws::LEVEL)));
        let step = rect.width() / FIELDS as f32;
        let lit = (level * FIELDS as f32).round() as usize;
        for at in 0..FIELDS {
            let min = rect.min + Vec2::new(at as f32 * step, 0.0);
            let field = Rect::from_min_size(min, Vec2::new(step - 3.0, rect.height()));
            let colour = if at >= lit {
                palette.field
            } else if at >= FIELDS * 9 / 10 {
                palette.warn
            } else {
                palette.good
            };
            ui.painter().rect_filled(field, CornerRadius::same(3), colour);
        }
    });
}

fn pick(ui: &mut Ui, state: &mut State) {
    let machine = state.machine.clone().unwrap_or_default();
    let width = ui.available_width() - 8.0;
    let devices =
        |input: bool| machine.sound.iter().filter(move |d| d.input == input && !d.monitor).collect::<Vec<_>>();
    caption(ui, t(ws::MICROPHONE));
    if let Some(id) = sound(ui, "microphone", &devices(true), state.media.audio.microphone.as_ref(), width) {
        change(state, move |kept| kept.audio.microphone = id.clone());
    }
    caption(ui, t(ws::SPEAKER));
    if let Some(id) = sound(ui, "speaker", &devices(false), state.media.audio.speaker.as_ref(), width) {
        change(state, move |kept| kept.audio.speaker = id.clone());
    }
    caption(ui, t(ws::CAMERA));
    let chosen = state.media.video.camera.clone();
    let word = chosen
        .clone()
        .unwrap_or_else(|| t(if machine.cameras.is_empty() { ws::NO_CAMERA } else { ws::FIRST_CAMERA }).into());
    let mut picked = None;
    ComboBox::from_id_salt("camera").width(width).truncate().selected_text(word).show_ui(ui, |ui| {
        if ui.selectable_label(chosen.is_none(), t(ws::FIRST_CAMERA)).clicked() {
            picked = Some(None);
        }
        for name in &machine.cameras {
            if ui.selectable_label(chosen.as_ref() == Some(name), name).clicked() {
                picked = Some(Some(name.clone()));
            }
        }
    });
    if let Some(name) = picked {
        change(state, move |kept| kept.video.camera = name.clone());
    }
    ui.add_space(4.0);
    if ui.add(Button::secondary(t(ws::TEST_SOUND)).icon(icons::SPEAKER_HIGH).small()).clicked() {
        state.trial.play(state.media.audio.speaker.clone());
    }
}

/// A list of microphones or speakers; the one that was chosen now.
fn sound(ui: &mut Ui, id: &str, devices: &[&Device], chosen: Option<&String>, width: f32) -> Option<Option<String>> {
    let named = |device: &Device| clean_to(&device.name, 80);
    let word = match chosen {
        None => t(ws::DEFAULT).to_owned(),
        Some(id) => devices.iter().find(|d| d.id == *id).map_or_else(|| clean_to(id, 80), |d| named(d)),
    };
    let mut picked = None;
    ComboBox::from_id_salt(id).width(width).truncate().selected_text(word).show_ui(ui, |ui| {
        if ui.selectable_label(chosen.is_none(), t(ws::DEFAULT)).clicked() {
            picked = Some(None);
        }
        for device in devices {
            if ui.selectable_label(chosen == Some(&device.id), named(device)).clicked() {
                picked = Some(Some(device.id.clone()));
            }
        }
    });
    picked
}
