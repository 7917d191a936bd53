//! High-pass, noise suppression and automatic gain: WebRTC's, by the crate sonora.

use sonora::config::{
    AdaptiveDigital, GainController2, HighPassFilter, MaxProcessingRate, NoiseSuppression, NoiseSuppressionLevel,
    Pipeline,
};
use sonora::{AudioProcessing, Config, StreamConfig};

use super::ProcessingSettings;
use super::adaptive::BLOCK;

/// Gain at the beginning of a call, dB: little, so that a good microphone is not too loud at first.
const GAIN_AT_FIRST_DB: f32 = 6.0;
/// Most gain, dB: more would lift the room instead of the voice.
const MOST_GAIN_DB: f32 = 30.0;

/// See the module.
#[derive(Debug)]
pub(super) struct Cleaner {
    chain: Option<AudioProcessing>,
    settings: (bool, bool, bool),
}

impl Cleaner {
    pub(super) fn new(settings: &ProcessingSettings) -> Self {
        let mut new = Self { chain: None, settings: (false, false, false) };
        new.set(settings);
        new
    }

    pub(super) fn set(&mut self, settings: &ProcessingSettings) {
        let wanted = (settings.high_pass, settings.noise_suppression, settings.automatic_gain);
        if wanted == self.settings {
            return;
        }
        self.settings = wanted;
        let (high_pass, noise, gain) = wanted;
        if wanted == (false, false, false) {
            self.chain = None;
            return;
        }
        let config = Config {
            pipeline: Pipeline {
                maximum_internal_processing_rate: MaxProcessingRate::Rate48kHz,
                multi_channel_render: false,
                multi_channel_capture: false,
                ..Pipeline::default()
            },
            high_pass_filter: high_pass.then(HighPassFilter::default),
            noise_suppression: noise
                .then(|| NoiseSuppression { level: NoiseSuppressionLevel::High, ..NoiseSuppression::default() }),
            gain_controller2: gain.then(|| GainController2 {
                adaptive_digital: Some(AdaptiveDigital {
                    initial_gain_db: GAIN_AT_FIRST_DB,
                    max_gain_db: MOST_GAIN_DB,
                    ..AdaptiveDigital::default()
                }),
                ..GainController2::default()
            }),
            ..Config::default()
        };
        match &mut self.chain {
            Some(chain) => chain.apply_config(config),
            None => {
                let mono = StreamConfig::new(super::SAMPLE_RATE, 1);
                let chain = AudioProcessing::builder().config(config).capture_config(mono).render_config(mono);
                self.chain = Some(chain.build());
            }
        }
    }

    /// Cleans 10 ms in place.
    pub(super) fn process(&mut self, block: &mut [f32; BLOCK]) {
        let Some(chain) = &mut self.chain else { return };
        let before = *block;
        if let Err(error) = chain.process_capture_f32(&[&before], &mut [&mut block[..]]) {
            // Only a wrong number of samples or channels is an error, and both are fixed here.
            tracing::error!(?error, "sound is not cleaned");
            *block = before;
        }
    }
}
