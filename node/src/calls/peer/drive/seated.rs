//! What a peer tells the client in the seat: the streams with their codecs, what may flow, what the path carries.

use std::time::Instant;

use twocan_control::{Feedback, MediaControl, MediaKind, MediaMessage, StreamInfo};

use super::{Accepted, Driver, FEEDBACK, Flow, picture};
use crate::calls::formats::{Ability, FORMATS};
use crate::calls::outbound::Input;
use crate::calls::peer::PeerEvent;
use crate::calls::seat::{SeatEnd, SeatSink};
use crate::calls::{place_of, stream_of};

/// What a client is told of the flow.
fn flow_of(flow: Flow) -> MediaControl {
    MediaControl::Flow { audio: flow.audio, video: flow.video, screen: flow.screen }
}

impl Driver {
    pub(super) fn push(&self, control: MediaControl) {
        self.shared.deliver(MediaMessage::Control(control));
    }

    pub(super) async fn attach(&mut self, end: SeatEnd) {
        let SeatEnd { sink, from_client } = end;
        self.end_seat(false);
        self.seats += 1;
        self.shared.set_seat(Some(sink));
        let _ = self.inputs.try_send(Input::Seat(self.seats, from_client));
        self.able(Ability::default()).await;
        self.describe_streams();
        self.push(flow_of(self.flow));
        self.feedback(Instant::now());
        // A decoder that begins needs a whole picture.
        self.ask_friend.iter_mut().for_each(|ask| ask.wanted = true);
    }

    /// What the client makes and shows, from now on.
    pub(super) async fn able(&mut self, ability: Ability) {
        if ability != self.ability {
            self.ability = ability;
            if self.accepted.common.is_some() {
                self.wire().await;
            }
            self.describe_streams();
        }
    }

    pub(super) fn describe_streams(&self) {
        let Accepted { takes, red, common } = &self.accepted;
        let takes = |kind: MediaKind| kind == MediaKind::Audio || takes[place_of(kind)];
        // Before anything is described, what every client has.
        let first = FORMATS[0].name;
        let shown = |kind: MediaKind| match common {
            _ if !kind.is_picture() => takes(kind).then_some("opus"),
            None => Some(first),
            Some(common) => self.ability.shows(&common[picture(kind)]),
        };
        let stream = |kind: MediaKind| {
            let (participant, clock_rate) = (self.config.participant, kind.clock_rate());
            let codec = shown(kind)?.to_owned();
            Some(StreamInfo { id: stream_of(kind), participant, kind, codec, clock_rate })
        };
        let sent = |kind: MediaKind| match common {
            _ if !takes(kind) => (None, None),
            None => (Some(first.to_owned()), None),
            Some(common) => {
                let agreed = self.ability.sends(&common[picture(kind)]);
                (agreed.map(|agreed| agreed.name.to_owned()), agreed.map(|agreed| agreed.limits))
            }
        };
        let ((video_codec, video_limits), (screen_codec, screen_limits)) =
            (sent(MediaKind::Video), sent(MediaKind::Screen));
        self.push(MediaControl::Streams {
            receive: MediaKind::ALL.into_iter().filter_map(stream).collect(),
            audio_codec: "opus".to_owned(),
            audio_red: *red,
            video_codec,
            video_limits,
            screen_codec,
            screen_limits,
            sound_codec: takes(MediaKind::Sound).then(|| "opus".to_owned()),
        });
    }

    /// Sends the client away, if there is one.
    pub(super) fn end_seat(&mut self, over: bool) -> Option<SeatSink> {
        if over {
            self.push(MediaControl::Ended);
        }
        let _ = self.inputs.try_send(Input::NoSeat);
        self.shared.set_seat(None)
    }

    pub(super) fn set_flow(&mut self, flow: Flow) {
        let before = std::mem::replace(&mut self.flow, flow);
        if flow != Flow::default() {
            self.answered.get_or_insert_with(Instant::now);
        }
        self.shared.set_flow(flow);
        if flow_of(before) != flow_of(flow) {
            self.push(flow_of(flow));
        }
        self.ask_friend.iter_mut().for_each(|ask| ask.wanted |= flow.receive && !before.receive);
    }

    pub(super) fn feedback(&mut self, now: Instant) {
        self.feedback_at = now + FEEDBACK;
        let Some(live) = &self.live else { return };
        let (told, estimate) = (live.session.meters.told(), live.session.meters.estimate());
        live.session.meters.heard();
        self.told_at = Some(now);
        // Before the first report of the friend there are only its receiver reports, if any.
        let loss = if estimate.target > 0.0 { estimate.loss } else { self.measure.loss_out() };
        self.push(MediaControl::Feedback(Feedback {
            target_bitrate: live.session.meters.target(),
            audio_bitrate: told.shares.audio,
            video_bitrate: told.shares.camera,
            screen_bitrate: told.shares.screen,
            loss,
            loss_burst: estimate.burst.max(1.0),
            rtt_ms: self.shared.round_trip().map(|rtt| rtt.as_secs_f64() * 1e3),
        }));
    }

    pub(super) async fn seat_lost(&mut self, reason: &str) {
        if let Some(sink) = self.end_seat(false) {
            self.tell(PeerEvent::SeatLost { reason: reason.to_owned(), stats: sink.stats() }).await;
        }
    }
}
