//! Pictures of people: the own one is told to friends by its hash, theirs are fetched once over the link
//! (`specs/04-link.md`, "Pictures of people"). The node looks at size and first bytes; it decodes none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use twocan_control::{self as api, Event};
use twocan_protocol::identity::RootPublic;
use twocan_protocol::link;
use twocan_protocol::wire::{Blob, MAX_PICTURE, Message, PICTURE_PART, PictureHash, PortraitMessage};

use super::Service;

/// A friend's new picture is fetched at most this often; whoever changes it faster is asked at the next link.
const FETCH_EVERY: Duration = Duration::from_secs(20);
/// Parts that a friend is given within [`SERVE_WINDOW`]: two whole pictures.
const SERVE_PARTS: u32 = 8;
/// See [`SERVE_PARTS`].
const SERVE_WINDOW: Duration = Duration::from_secs(20);

/// A picture as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PictureRecord {
    #[serde(with = "serde_bytes")]
    pub(super) bytes: Vec<u8>,
}

impl PictureRecord {
    fn hash(&self) -> Option<PictureHash> {
        (!self.bytes.is_empty()).then(|| hash_of(&self.bytes))
    }

    fn view(&self) -> api::Picture {
        let hash = self.hash().map(|hash| hex(&hash)).unwrap_or_default();
        // What is kept was checked before.
        api::Picture { hash, ..api::Picture::of(&self.bytes).unwrap_or_default() }
    }
}

/// A picture that is being fetched.
struct Fetch {
    hash: PictureHash,
    bytes: Vec<u8>,
}

/// What is known of one friend.
#[derive(Default)]
struct Theirs {
    hash: Option<PictureHash>,
    fetch: Option<Fetch>,
    fetched: Option<Instant>,
    /// When the window began in which parts are counted, and how many were given in it.
    served: Option<(Instant, u32)>,
}

/// All pictures; those of friends lie in the store.
#[derive(Default)]
pub(super) struct Pictures {
    own: PictureRecord,
    theirs: BTreeMap<RootPublic, Theirs>,
}

impl Pictures {
    pub(super) fn new(own: PictureRecord, kept: Vec<(Vec<u8>, PictureRecord)>) -> Self {
        let theirs = kept.into_iter().filter_map(|(key, record)| {
            let root = RootPublic::from_bytes(key.as_slice().try_into().ok()?).ok()?;
            Some((root, Theirs { hash: record.hash(), ..Theirs::default() }))
        });
        Self { own, theirs: theirs.collect() }
    }

    /// Hash of the own picture.
    pub(super) fn own_hash(&self) -> Option<String> {
        self.own.hash().map(|hash| hex(&hash))
    }

    /// Hash of a friend's picture that is here.
    pub(super) fn hash_of(&self, root: &RootPublic) -> Option<String> {
        self.theirs.get(root).and_then(|theirs| theirs.hash).map(|hash| hex(&hash))
    }

    pub(super) fn link_down(&mut self, root: &RootPublic) {
        if let Some(theirs) = self.theirs.get_mut(root) {
            theirs.fetch = None;
        }
    }

    /// Whether a friend may have one more part of the own picture.
    fn may_serve(&mut self, root: RootPublic, now: Instant) -> bool {
        let served = &mut self.theirs.entry(root).or_default().served;
        let (began, count) = served.filter(|(began, _)| now.duration_since(*began) < SERVE_WINDOW).unwrap_or((now, 0));
        *served = Some((began, count.saturating_add(1)));
        count < SERVE_PARTS
    }

    /// A friend has this picture: the first question about it, if it is to be fetched.
    fn told(&mut self, root: RootPublic, hash: PictureHash, now: Instant) -> Option<PortraitMessage> {
        let theirs = self.theirs.entry(root).or_default();
        let known = theirs.hash == Some(hash) || theirs.fetch.as_ref().is_some_and(|fetch| fetch.hash == hash);
        if known || theirs.fetched.is_some_and(|at| now.duration_since(at) < FETCH_EVERY) {
            return None;
        }
        theirs.fetched = Some(now);
        theirs.fetch = Some(Fetch { hash, bytes: Vec::new() });
        Some(PortraitMessage::Ask { hash, offset: 0 })
    }

