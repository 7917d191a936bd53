//! How a peer comes to a path: descriptions by generation, candidates in their order, and what webrtc tells of them.

use std::sync::atomic::Ordering;
use std::time::Instant;

use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::task::JoinSet;
use twocan_control::MediaKind;
use webrtc::peer_connection::RTCPeerConnectionState;

use super::{AHEAD, Accepted, Driver, Live, MAX_TRACKS, PICTURES};
use crate::calls::candidate::{Candidate, Kind};
use crate::calls::inbound::AudioTypes;
use crate::calls::outbound::Input;
use crate::calls::peer::{Connected, Failure, FailureKind, OfferKind, PeerEvent};
use crate::calls::session::{Happening, Session, SessionConfig, SessionError};
use crate::calls::{Description, DescriptionError, DescriptionKind, MAX_CANDIDATES, inbound, place_of, sdp, stream_of};

impl Driver {
    // ---- descriptions ----

    async fn fresh(&mut self, generation: u32, offers: bool) -> Result<(), Failure> {
        self.teardown().await;
        let config = SessionConfig {
            offers,
            loopback: self.loopback(),
            relay_only: self.config.relay_only,
            relays: self.slots.relays(),
        };
        let session = Session::new(self.engine.clone(), config).await?;
        self.live = Some(Live {
            session,
            generation,
            offering: false,
            remote: None,
            since: None,
            verified: None,
            announced: false,
            lost: false,
            alive: Instant::now(),
            friend_has_relay: false,
            reached: None,
            readers: JoinSet::new(),
            video: None,
            screen: None,
        });
        Ok(())
    }

    pub(super) fn loopback(&self) -> bool {
        self.config.loopback || self.engine.loopback()
    }

    /// A new generation begins: older candidates are worthless.
    fn enter(&mut self, generation: u32) {
        self.generation = generation;
        self.taken = 0;
        self.told.clear();
        self.early.retain(|of, _| *of >= generation);
    }

    pub(super) async fn offer(&mut self, generation: u32, kind: OfferKind) -> Result<(), Failure> {
        if generation < self.generation {
            tracing::warn!(call = %self.config.label, generation, "an offer of an old generation was asked for");
            return Ok(());
        }
        self.enter(generation);
        let restart = kind == OfferKind::Restart && self.live.as_ref().is_some_and(|live| live.remote.is_some());
        if !restart {
            self.fresh(generation, true).await?;
        }
        let Some(live) = &mut self.live else { return Ok(()) };
        (live.generation, live.offering, live.since, live.announced) = (generation, true, None, false);
        let sdp = if restart { live.session.say_again(true)? } else { live.session.offer().await? };
        self.local(DescriptionKind::Offer, sdp).await;
        if restart && let Some(live) = &self.live {
            // What is known already is tried while the offer is on its way.
            live.session.paths.renew();
        }
        Ok(())
    }

    async fn local(&mut self, kind: DescriptionKind, sdp: String) {
        self.look_around();
        let candidates = self.untold();
        let Some(live) = &self.live else { return };
        let fingerprint = live.session.own_fingerprint();
        let generation = live.generation;
        let (sdp, more) = sdp::parted(&sdp);
        self.tell(PeerEvent::Local(Description { kind, generation, sdp, more, fingerprint, candidates })).await;
    }

    /// A friend's description, examined.
    fn examined(description: &Description) -> Result<String, Failure> {
        let examined = sdp::examined(&sdp::joined(&description.sdp, &description.more))?;
        if sdp::fingerprint(&examined)? != description.fingerprint {
            return Err(DescriptionError::Fingerprint.into());
        }
        Ok(examined)
    }

