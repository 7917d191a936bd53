//! The list of friends: order, search, one row at a time, so that ten thousand friends cost no more than those seen.

use std::sync::Arc;

use twocan_control::{Availability, Call, Friend, FriendId, FriendState, Request};

use super::{Model, Row};
use crate::design::Presence;
use crate::text;

/// The order of friends that was found last, and for what.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    revision: Option<u64>,
    search: String,
    ids: Arc<Vec<FriendId>>,
}

impl Model {
    /// Friends whose name has these words in it: in a call, with unread lines, online, offline, asked; by name within
    /// each. The order is kept until something changes.
    pub fn list(&mut self, search: &str) -> Arc<Vec<FriendId>> {
        let search = search.trim().to_lowercase();
        if self.listed.revision != Some(self.revision) || self.listed.search != search {
            let mut found: Vec<(u8, String, &FriendId)> = self
                .friends
                .values()
                .map(|friend| (self.rank(friend), friend.name.to_lowercase(), &friend.id))
                .filter(|(_, name, id)| name.contains(&search) || (search.len() >= 6 && id.starts_with(&search)))
                .collect();
            found.sort_unstable();
            let ids = Arc::new(found.into_iter().map(|(_, _, id)| id.clone()).collect());
            self.listed = Listed { revision: Some(self.revision), search, ids };
        }
        Arc::clone(&self.listed.ids)
    }

    fn rank(&self, friend: &Friend) -> u8 {
        match friend.state {
            _ if self.call_with(&friend.id).is_some() => 0,
            _ if self.chats.unread(&friend.id) > 0 => 1,
            FriendState::Accepted if friend.online => 2,
            FriendState::Accepted => 3,
            FriendState::Requested => 4,
        }
    }

    /// A friend by id.
    #[must_use]
    pub fn friend(&self, id: &str) -> Option<&Friend> {
        self.friends.get(id)
    }

    /// The row of a friend.
    #[must_use]
    pub fn row(&self, id: &str, now_ms: u64) -> Option<Row<'_>> {
        let friend = self.friends.get(id)?;
        let call = self.call_with(id);
        let unread = self.chats.unread(id);
        let last = self.chats.conversation(id).and_then(|whole| whole.last.as_ref());
        let line = match (call, last) {
            (Some(call), _) => text::call(call, now_ms),
            (None, Some(last)) if unread > 0 => text::preview(last),
            _ => text::presence(friend, now_ms),
        };
        let time = last.filter(|_| unread > 0).map(|last| text::short_time(last.kept_ms, now_ms)).unwrap_or_default();
        Some(Row { friend, line, in_call: call.is_some(), unread, time })
    }
}

/// The dot of a friend.
#[must_use]
pub fn presence(friend: &Friend) -> Presence {
    match (friend.state, friend.online, friend.availability) {
        (FriendState::Requested, ..) => Presence::Waiting,
        (_, true, Some(Availability::Dnd)) => Presence::Busy,
        (_, true, _) => Presence::Online,
        (_, false, _) => Presence::Offline,
    }
}

/// The dot of this person.
#[must_use]
pub fn own_presence(availability: Availability) -> Presence {
    match availability {
        Availability::Available => Presence::Online,
        Availability::Dnd => Presence::Busy,
        Availability::Invisible => Presence::Offline,
    }
}

/// A friend whose names can be shown.
pub(super) fn clean(mut friend: Friend) -> Friend {
    friend.name = named(&friend.name, &friend.id);
    friend.own_name = friend.own_name.map(|name| text::clean(&name)).filter(|name| !name.is_empty());
    friend
}

/// A request whose words can be shown.
pub(super) fn clean_request(mut request: Request) -> Request {
    request.name = text::clean(&request.name);
    request.message = text::clean_line(&request.message);
    request
}

/// A call whose names can be shown.
pub(super) fn clean_call(mut call: Call) -> Call {
    call.friend_name = named(&call.friend_name, &call.friend);
    call.reason = call.reason.map(|reason| text::clean_line(&reason));
    call
}

/// The name, or the beginning of the key where nothing of the name can be seen.
fn named(name: &str, id: &str) -> String {
    let name = text::clean(name);
    if name.is_empty() { id.chars().take(8).collect() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_control::Event;
    use twocan_control::testing::{sample_friend, sample_id};

    use crate::model::Update;

    #[test]
    fn the_order_is_found_once_and_search_narrows_it() {
        let mut model = Model::default();
        for name in ["Zoe", "adam", "Ådam"] {
            model.apply(Update::Event(Event::Friend { friend: sample_friend(name) }), 0);
        }
        let all = model.list("");
        assert_eq!(all.len(), 3);
        assert!(Arc::ptr_eq(&all, &model.list("  ")));
        assert_eq!(*model.list("ADAM"), [sample_id("adam")]);
        assert_eq!(*model.list(&sample_id("Zoe")[..6]), [sample_id("Zoe")]);
        assert!(model.list("nobody").is_empty());
        model.apply(Update::Event(Event::FriendRemoved { id: sample_id("Zoe") }), 0);
        assert_eq!(model.list("").len(), 2);
    }

    #[test]
    fn a_friend_whose_name_cannot_be_seen_is_shown_by_the_key() {
        let mut friend = sample_friend("x");
        friend.name = "\u{202e}\u{200b}".into();
        assert_eq!(clean(friend.clone()).name, friend.id[..8]);
    }
}