    /// A part came: the next question, or the whole picture.
    fn part(&mut self, root: &RootPublic, hash: PictureHash, offset: u32, size: u32, bytes: &[u8]) -> Part {
        let Some(theirs) = self.theirs.get_mut(root) else { return Part::None };
        let Some(mut fetch) = theirs.fetch.take().filter(|fetch| fetch.hash == hash) else { return Part::None };
        let (size, at) = (usize::try_from(size).unwrap_or(usize::MAX), usize::try_from(offset).unwrap_or(usize::MAX));
        let fits = at == fetch.bytes.len() && !bytes.is_empty() && size <= MAX_PICTURE && at + bytes.len() <= size;
        if !fits {
            return Part::None;
        }
        fetch.bytes.extend_from_slice(bytes);
        if fetch.bytes.len() < size {
            let offset = u32::try_from(fetch.bytes.len()).unwrap_or(u32::MAX);
            theirs.fetch = Some(fetch);
            return Part::Next(PortraitMessage::Ask { hash, offset });
        }
        if hash_of(&fetch.bytes) != hash || api::picture::check(&fetch.bytes).is_err() {
            return Part::None;
        }
        theirs.hash = Some(hash);
        Part::Whole(PictureRecord { bytes: fetch.bytes })
    }
}

/// What a part leads to.
enum Part {
    /// It does not fit: the picture is left where it is.
    None,
    /// Ask for the next one.
    Next(PortraitMessage),
    /// All of it is here, and it is the one that was told.
    Whole(PictureRecord),
}

impl Service {
    fn say_portrait(&mut self, root: RootPublic, message: PortraitMessage) {
        if self.sessions.contains_key(&root) {
            self.session_input(root, link::Input::SendNow(Message::Portrait(message)));
        }
    }

    /// Tells a friend which picture is the own one at present.
    pub(super) fn tell_portrait(&mut self, root: RootPublic) {
        let hash = self.pictures.own.hash();
        self.say_portrait(root, PortraitMessage::Tell(hash));
    }

    pub(super) fn portrait(&mut self, root: RootPublic, message: PortraitMessage) {
        let now = Instant::now();
        match message {
            PortraitMessage::Tell(None) => {
                let had = self.pictures.theirs.get_mut(&root).is_some_and(|theirs| theirs.hash.take().is_some());
                if had {
                    self.records.set_friend_picture(&root, None);
                    self.portrait_changed(&root);
                }
            }
            PortraitMessage::Tell(Some(hash)) => {
                if let Some(ask) = self.pictures.told(root, hash, now) {
                    self.say_portrait(root, ask);
                }
            }
            PortraitMessage::Ask { hash, offset } => {
                let own = &self.pictures.own;
                let Some(rest) = usize::try_from(offset).ok().and_then(|at| own.bytes.get(at..)) else { return };
                if own.hash() != Some(hash) || rest.is_empty() {
                    return;
                }
                let size = u32::try_from(own.bytes.len()).unwrap_or(u32::MAX);
                let bytes = Blob::new(rest[..rest.len().min(PICTURE_PART)].to_vec()).unwrap_or_default();
                if self.pictures.may_serve(root, now) {
                    self.say_portrait(root, PortraitMessage::Part { hash, offset, size, bytes });
                }
            }
            PortraitMessage::Part { hash, offset, size, bytes } => {
                match self.pictures.part(&root, hash, offset, size, bytes.as_bytes()) {
                    Part::None => {}
                    Part::Next(ask) => self.say_portrait(root, ask),
                    Part::Whole(record) => {
                        self.records.set_friend_picture(&root, Some(&record));
                        self.portrait_changed(&root);
                    }
                }
            }
        }
    }

