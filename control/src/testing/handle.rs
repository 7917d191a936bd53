//! The local API of the node in memory.

use futures::StreamExt;
use futures::stream::{self, BoxStream};
use tokio::sync::mpsc;

use super::samples::{
    PHRASE, sample_address, sample_friend, sample_id, sample_preflight, sample_relay, sample_settings,
};
use super::{EVENT_QUEUE, FakeNode, State};
use crate::*;

impl FakeNode {
    fn who(state: &State) -> Identity {
        Identity {
            address: format!("{}{:04x}", sample_address("me"), state.rotations),
            uri: format!("twocan:1{:04x}", state.rotations),
            root: sample_id("me"),
            name: state.name.clone(),
            picture: (!state.picture.hash.is_empty()).then(|| state.picture.hash.clone()),
            device_index: 0,
            token_rotated_ms: (state.rotations > 0).then_some(1_700_000_000_000),
        }
    }
}

impl Handle for FakeNode {
    async fn status(&self) -> Result<Status> {
        let state = self.state();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(Status {
            api_version: API_VERSION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            home: "memory".to_owned(),
            uptime_s: 1,
            locked: state.locked_by.is_some(),
            availability: state.availability,
            peer_id: "12D3KooWFake".to_owned(),
            listen: vec!["/ip4/127.0.0.1/udp/1/quic-v1".to_owned()],
            media_port: 1,
            reachability: crate::doctor::Reachability::Unknown,
            dht: Health::default(),
            friends: count(state.friends.len()),
            friends_online: count(state.friends.iter().filter(|friend| friend.online).count()),
            requests: count(state.requests.len()),
            calls: count(state.calls.iter().filter(|call| call.state != CallState::Ended).count()),
            missed: count(state.history.iter().filter(|entry| entry.unseen).count()),
            unread: state.conversations().iter().map(|chat| chat.unread).sum(),
            timings: Timings::default(),
            notices: Vec::new(),
        })
    }

    async fn identity(&self) -> Result<Identity> {
        self.enter().await?;
        Ok(Self::who(&self.state()))
    }

    async fn rotate_token(&self) -> Result<Identity> {
        self.enter().await?;
        let mut state = self.state();
        state.rotations += 1;
        Ok(Self::who(&state))
    }

    async fn set_profile(&self, profile: Profile) -> Result<Identity> {
        self.enter().await?;
        let mut state = self.state();
        state.name = profile.name;
        Ok(Self::who(&state))
    }

    async fn phrase(&self) -> Result<Phrase> {
        self.enter().await?;
        Ok(Phrase { words: PHRASE.to_owned() })
    }

    async fn backup(&self, request: BackupRequest) -> Result<Backup> {
        self.enter().await?;
        let _ = request;
        Ok(Backup { file_hex: "00ff".repeat(64) })
    }

    async fn set_passphrase(&self, passphrase: Passphrase) -> Result<()> {
        self.enter().await?;
        let _ = passphrase;
        Ok(())
    }

    async fn unlock(&self, passphrase: Passphrase) -> Result<()> {
        let mut state = self.state();
        match state.locked_by.as_deref() {
            None => Err(Error::new(Code::Conflict, "the node is not locked")),
            Some(right) if right == passphrase.passphrase => {
                state.locked_by = None;
                state.emit(&Event::Unlocked);
                Ok(())
            }
            Some(_) => Err(Error::new(Code::WrongPassphrase, "the passphrase is wrong")),
        }
    }

    async fn friends(&self) -> Result<Vec<Friend>> {
        self.enter().await?;
        Ok(self.state().friends.clone())
    }

    async fn friend(&self, friend: &str) -> Result<Friend> {
        self.enter().await?;
        self.state().find(friend)
    }

    async fn add_friend(&self, add: AddFriend) -> Result<Friend> {
        self.enter().await?;
        let Some(id) = add.address.strip_prefix("twocan1").filter(|id| id.len() == 64) else {
            return Err(Error::new(Code::BadAddress, "this is no twocan address").hint("it begins with twocan1"));
        };
        let mut state = self.state();
        if state.friends.iter().any(|friend| friend.id == id) {
            return Err(Error::new(Code::Exists, "you have added that address already"));
        }
        let name = add.name.unwrap_or_else(|| id[..8].to_owned());
        let friend = Friend {
            id: id.to_owned(),
            state: FriendState::Requested,
            online: false,
            availability: None,
            link: None,
            last_seen_ms: None,
            ..sample_friend(&name)
        };
        state.friends.push(friend.clone());
        state.emit(&Event::Friend { friend: friend.clone() });
        Ok(friend)
    }

