//! The H.264 encoder: openh264, constrained baseline, one thread, two temporal layers, constant bitrate.

use openh264::OpenH264API;
use openh264::encoder::{
    BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, Profile, QpRange,
    RateControlMode, UsageType,
};
use openh264::formats::YUVSlices;
use openh264_sys2::{
    ENCODER_OPTION_BITRATE, ENCODER_OPTION_FRAME_RATE, ENCODER_OPTION_SVC_ENCODE_PARAM_EXT, ENCODER_OPTION_TRACE_LEVEL,
    SBitrateInfo, SEncParamExt, SPATIAL_LAYER_0, SPATIAL_LAYER_ALL, WELS_LOG_QUIET,
};

use super::{NAME, syntax};
use crate::video::codec::{CodecError, Encoded, VideoEncoder};
use crate::video::picture::Picture;

/// The encoder's own limits are 3840x2160; the size of what we send is bounded by the ladder far below.
const TEMPORAL_LAYERS: i32 = 2;
/// Quantiser of a shared screen that stands still: better is not seen.
const BEST_QUANTISER: u8 = 16;
/// Below this the library clips by itself.
const MIN_BITRATE: u32 = 10_000;

/// An H.264 encoder for pictures of one size; for another size make another.
pub struct H264Encoder {
    inner: Encoder,
    width: u32,
    height: u32,
}

impl std::fmt::Debug for H264Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("H264Encoder").field("width", &self.width).field("height", &self.height).finish_non_exhaustive()
    }
}

impl H264Encoder {
    /// Makes an encoder and has it ready: the first picture takes no longer than others, and is a key frame.
    pub fn new(width: u32, height: u32, frames_per_second: f32, bits_per_second: u32) -> Result<Self, CodecError> {
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(bits_per_second.max(MIN_BITRATE)))
            .max_frame_rate(FrameRate::from_hz(frames_per_second))
            .rate_control_mode(RateControlMode::Bitrate)
            .usage_type(UsageType::CameraVideoRealTime)
            .profile(Profile::Baseline)
            .complexity(Complexity::Low)
            .num_threads(1)
            .skip_frames(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(0))
            .scene_change_detect(false);
        let mut inner = Encoder::with_api_config(OpenH264API::from_source(), config).map_err(failed)?;
        silence(&mut inner);
        begin(&mut inner, (width, height), TEMPORAL_LAYERS)?;
        Ok(Self { inner, width, height })
    }

    /// An encoder for a shared screen: tuned for drawn content, every picture in one temporal layer, and a quantiser
    /// that never goes above `worst_quantiser` (0 to 51), whatever the bitrate. Its first picture is a key frame.
    pub fn for_screen(
        width: u32,
        height: u32,
        frames_per_second: f32,
        bits_per_second: u32,
        worst_quantiser: u8,
    ) -> Result<Self, CodecError> {
        let worst = worst_quantiser.clamp(BEST_QUANTISER, 51);
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(bits_per_second.max(MIN_BITRATE)))
            .max_frame_rate(FrameRate::from_hz(frames_per_second))
            .rate_control_mode(RateControlMode::Bitrate)
            .usage_type(UsageType::ScreenContentRealTime)
            .profile(Profile::Baseline)
            .complexity(Complexity::Low)
            .qp(QpRange::new(BEST_QUANTISER, worst))
            .num_threads(1)
            .skip_frames(false)
            .adaptive_quantization(false)
            .background_detection(false)
            .intra_frame_period(IntraFramePeriod::from_num_frames(0))
            .scene_change_detect(false);
        let mut inner = Encoder::with_api_config(OpenH264API::from_source(), config).map_err(failed)?;
        silence(&mut inner);
        begin(&mut inner, (width, height), 1)?;
        Ok(Self { inner, width, height })
    }
}

