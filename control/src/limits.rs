//! The bounds of the local API, each with its reason. Server and client keep the same ones.

use std::time::Duration;

/// Largest request body in bytes: the largest request is a contact request of under 2 kB; the rest is room to grow.
pub const MAX_BODY: usize = 256 * 1024;
/// Largest answer that a client takes, in bytes: a backup of 1000 friends in hexadecimal has room.
pub const MAX_ANSWER: usize = 16 * 1024 * 1024;
/// Longest line of the event stream in bytes. A call with all its fields has under 3 kB.
pub const MAX_EVENT_LINE: usize = 256 * 1024;
/// Largest text message of the media socket in bytes. The largest one lists 16 streams in about 2 kB.
pub const MAX_MEDIA_TEXT: usize = 16 * 1024;
/// Messages that wait in a media channel, each way: about half a second of audio and video together.
pub const MEDIA_QUEUE: usize = 64;
/// Longest name or id of a friend in a path, in bytes after decoding: an address URI with three hints has room.
pub const MAX_FRIEND: usize = 1024;
/// Longest id of a call in a path, in characters.
pub const MAX_CALL_ID: usize = 64;
/// Longest seat token in characters.
pub const MAX_SEAT: usize = 128;
/// Longest name of a person in characters.
pub const MAX_NAME: usize = 64;
/// Longest line of text for somebody else (request, decline) in characters.
pub const MAX_TEXT: usize = 280;
/// Longest message in bytes of UTF-8: some pages of text; it fits into one frame of a link.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// Lines of a conversation in one answer, at most: with the longest messages, escaped, still far below [`MAX_ANSWER`].
pub const MAX_PAGE: u32 = 100;
/// Lines of a conversation in one answer where the client does not say how many.
pub const PAGE: u32 = 50;
/// Largest picture of a person in bytes: a JPEG of 256 × 256 in good quality has half of it.
pub const MAX_PICTURE: usize = 32 * 1024;
/// Longest path of a file in bytes (PATH_MAX of Linux).
pub const MAX_PATH: usize = 4096;
/// Longest passphrase in bytes.
pub const MAX_PASSPHRASE: usize = 1024;
/// Shortest passphrase of a backup in characters.
pub const MIN_BACKUP_PASSPHRASE: usize = 8;

/// Time that the node has for an ordinary operation.
pub const QUICK: Duration = Duration::from_secs(10);
/// Time for what hashes a passphrase or searches the network.
pub const SLOW: Duration = Duration::from_secs(60);
/// What a client waits beyond the node's time, so that the node's own error arrives.
pub const MARGIN: Duration = Duration::from_secs(2);
/// How long the node keeps a connection without a request. Clients let go of theirs after half of it.
pub const IDLE: Duration = Duration::from_secs(30);
