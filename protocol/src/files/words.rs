//! What the two sides say to each other about files, and what follows from what the other says.

use std::time::Instant;

use super::{Output, Stage, TransferRecord, Transfers};
use crate::identity::RootPublic;
use crate::wire::{FileAnswer, FileEnd, FileOffer, FileWord, FilesMessage, List, MAX_FILES, Reason};

impl Transfers {
    fn tell(&mut self, friend: RootPublic, offers: Vec<FileOffer>, answers: Vec<FileAnswer>, ends: Vec<FileEnd>) {
        let message = FilesMessage {
            offers: List::first_of(offers),
            answers: List::first_of(answers),
            ends: List::first_of(ends),
        };
        if self.is_up(&friend) && !message.is_empty() {
            self.out.push(Output::Send(friend, message));
        }
    }

    /// Says how one transfer stands.
    pub(super) fn say(&mut self, id: crate::wire::Id) {
        let Some(record) = self.get(&id).cloned() else { return };
        match (record.mine, record.stage) {
            (true, Stage::Preparing) => {}
            (true, stage) if stage.is_over() => self.tell(record.friend, vec![], vec![], vec![record.end()]),
            (true, _) => self.tell(record.friend, vec![record.offer()], vec![], vec![]),
            (false, _) => self.tell(record.friend, vec![], vec![record.answer()], vec![]),
        }
    }

    /// Says how all stand that are not over.
    pub(super) fn say_all(&mut self, friend: RootPublic) {
        let open = self.iter().filter(|record| record.friend == friend && !record.stage.is_over());
        let (mine, theirs): (Vec<&TransferRecord>, Vec<&TransferRecord>) =
            open.filter(|record| record.stage != Stage::Preparing).partition(|record| record.mine);
        let offers = mine.into_iter().map(TransferRecord::offer).collect();
        let answers = theirs.into_iter().map(TransferRecord::answer).collect();
        self.tell(friend, offers, answers, vec![]);
    }

    pub(super) fn received(&mut self, now: Instant, unix_ms: u64, friend: RootPublic, message: &FilesMessage) {
        let mut answers = Vec::new();
        for offer in message.offers.as_slice() {
            answers.push(self.offered(now, unix_ms, friend, offer));
        }
        let ends = message.answers.as_slice().iter().filter_map(|answer| self.answered(unix_ms, friend, answer));
        let ends = ends.collect();
        for end in message.ends.as_slice() {
            self.ended(unix_ms, friend, end);
        }
        self.tell(friend, vec![], answers, ends);
    }

    /// A friend offers a file, or says again that it does.
    fn offered(&mut self, now: Instant, unix_ms: u64, friend: RootPublic, offer: &FileOffer) -> FileAnswer {
        let no = |reason: &str| FileAnswer {
            id: offer.id,
            word: FileWord::Declined,
            done: 0,
            reason: Reason::clean(reason),
        };
        if let Some(record) = self.get(&offer.id).cloned() {
            let same = !record.mine && record.friend == friend;
            if !same || record.size != offer.size || record.hash != offer.hash {
                return no("this name belongs to another file");
            }
            if !record.stage.is_over() && record.paused_there != offer.paused {
                if offer.paused {
                    self.stop(offer.id);
                }
                self.change(offer.id, |record| record.paused_there = offer.paused);
            }
            return record.answer();
        }
        if offer.size > self.most {
            return no(&format!("files of more than {} are not taken there", size(self.most)));
        }
        if self.open(&friend, false) >= MAX_FILES || self.offers_too_fast(friend, now) {
            return no("too many files are open there");
        }
        let mut record = TransferRecord::offered_there(friend, offer, unix_ms);
        if offer.size <= self.auto {
            (record.stage, record.path) = (Stage::Accepted, self.folder.clone());
        }
        let answer = record.answer();
        self.add(record);
        answer
    }

    /// A friend says how a file of ours stands; the answer is an end, if it is over here.
    fn answered(&mut self, unix_ms: u64, friend: RootPublic, answer: &FileAnswer) -> Option<FileEnd> {
        let over_there = !matches!(answer.word, FileWord::Offered | FileWord::Accepted | FileWord::Paused);
        let record = self.get(&answer.id).filter(|record| record.mine && record.friend == friend).cloned();
        let Some(record) = record else {
            let reason = Reason::clean("your friend's node does not know the file any more");
            return (!over_there).then_some(FileEnd { id: answer.id, cancelled: false, reason });
        };
        if record.stage.is_over() {
            return (!over_there).then(|| record.end());
        }
        let (id, done) = (answer.id, answer.done.min(record.size));
        let reason = answer.reason.as_str();
        match answer.word {
            FileWord::Offered => {}
            FileWord::Accepted | FileWord::Paused => {
                let paused = answer.word == FileWord::Paused;
                let news = record.stage != Stage::Accepted || record.paused_there != paused || record.done != done;
                if news {
                    self.change(id, |record| {
                        record.stage = Stage::Accepted;
                        record.paused_there = paused;
                        record.done = done;
                    });
                }
            }
            FileWord::Done => {
                self.change(id, |record| record.done = record.size);
                self.over_there(unix_ms, id, Stage::Done, "");
            }
            FileWord::Declined => self.over_there(unix_ms, id, Stage::Declined, reason),
            FileWord::Cancelled => self.over_there(unix_ms, id, Stage::Cancelled, "your friend gave it up"),
            FileWord::Failed | FileWord::Other => {
                let reason = if reason.is_empty() { "it went wrong at your friend's node" } else { reason };
                self.over_there(unix_ms, id, Stage::Failed, reason);
            }
        }
        None
    }

    /// A friend offers a file no more.
    fn ended(&mut self, unix_ms: u64, friend: RootPublic, end: &FileEnd) {
        let open = |record: &&TransferRecord| !record.mine && record.friend == friend && !record.stage.is_over();
        if self.get(&end.id).filter(open).is_none() {
            return;
        }
        let (stage, reason) = if end.cancelled {
            (Stage::Cancelled, "your friend gave it up")
        } else if end.reason.is_empty() {
            (Stage::Failed, "it went wrong at your friend's node")
        } else {
            (Stage::Failed, end.reason.as_str())
        };
        self.over_there(unix_ms, end.id, stage, reason);
        if let Some(record) = self.get(&end.id).cloned() {
            self.out.push(Output::RemovePart(record));
        }
    }

    /// It is over by the friend's word: nothing is to be said.
    fn over_there(&mut self, unix_ms: u64, id: crate::wire::Id, stage: Stage, reason: &str) {
        self.stop(id);
        self.change(id, |record| {
            record.stage = stage;
            record.ended_ms = Some(unix_ms);
            record.reason = (!reason.is_empty()).then(|| reason.to_owned());
        });
    }
}

/// A size for people.
fn size(bytes: u64) -> String {
    match bytes {
        0..=9_999 => format!("{bytes} bytes"),
        10_000..=9_999_999 => format!("{} kB", bytes / 1000),
        10_000_000..=9_999_999_999 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