    fn portrait_changed(&self, root: &RootPublic) {
        if let Some(friend) = self.friend_view(root) {
            self.emitter.emit(Event::Friend { friend });
        }
    }

    pub(super) fn forget_portrait(&mut self, root: &RootPublic) {
        if self.pictures.theirs.remove(root).is_some() {
            self.records.set_friend_picture(root, None);
        }
    }

    // What clients ask.

    pub(super) fn own_picture(&self) -> api::Picture {
        self.pictures.own.view()
    }

    pub(super) fn set_picture(&mut self, picture: &api::Picture) -> api::Result<api::Identity> {
        let record = PictureRecord { bytes: picture.bytes()? };
        if record != self.pictures.own {
            self.pictures.own = record;
            let change = self.records.picture(&self.pictures.own);
            self.records.now(change.into_iter().collect());
            let friends: Vec<RootPublic> = self.sessions.keys().copied().collect();
            friends.into_iter().for_each(|root| self.tell_portrait(root));
        }
        Ok(self.identity())
    }

    pub(super) fn friend_picture(&self, whom: &str) -> api::Result<api::Picture> {
        let root = self.resolve(whom)?;
        // While the record is on its way to the disk, there is no picture yet.
        Ok(self.records.friend_picture(&root).unwrap_or_default().view())
    }
}

fn hash_of(bytes: &[u8]) -> PictureHash {
    Sha256::digest(bytes).into()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use twocan_protocol::identity::RootKey;

    use super::*;

    fn png(size: usize) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
        bytes.resize(size, 7);
        bytes
    }

    fn fetch(pictures: &mut Pictures, root: RootPublic, bytes: &[u8], size: u32) -> Option<PictureRecord> {
        let hash = hash_of(bytes);
        let mut ask = pictures.told(root, hash, Instant::now());
        for _ in 0..100 {
            let Some(PortraitMessage::Ask { hash, offset }) = ask else { return None };
            let rest = &bytes[usize::try_from(offset).unwrap()..];
            match pictures.part(&root, hash, offset, size, &rest[..rest.len().min(PICTURE_PART)]) {
                Part::None => return None,
                Part::Next(next) => ask = Some(next),
                Part::Whole(record) => return Some(record),
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn a_picture_is_fetched_in_parts_and_only_the_one_that_was_told() {
        let roots = [1, 2, 3, 4, 5].map(|n| RootKey::from_secret(&[n; 32]).public());
        let mut pictures = Pictures::default();
        let whole = png(20_000);
        assert_eq!(fetch(&mut pictures, roots[0], &whole, 20_000).unwrap().bytes, whole);
        assert_eq!(pictures.hash_of(&roots[0]), Some(hex(&hash_of(&whole))));
        assert!(pictures.told(roots[0], hash_of(&whole), Instant::now()).is_none(), "it is here");
        assert!(pictures.told(roots[0], [1; 32], Instant::now()).is_none(), "too soon");
        assert!(fetch(&mut pictures, roots[1], &png(MAX_PICTURE + 1), 32_769).is_none(), "too large");
        assert!(fetch(&mut pictures, roots[2], &[0; 500], 500).is_none(), "no picture");
        assert!(fetch(&mut pictures, roots[3], &whole, 19_999).is_none(), "more than was said");
        // Other bytes than the hash says.
        let Some(PortraitMessage::Ask { .. }) = pictures.told(roots[4], [9; 32], Instant::now()) else { panic!() };
        assert!(matches!(pictures.part(&roots[4], [9; 32], 0, 100, &png(100)), Part::None));
        assert_eq!(pictures.hash_of(&roots[4]), None);
    }

    #[test]
    fn a_friend_gets_no_more_than_a_few_parts_in_a_while() {
        let root = RootKey::from_secret(&[1; 32]).public();
        let (mut pictures, now) = (Pictures::default(), Instant::now());
        let given = (0..100).filter(|_| pictures.may_serve(root, now)).count();
        assert_eq!(given, 8);
        assert!(pictures.may_serve(root, now + SERVE_WINDOW));
    }
}