    async fn update_friend(&self, friend: &str, update: FriendUpdate) -> Result<Friend> {
        self.enter().await?;
        let mut state = self.state();
        let mut friend = state.find(friend)?;
        friend.name = update.name.unwrap_or(friend.name);
        friend.verified = update.verified.unwrap_or(friend.verified);
        friend.hide_address = update.hide_address.unwrap_or(friend.hide_address);
        if let Some(kept) = state.friends.iter_mut().find(|kept| kept.id == friend.id) {
            *kept = friend.clone();
        }
        state.emit(&Event::Friend { friend: friend.clone() });
        Ok(friend)
    }

    async fn remove_friend(&self, friend: &str) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        let id = state.find(friend)?.id;
        state.friends.retain(|friend| friend.id != id);
        state.emit(&Event::FriendRemoved { id });
        Ok(())
    }

    async fn block(&self, friend: &str) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        let id = state.find(friend)?.id;
        state.friends.retain(|friend| friend.id != id);
        state.blocked.push(id.clone());
        state.emit(&Event::FriendRemoved { id });
        Ok(())
    }

    async fn blocked(&self) -> Result<Vec<FriendId>> {
        self.enter().await?;
        Ok(self.state().blocked.clone())
    }

    async fn unblock(&self, id: &str) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        let before = state.blocked.len();
        state.blocked.retain(|blocked| blocked != id);
        if state.blocked.len() == before {
            Err(Error::new(Code::NotFound, "nobody with that id is blocked"))
        } else {
            Ok(())
        }
    }

    async fn requests(&self) -> Result<Vec<Request>> {
        self.enter().await?;
        Ok(self.state().requests.clone())
    }

    async fn answer_request(&self, id: &str, answer: RequestAnswer) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        let position = state.requests.iter().position(|request| request.id.starts_with(id));
        let position = position.ok_or_else(|| Error::new(Code::NotFound, "no request has that id"))?;
        let request = state.requests.remove(position);
        state.emit(&Event::RequestGone { id: request.id.clone() });
        match answer {
            RequestAnswer::Accept { name } => {
                let friend = Friend { id: request.id, ..sample_friend(&name.unwrap_or(request.name)) };
                state.friends.push(friend.clone());
                state.emit(&Event::Friend { friend });
            }
            RequestAnswer::Decline => {}
            RequestAnswer::Block => state.blocked.push(request.id),
        }
        Ok(())
    }

    async fn set_availability(&self, set: SetAvailability) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        state.availability = set.availability;
        state.emit(&Event::Availability { availability: set.availability });
        Ok(())
    }

    async fn privacy(&self) -> Result<Privacy> {
        self.enter().await?;
        Ok(self.state().privacy)
    }

    async fn set_privacy(&self, privacy: Privacy) -> Result<Privacy> {
        self.enter().await?;
        self.state().privacy = privacy;
        Ok(privacy)
    }

    async fn relay(&self) -> Result<RelayStatus> {
        self.enter().await?;
        let state = self.state();
        Ok(sample_relay(state.relay, &state.friends))
    }

    async fn set_relay(&self, set: SetRelay) -> Result<RelayStatus> {
        self.enter().await?;
        self.state().relay = set.serve;
        self.relay().await
    }

    async fn place_call(&self, place: PlaceCall) -> Result<SeatedCall> {
        self.enter().await?;
        let mut state = self.state();
        let friend = state.find(&place.friend)?;
        let mut call = state.open_call(&friend, Direction::Outgoing, CallState::Calling, place.video);
        let seat = state.seat(&call.id);
        call = state.change(&call.id, |call| {
            call.video = place.video;
            call.seat_taken = true;
        })?;
        Ok(SeatedCall { call, seat })
    }

    async fn calls(&self) -> Result<Vec<Call>> {
        self.enter().await?;
        Ok(self.state().calls.clone())
    }

    async fn call(&self, id: &str) -> Result<Call> {
        self.enter().await?;
        self.state().call(id)
    }

    async fn answer_call(&self, id: &str, answer: AnswerCall) -> Result<SeatedCall> {
        self.enter().await?;
        let mut state = self.state();
        let call = state.call(id)?;
        if call.state != CallState::Ringing || call.direction != Direction::Incoming {
            return Err(Error::new(Code::Conflict, "this call cannot be answered now"));
        }
        let now = state.now();
        let seat = state.seat(&call.id);
        let call = state.change(&call.id, |call| {
            call.state = CallState::Active;
            call.answered_ms = Some(now);
            call.video = answer.video;
            call.seat_taken = true;
        })?;
        Ok(SeatedCall { call, seat })
    }

    async fn resume_call(&self, id: &str, resume: AnswerCall) -> Result<SeatedCall> {
        self.enter().await?;
        let mut state = self.state();
        let lost = state.history.iter().find(|entry| entry.id == id && entry.resumable_until_ms.is_some());
        let Some((friend, lost)) = lost.map(|entry| (entry.friend.clone(), entry.id.clone())) else {
            return Err(Error::new(Code::Conflict, "this call cannot be resumed"));
        };
        let friend = state.find(&friend)?;
        let call = state.open_call(&friend, Direction::Outgoing, CallState::Calling, resume.video);
        let call = state.change(&call.id, |call| call.resumes = Some(lost))?;
        let seat = state.seat(&call.id);
        Ok(SeatedCall { call, seat })
    }

    async fn take_seat(&self, id: &str, take: TakeSeat) -> Result<SeatedCall> {
        self.enter().await?;
        let mut state = self.state();
        let call = state.call(id)?;
        if take.token.is_some() && take.token.as_ref() != state.seats.get(&call.id) {
            return Err(Error::new(Code::SeatTaken, "another client has taken the seat since"));
        }
        if call.state == CallState::Ended {
            return Err(Error::new(Code::Conflict, "the call is over"));
        }
        let seat = state.seat(&call.id);
        state.far_ends.remove(&call.id);
        let call = state.change(&call.id, |call| call.seat_taken = true)?;
        Ok(SeatedCall { call, seat })
    }

    async fn decline_call(&self, id: &str, decline: Decline) -> Result<()> {
        self.enter().await?;
        self.state().end(id, Outcome::Declined, decline.text)
    }

    async fn hangup(&self, id: &str) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        let outcome = if state.call(id)?.answered_ms.is_some() { Outcome::Completed } else { Outcome::Cancelled };
        state.end(id, outcome, None)
    }

    async fn update_call(&self, id: &str, update: CallUpdate) -> Result<Call> {
        self.enter().await?;
        self.state().change(id, |call| {
            call.muted = update.muted.unwrap_or(call.muted);
            call.video = update.video.unwrap_or(call.video);
            call.screen = update.screen.unwrap_or(call.screen);
            call.held = update.held.unwrap_or(call.held);
        })
    }

    async fn record_call(&self, id: &str, record: RecordCall) -> Result<Call> {
        self.enter().await?;
        self.state().change(id, |call| {
            let (state, mine) = match &record {
                RecordCall::Ask { .. } => (RecordState::Asking, true),
                RecordCall::Allow => (RecordState::Agreed, false),
                RecordCall::Started => (RecordState::Running, true),
                RecordCall::Refuse => (RecordState::Ended, false),
                RecordCall::Stop { .. } => (RecordState::Ended, true),
            };
            let file = match record {
                RecordCall::Ask { file } => file,
                _ => call.recording.take().and_then(|recording| recording.file),
            };
            call.recording = Some(Recording { state, mine, file, since_ms: None, reason: None });
        })
    }

    async fn history(&self) -> Result<Vec<HistoryEntry>> {
        self.enter().await?;
        Ok(self.state().history.clone())
    }

    async fn history_seen(&self) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        state.history.iter_mut().for_each(|entry| entry.unseen = false);
        state.emit(&Event::HistorySeen { missed: 0 });
        Ok(())
    }

    async fn clear_history(&self) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        state.history.clear();
        state.emit(&Event::HistorySeen { missed: 0 });
        Ok(())
    }

    async fn conversations(&self) -> Result<Vec<Conversation>> {
        self.enter().await?;
        Ok(self.state().conversations())
    }

    async fn messages(&self, friend: &str, page: PageRequest) -> Result<MessagePage> {
        self.enter().await?;
        let state = self.state();
        Ok(state.page(&state.find(friend)?.id, page))
    }

    async fn send_message(&self, friend: &str, send: SendMessage) -> Result<ChatMessage> {
        self.enter().await?;
        let mut state = self.state();
        let friend = state.find(friend)?;
        Ok(state.line(&friend, Direction::Outgoing, &send.text, None))
    }

    async fn mark_read(&self, friend: &str, read: MarkRead) -> Result<Conversation> {
        self.enter().await?;
        let mut state = self.state();
        let id = state.find(friend)?.id;
        Ok(state.read(&id, read.until))
    }

    async fn delete_conversation(&self, friend: &str) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        let id = state.find(friend)?.id;
        state.delete_chat(&id);
        Ok(())
    }

    async fn files(&self) -> Result<Vec<FileTransfer>> {
        self.enter().await?;
        Ok(self.state().files.clone())
    }

    async fn file(&self, id: &str) -> Result<FileTransfer> {
        self.enter().await?;
        self.state().file(id)
    }

    async fn offer_file(&self, friend: &str, offer: OfferFile) -> Result<FileTransfer> {
        self.enter().await?;
        let mut state = self.state();
        let friend = state.find(friend)?;
        let name = offer.path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(state.transfer(&friend, Direction::Outgoing, &name, 1000, Some(offer.path)))
    }

    async fn file_act(&self, id: &str, act: FileAct) -> Result<FileTransfer> {
        self.enter().await?;
        self.state().act_on_file(id, &act)
    }

    async fn forget_file(&self, id: &str) -> Result<()> {
        self.enter().await?;
        let mut state = self.state();
        let file = state.file(id)?;
        if !file.state.is_over() {
            return Err(Error::new(Code::Conflict, "the file is still on its way"));
        }
        state.files.retain(|kept| kept.id != file.id);
        state.emit(&Event::FileRemoved { id: file.id });
        Ok(())
    }

    async fn picture(&self) -> Result<Picture> {
        self.enter().await?;
        Ok(self.state().picture.clone())
    }

    async fn set_picture(&self, picture: Picture) -> Result<Identity> {
        self.enter().await?;
        let mut state = self.state();
        let hash = if picture.image_hex.is_empty() { String::new() } else { sample_id(&picture.image_hex) };
        state.picture = Picture { hash, ..picture };
        Ok(Self::who(&state))
    }

    async fn friend_picture(&self, friend: &str) -> Result<Picture> {
        self.enter().await?;
        self.state().find(friend)?;
        Ok(Picture::default())
    }

    async fn settings(&self) -> Result<Settings> {
        self.enter().await?;
        Ok(self.state().settings.clone().unwrap_or_else(sample_settings))
    }

    async fn update_settings(&self, update: SettingsUpdate) -> Result<Settings> {
        self.enter().await?;
        let mut state = self.state();
        let old = state.settings.clone().unwrap_or_else(sample_settings);
        let settings = Settings {
            read_marks: update.read_marks.unwrap_or(old.read_marks),
            download_folder: update.download_folder.unwrap_or(old.download_folder),
            auto_accept_bytes: update.auto_accept_bytes.unwrap_or(old.auto_accept_bytes),
            max_file_bytes: update.max_file_bytes.unwrap_or(old.max_file_bytes),
        };
        state.settings = Some(settings.clone());
        Ok(settings)
    }

    async fn media(&self, id: &str, seat: &SeatToken) -> Result<MediaChannel> {
        self.enter().await?;
        let mut state = self.state();
        let call = state.call(id)?;
        if state.seats.get(&call.id) != Some(seat) {
            return Err(Error::new(Code::SeatTaken, "this seat is not yours"));
        }
        if state.far_ends.get(&call.id).is_some_and(|end| !end.tx.is_closed()) {
            return Err(Error::new(Code::SeatTaken, "the media of this seat is open already"));
        }
        Ok(state.open_media(&call.id))
    }

    async fn lookup(&self, request: LookupRequest) -> Result<Lookup> {
        self.enter().await?;
        self.state().find(&request.whom)?;
        Ok(Lookup { slot: "presence".to_owned(), query: "q1".to_owned(), first_ms: 1.5, copies: 3, bad_copies: 0 })
    }

    async fn doctor(&self) -> Result<Doctor> {
        self.enter().await?;
        let check = Check { name: "memory".to_owned(), ok: true, finding: "it works".to_owned(), advice: None };
        Ok(Doctor { summary: "all is well".to_owned(), checks: vec![check], ..Doctor::default() })
    }

    async fn preflight(&self, friend: &str) -> Result<Preflight> {
        self.enter().await?;
        let friend = self.state().find(friend)?;
        Ok(sample_preflight(&friend))
    }

    async fn report(&self) -> Result<Report> {
        self.enter().await?;
        Ok(Report { text: "nothing to report".to_owned() })
    }

    async fn events(&self) -> Result<BoxStream<'static, Event>> {
        let (to_follower, events) = mpsc::channel(EVENT_QUEUE);
        let mut state = self.state();
        let hello = Event::Hello { api_version: API_VERSION, boot_id: "fake".to_owned() };
        to_follower.try_send(hello).map_err(|_| Error::new(Code::Internal, "an empty queue is full"))?;
        state.followers.push(to_follower);
        Ok(stream::unfold(events, |mut events| async move { events.recv().await.map(|event| (event, events)) }).boxed())
    }

    async fn shutdown(&self) -> Result<()> {
        let mut state = self.state();
        state.stopped = true;
        state.emit(&Event::Stopping);
        Ok(())
    }
}