impl VideoEncoder for H264Encoder {
    fn codec(&self) -> &'static str {
        NAME
    }

    fn encode(&mut self, picture: &Picture) -> Result<Option<Encoded>, CodecError> {
        if (picture.width(), picture.height()) != (self.width, self.height) {
            return Err(CodecError::WrongSize);
        }
        let stream = self.inner.encode(&slices(picture)).map_err(failed)?;
        let key = match stream.frame_type() {
            FrameType::IDR => true,
            FrameType::Skip | FrameType::Invalid => return Ok(None),
            FrameType::I | FrameType::P | FrameType::IPMixed => false,
        };
        let payload = stream.to_vec();
        let layer = u8::from(syntax::reference_idc(&payload) == Some(0));
        Ok(Some(Encoded { payload, key, layer }))
    }

    fn force_key(&mut self) {
        self.inner.force_intra_frame();
    }

    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), CodecError> {
        let mut bits = bits_per_second.max(MIN_BITRATE);
        // The level of a small picture has a highest bitrate, and the library refuses more instead of taking that.
        loop {
            match bitrate(&mut self.inner, bits) {
                Err(_) if bits > MIN_BITRATE => bits = (bits / 2).max(MIN_BITRATE),
                result => return result,
            }
        }
    }

    fn set_frame_rate(&mut self, frames_per_second: f32) -> Result<(), CodecError> {
        let mut rate = frames_per_second;
        set(&mut self.inner, ENCODER_OPTION_FRAME_RATE, &mut rate)
    }
}

fn slices(picture: &Picture) -> YUVSlices<'_> {
    let (width, height) = (picture.width() as usize, picture.height() as usize);
    YUVSlices::new((&picture.y, &picture.u, &picture.v), (width, height), (width, width / 2, width / 2))
}

/// The library writes to standard error unless it is told not to, before it is set up as well as after.
fn silence(encoder: &mut Encoder) {
    // Its failure would cost a line of text, so it is not looked at.
    let _ = set(encoder, ENCODER_OPTION_TRACE_LEVEL, &mut { WELS_LOG_QUIET });
}

/// The library is set up by its first picture; only then can layers and the highest bitrate be set. That first picture
/// is of our making and goes nowhere.
fn begin(encoder: &mut Encoder, (width, height): (u32, u32), temporal: i32) -> Result<(), CodecError> {
    let warm = Picture::filled(width, height, (128, 128, 128)).map_err(|e| failed(e.to_string()))?;
    encoder.encode(&slices(&warm)).map_err(failed)?;
    layers(encoder, temporal)?;
    encoder.force_intra_frame();
    Ok(())
}

fn layers(encoder: &mut Encoder, temporal: i32) -> Result<(), CodecError> {
    let mut params = SEncParamExt::default();
    #[expect(unsafe_code, reason = "temporal layers are only in openh264's raw API")]
    // SAFETY: the option takes a pointer to a `SEncParamExt`, which lives through the call; the encoder is initialised.
    let got = unsafe {
        encoder.raw_api().get_option(ENCODER_OPTION_SVC_ENCODE_PARAM_EXT, std::ptr::from_mut(&mut params).cast())
    };
    if got != 0 {
        return Err(failed(format!("reading its parameters: code {got}")));
    }
    params.iTemporalLayerNum = temporal;
    params.bPrefixNalAddingCtrl = false;
    // Without this the bitrate at the start would be the highest for ever (0 is "unspecified").
    params.iMaxBitrate = 0;
    params.sSpatialLayers[0].iMaxSpatialBitrate = 0;
    set(encoder, ENCODER_OPTION_SVC_ENCODE_PARAM_EXT, &mut params)
}

fn bitrate(encoder: &mut Encoder, bits_per_second: u32) -> Result<(), CodecError> {
    let rate = i32::try_from(bits_per_second).unwrap_or(i32::MAX);
    for layer in [SPATIAL_LAYER_ALL, SPATIAL_LAYER_0] {
        set(encoder, ENCODER_OPTION_BITRATE, &mut SBitrateInfo { iLayer: layer, iBitrate: rate })?;
    }
    Ok(())
}

fn set<T>(encoder: &mut Encoder, option: openh264_sys2::ENCODER_OPTION, value: &mut T) -> Result<(), CodecError> {
    #[expect(unsafe_code, reason = "options of a running encoder are only in openh264's raw API")]
    // SAFETY: every caller passes the type that this option is documented to take (`codec_app_def.h`), and the library
    // copies it before the call returns.
    let code = unsafe { encoder.raw_api().set_option(option, std::ptr::from_mut(value).cast()) };
    if code == 0 { Ok(()) } else { Err(failed(format!("option {option}: code {code}"))) }
}

fn failed(error: impl ToString) -> CodecError {
    CodecError::Encoder { codec: NAME, text: error.to_string() }
}
