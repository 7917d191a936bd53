//! Friends and those who want to be: the [`Book`]. It owns who is a friend, who asked and who is blocked, keeps trying
//! to deliver own requests and to link to friends, hands out the right to find this node, and decides what a stranger
//! is told. The words for it are in `specs/03-contact.md` and `specs/04-link.md`.
//!
//! The caller's law: feed every [`Input`] with the time, carry out all [`Output`]s in order (storing before sending,
//! as they come), and call [`Book::handle_timeout`] when [`Book::poll_timeout`] is due. Records are stored as they are
//! given and handed back to [`Book::new`] at the next start.

mod book;
mod network;
mod person;
mod record;
mod requests;

pub use book::{Book, FriendView, SlotPlan};
pub use network::{ASK_LONGEST, RECLAIM_EVERY, RECLAIM_FIRST, SEARCH_IN_CALL, SEARCH_LIMIT, SEARCH_LONGEST};
pub use record::{Asking, BookRecord, Decline, FriendRecord, FriendState, RequestRecord};
pub use requests::{DECLINE_REST, MAX_DECLINES, MAX_REQUESTS, REQUEST_BURST, REQUEST_LIFE, REQUEST_REFILL};

use crate::address::Address;
use crate::identity::RootPublic;
use crate::rendezvous::Grant;
use crate::wire::{Availability, Message, Name, Note, Reply, Request, RequestId};

/// Most friends, requested ones included. Each costs a few hundred bytes, a pair slot while it has no grant, and a
/// search now and then while it is away.
pub const MAX_FRIENDS: usize = 1000;

/// Most people who are blocked.
pub const MAX_BLOCKED: usize = 4096;

/// What can happen to a book.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The person adds somebody by address.
    Add {
        /// Whom.
        address: Address,
        /// A name to show here.
        name: Option<Name>,
        /// A line about oneself.
        message: Note,
        /// A random number that names this act of asking.
        id: RequestId,
    },
    /// The person accepts a request.
    Accept {
        /// Whose.
        root: RootPublic,
        /// A name to show here.
        name: Option<Name>,
    },
    /// The person says no to a request.
    Decline(RootPublic),
    /// The person never wants to hear of somebody again: an asker, a friend or anybody else.
    Block(RootPublic),
    /// The person takes a block back.
    Unblock(RootPublic),
    /// The person names a friend; an empty name means the friend's own.
    Rename(RootPublic, Name),
    /// The person compared the safety words (or takes that back).
    Verify(RootPublic, bool),
    /// The person ends a friendship, or withdraws a request.
    Remove(RootPublic),
    /// The person's own name.
    Profile(Name),
    /// The person's own availability.
    Availability(Availability),
    /// The own presence key is new; this is what friends get. Answers [`Output::RotateGrant`], and is given once at
    /// every start with the stored key. The first start makes a key whose generation is the clock (Unix ms).
    OwnGrant(Grant),
    /// The link to a friend is up.
    LinkUp(RootPublic),
    /// The link to a friend is down.
    LinkDown(RootPublic),
    /// A friend's node said this over the link. Messages about calls are not for the book and are ignored.
    Received(RootPublic, Message),
    /// Somebody asks over a contact stream. One of the outputs is the [`Output::Reply`].
    Request(RootPublic, Request),
    /// What came of an [`Output::Ask`].
    Asked(RootPublic, Asked),
    /// A search ended without a link.
    SearchFailed(RootPublic),
    /// The network is another one or the machine woke up: what failed may work now.
    NetworkChanged,
    /// A call wants the link to this friend now.
    Urge(RootPublic),
    /// The person hides the own addresses from a friend (`None`: from everybody of whom nothing else is said), or shows
    /// them again.
    Hide {
        /// From whom.
        friend: Option<RootPublic>,
        /// Whether they are hidden from now on.
        hidden: bool,
    },
    /// Whether a call with this friend goes on, or waits to: until it ends, pauses between searches are short.
    Wanted(RootPublic, bool),
}

/// What came of asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The other node answered.
    Reply(Reply),
    /// Nobody was found under the address, or nobody there answered.
    NotReached,
}

/// What the driver is to do, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Keep this friend (again).
    StoreFriend(FriendRecord),
    /// Forget this friend.
    ForgetFriend(RootPublic),
    /// Keep this request (again).
    StoreRequest(RequestRecord),
    /// Forget this request.
    ForgetRequest(RootPublic),
    /// Keep this about the book as a whole.
    StoreBook(BookRecord),
    /// Deliver over the link (`link::Input::Send`).
    Send(RootPublic, Message),
    /// Answer the contact stream that asked, then close it.
    Reply(RootPublic, Reply),
    /// Find this friend and link: last addresses, LAN, presence slot, pair slot. Ends with a link or
    /// [`Input::SearchFailed`].
    Search(RootPublic),
    /// Find whoever has this address through the contact slot and deliver the request; ends with [`Input::Asked`].
    Ask(Address, Request),
    /// [`Book::slots`] is another one than before.
    PlanChanged,
    /// Close the link to this node after what was sent (`link::Input::Close`), forget its session and its addresses.
    DropLink(RootPublic),
    /// Close the link to this friend and search anew: it has to take another way from now on.
    Relink(RootPublic),
    /// Make a new contact token: somebody who knows the old one is not wanted any more.
    RotateToken,
    /// Make a new presence key with this generation, store it, and give [`Input::OwnGrant`].
    RotateGrant(u64),
    /// Tell the clients.
    Event(Event),
    /// An act of the person was refused.
    Refused(RootPublic, Refusal),
}

/// What clients are told.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Something about a friend changed: see [`Book::friend`].
    Friend(RootPublic),
    /// No friend any more.
    FriendRemoved(RootPublic),
    /// Somebody asks.
    Request(RequestRecord),
    /// A request is not waiting any more.
    RequestGone(RootPublic),
    /// The own availability changed.
    Availability(Availability),
}

/// Why an act of the person was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The own address.
    #[error("this is your own address")]
    Own,
    /// Friends already.
    #[error("you are friends already")]
    AlreadyFriends,
    /// Blocked here.
    #[error("you have blocked this person: unblock first")]
    Blocked,
    /// Not a friend.
    #[error("there is no such friend")]
    NoFriend,
    /// No request from there.
    #[error("there is no request from this person")]
    NoRequest,
    /// Not blocked.
    #[error("this person is not blocked")]
    NotBlocked,
    /// A bound is reached.
    #[error("no more than {0} are kept: remove one first")]
    TooMany(usize),
}

#[cfg(test)]
mod tests;