    pub(super) async fn remote_offer(&mut self, description: Description) -> Result<(), Failure> {
        let Description { generation, fingerprint, .. } = description;
        let ours = self.live.as_ref().is_some_and(|live| live.offering && live.generation == generation);
        let repeated = self
            .live
            .as_ref()
            .is_some_and(|live| live.generation == generation && live.remote.is_some() && !live.offering);
        if generation < self.generation || (ours && !self.config.polite) || repeated {
            tracing::debug!(call = %self.config.label, generation, "an offer that came too late is passed over");
            return Ok(());
        }
        let examined = Self::examined(&description)?;
        self.enter(generation);
        // Another certificate means another connection: the friend's node lost the old one. And a connection that has
        // never had an answer is simply dropped: that is surer than rolling it back.
        let same = self.live.as_ref().is_some_and(|live| live.remote == Some(fingerprint));
        if !same {
            self.fresh(generation, false).await?;
        }
        let Some(live) = &mut self.live else { return Ok(()) };
        let sdp = if same {
            live.session.renewed(&examined)?;
            live.session.say_again(false)?
        } else {
            live.session.answer(examined).await?
        };
        (live.generation, live.remote, live.offering) = (generation, Some(fingerprint), false);
        self.complete().await;
        self.local(DescriptionKind::Answer, sdp).await;
        self.candidates(generation, description.candidates);
        self.release_early();
        Ok(())
    }

    pub(super) async fn remote_answer(&mut self, description: Description) -> Result<(), Failure> {
        let Description { generation, fingerprint, .. } = description;
        let Some(live) = self.live.as_mut().filter(|live| live.offering && live.generation == generation) else {
            tracing::debug!(call = %self.config.label, generation, "an answer that nobody waits for is passed over");
            return Ok(());
        };
        let examined = Self::examined(&description)?;
        if live.remote.is_some_and(|known| known != fingerprint) {
            self.tell(PeerEvent::NeedsRebuild).await;
            return Ok(());
        }
        match live.remote {
            Some(_) => live.session.renewed(&examined)?,
            None => live.session.accept(examined).await?,
        }
        (live.offering, live.remote) = (false, Some(fingerprint));
        self.complete().await;
        self.candidates(generation, description.candidates);
        self.release_early();
        Ok(())
    }

    /// Both descriptions are in force: the search for a path begins.
    async fn complete(&mut self) {
        let Some(live) = &mut self.live else { return };
        (live.since, live.announced, live.lost) = (Some(Instant::now()), false, false);
        self.wire().await;
    }

    /// Joins the client's streams to what the friend takes, and tells the client what changed.
    pub(super) async fn wire(&mut self) {
        let Some(live) = &self.live else { return };
        let mut tracks: [_; 4] = Default::default();
        for kind in MediaKind::ALL {
            tracks[place_of(kind)] = live.session.out(kind, &self.ability).await;
        }
        let common = PICTURES.map(|kind| live.session.common(kind));
        let takes = std::array::from_fn(|at| tracks[at].is_some());
        self.measure.sends(std::array::from_fn(|at| tracks[at].as_ref().map(|track| track.ssrc)));
        let audio = tracks[place_of(MediaKind::Audio)].as_ref();
        let red = audio.is_some_and(|audio| audio.red_type.is_some());
        if let Some(audio) = audio {
            self.shared.set_audio_types(AudioTypes { opus: audio.payload_type, red: audio.red_type });
        }
        let _ = self.inputs.send(Input::Wire(tracks)).await;
        let accepted = Accepted { takes, red, common: Some(common) };
        if accepted != self.accepted {
            self.accepted = accepted;
            self.describe_streams();
        }
    }

    // ---- candidates ----

    pub(super) fn candidates(&mut self, generation: u32, list: Vec<String>) {
        let ready = self
            .live
            .as_ref()
            .is_some_and(|live| live.generation == generation && !live.offering && live.remote.is_some());
        if !ready {
            if generation >= self.generation && generation - self.generation <= AHEAD {
                let held = self.early.entry(generation).or_default();
                let room = MAX_CANDIDATES.saturating_sub(held.len());
                held.extend(list.into_iter().take(room));
            }
            return;
        }
        let loopback = self.loopback();
        for line in list {
            if self.taken >= MAX_CANDIDATES {
                tracing::debug!(call = %self.config.label, "more candidates than are taken");
                break;
            }
            self.taken += 1;
            let Some(live) = &mut self.live else { return };
            match Candidate::parse(&line).and_then(|candidate| candidate.examine(loopback)) {
                Ok(candidate) => {
                    live.friend_has_relay |= candidate.kind == Kind::Relay;
                    live.session.paths.add_remote(&candidate);
                }
                Err(refusal) => tracing::debug!(call = %self.config.label, "a candidate was refused: {refusal}"),
            }
        }
    }

    fn release_early(&mut self) {
        if let Some(list) = self.early.remove(&self.generation) {
            self.candidates(self.generation, list);
        }
    }

    // ---- what webrtc tells ----

    pub(super) async fn happening(&mut self, happening: Happening) {
        let Some(live) = &mut self.live else { return };
        match happening {
            Happening::Track(track) => {
                if live.readers.len() < MAX_TRACKS {
                    let video = track.kind().await == RtpCodecKind::Video;
                    let ssrc = track.ssrcs().await.first().copied();
                    let kind = live.session.kind_of(ssrc, video);
                    match kind {
                        MediaKind::Video => live.video = Some(track.clone()),
                        MediaKind::Screen => live.screen = Some(track.clone()),
                        MediaKind::Audio | MediaKind::Sound => {}
                    }
                    live.readers.spawn(inbound::read(self.shared.clone(), track, kind));
                    if let Some(clock) = ssrc.and_then(|ssrc| self.measure.source(stream_of(kind), ssrc)) {
                        self.push(clock);
                    }
                }
            }
            Happening::Connection(RTCPeerConnectionState::Connected) => self.connected().await,
            Happening::Connection(RTCPeerConnectionState::Failed) => self.path_lost().await,
            Happening::Connection(_) => {}
        }
    }

    /// Looks whether the path is up, and whether it ends where it should.
    pub(super) async fn connected(&mut self) {
        let Some(live) = &mut self.live else { return };
        let (Some(expected), Some(since)) = (live.remote, live.since) else { return };
        let Some(presented) = live.session.presented().await else { return };
        if presented != expected {
            self.fail(Failure::fingerprint()).await;
            return;
        }
        // After a renewal only what has answered since counts.
        if live.session.paths.alive_at().is_none_or(|at| at < since) {
            return;
        }
        let first = live.verified.is_none();
        live.verified.get_or_insert_with(Instant::now);
        live.since = None;
        live.lost = false;
        self.shared.ready.store(true, Ordering::Release);
        let _ = self.inputs.try_send(Input::Up(live.session.meters.clone()));
        if std::mem::replace(&mut live.announced, true) {
            return;
        }
        let generation = live.generation;
        let Some(path) = self.path_info() else { return };
        self.path_shown(&path);
        let connected = Connected { generation, path, took: since.elapsed() };
        tracing::debug!(call = %self.config.label, first, took = ?connected.took, path = %connected.path.candidates, "call path is up");
        self.tell(PeerEvent::Connected(connected)).await;
    }

    pub(super) async fn path_lost(&mut self) {
        let Some(live) = &mut self.live else { return };
        if live.verified.is_none() {
            let failure = self.set_up_failure();
            self.fail(failure).await;
        } else if !std::mem::replace(&mut live.lost, true) {
            live.since = None;
            self.tell(PeerEvent::PathLost).await;
        }
    }

    /// webrtc's event loop has ended, which only we have not asked for.
    pub(super) async fn stopped(&mut self) {
        let Some(live) = &self.live else { return };
        let failure = if live.verified.is_none() && live.reached.is_some() {
            self.set_up_failure()
        } else {
            Failure::new(FailureKind::Engine, "the media engine of the call stopped")
        };
        self.fail(failure).await;
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        Self::new(FailureKind::Engine, error.to_string())
    }
}
