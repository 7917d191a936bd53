//! What every request must keep to, whoever serves it: lengths, and no control characters in what people read.
//!
//! The server checks before it hands a request on, so that neither the node nor a friend's screen meets more.

use crate::error::{Code, Error, Result};
use crate::limits::{
    MAX_CALL_ID, MAX_FRIEND, MAX_MESSAGE, MAX_NAME, MAX_PAGE, MAX_PASSPHRASE, MAX_PATH, MAX_SEAT, MAX_TEXT,
    MIN_BACKUP_PASSPHRASE,
};
use crate::*;

/// A request that can be examined before it is carried out.
pub trait Validate {
    /// Whether all values are within their bounds.
    ///
    /// # Errors
    /// [`Code::Invalid`] with the field that is not.
    fn validate(&self) -> Result<()>;
}

/// Whether this can name a friend: an id, a beginning of one, a name, or an address.
///
/// # Errors
/// [`Code::Invalid`]
pub fn friend(text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(Error::new(Code::Invalid, "no friend was named"));
    }
    bounded("the friend", text.len(), MAX_FRIEND, "bytes")?;
    printable("the friend", text)
}

/// Whether this can be the id of a call, or the beginning of one.
///
/// # Errors
/// [`Code::Invalid`]
pub fn call_id(text: &str) -> Result<()> {
    let digits = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if text.is_empty() || text.len() > MAX_CALL_ID || !text.bytes().all(digits) {
        return Err(Error::new(Code::Invalid, "the id of a call has lowercase hex digits only")
            .hint("`twocan calls` lists them"));
    }
    Ok(())
}

impl Validate for () {
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl Validate for Profile {
    fn validate(&self) -> Result<()> {
        name(&self.name)
    }
}

impl Validate for SetRelay {
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl Validate for Passphrase {
    fn validate(&self) -> Result<()> {
        bounded("the passphrase", self.passphrase.len(), MAX_PASSPHRASE, "bytes")
    }
}

impl Validate for BackupRequest {
    fn validate(&self) -> Result<()> {
        self.passphrase.validate()?;
        if self.passphrase.passphrase.chars().count() < MIN_BACKUP_PASSPHRASE {
            let text = format!("the passphrase of a backup has at least {MIN_BACKUP_PASSPHRASE} characters");
            return Err(Error::new(Code::Invalid, text).hint("several words are easy to keep and hard to guess"));
        }
        Ok(())
    }
}

impl Validate for AddFriend {
    fn validate(&self) -> Result<()> {
        bounded("the address", self.address.len(), MAX_FRIEND, "bytes")?;
        printable("the address", &self.address)?;
        self.name.as_deref().map_or(Ok(()), name)?;
        self.message.as_deref().map_or(Ok(()), |message| text("the message", message))
    }
}

impl Validate for FriendUpdate {
    fn validate(&self) -> Result<()> {
        self.name.as_deref().map_or(Ok(()), name)
    }
}

impl Validate for Privacy {
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl Validate for RequestAnswer {
    fn validate(&self) -> Result<()> {
        match self {
            Self::Accept { name: Some(chosen) } => name(chosen),
            Self::Accept { name: None } | Self::Decline | Self::Block => Ok(()),
        }
    }
}

impl Validate for SetAvailability {
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl Validate for PlaceCall {
    fn validate(&self) -> Result<()> {
        friend(&self.friend)
    }
}

impl Validate for AnswerCall {
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl Validate for TakeSeat {
    fn validate(&self) -> Result<()> {
        self.token.as_ref().map_or(Ok(()), Validate::validate)
    }
}

impl Validate for SeatToken {
    fn validate(&self) -> Result<()> {
        if self.0.is_empty() || self.0.len() > MAX_SEAT || !self.0.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(Error::new(Code::SeatTaken, "this is no seat token")
                .hint("placing or answering a call gives one, taking the seat a new one"));
        }
        Ok(())
    }
}

impl Validate for Decline {
    fn validate(&self) -> Result<()> {
        self.text.as_deref().map_or(Ok(()), |line| text("the text", line))
    }
}

impl Validate for CallUpdate {
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl Validate for SendMessage {
    fn validate(&self) -> Result<()> {
        bounded("a message", self.text.len(), MAX_MESSAGE, "bytes")?;
        if self.text.trim().is_empty() {
            return Err(Error::new(Code::Invalid, "the message is empty"));
        }
        Ok(())
    }
}

impl Validate for MarkRead {
    fn validate(&self) -> Result<()> {
        Ok(())
    }
}

impl Validate for PageRequest {
    fn validate(&self) -> Result<()> {
        match self.limit {
            Some(limit) if !(1..=MAX_PAGE).contains(&limit) => {
                Err(Error::new(Code::Invalid, format!("limit is 1 to {MAX_PAGE}")))
            }
            _ => Ok(()),
        }
    }
}

impl Validate for OfferFile {
    fn validate(&self) -> Result<()> {
        absolute("the file", &self.path)
    }
}

impl Validate for AcceptFile {
    fn validate(&self) -> Result<()> {
        self.folder.as_deref().map_or(Ok(()), |folder| absolute("the folder", folder))
    }
}

impl Validate for Picture {
    fn validate(&self) -> Result<()> {
        self.bytes().map(drop)
    }
}

impl Validate for SettingsUpdate {
    fn validate(&self) -> Result<()> {
        match self.download_folder.as_deref() {
            None | Some("") => Ok(()),
            Some(folder) => absolute("the folder", folder),
        }
    }
}

impl Validate for LookupRequest {
    fn validate(&self) -> Result<()> {
        friend(&self.whom)
    }
}

/// The path of something on this machine: the node's current folder is not the client's.
fn absolute(what: &str, path: &str) -> Result<()> {
    bounded(what, path.len(), MAX_PATH, "bytes")?;
    if path.contains('\0') || !std::path::Path::new(path).is_absolute() {
        return Err(Error::new(Code::Invalid, format!("{what} needs an absolute path")));
    }
    Ok(())
}

/// Names are single lines; "." and ".." could not stand in a path.
fn name(name: &str) -> Result<()> {
    bounded("a name", name.chars().count(), MAX_NAME, "characters")?;
    printable("a name", name)?;
    if matches!(name, "." | "..") || (!name.is_empty() && name.trim().is_empty()) {
        return Err(Error::new(Code::Invalid, "a name needs at least one letter or digit"));
    }
    Ok(())
}

/// One line of at most so many characters.
pub(crate) fn line(what: &str, text: &str, most: usize) -> Result<()> {
    bounded(what, text.chars().count(), most, "characters")?;
    printable(what, text)
}

fn text(what: &str, text: &str) -> Result<()> {
    bounded(what, text.chars().count(), MAX_TEXT, "characters")?;
    printable(what, text)
}

fn bounded(what: &str, length: usize, most: usize, unit: &str) -> Result<()> {
    if length <= most { Ok(()) } else { Err(Error::new(Code::Invalid, format!("{what} has more than {most} {unit}"))) }
}

fn printable(what: &str, text: &str) -> Result<()> {
    if text.chars().any(char::is_control) {
        return Err(Error::new(Code::Invalid, format!("{what} has a control character or a line break in it")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_line_of_bounded_length() {
        assert!(name("Bob Ö. 👋").is_ok());
        assert!(name(&"ö".repeat(MAX_NAME)).is_ok());
        assert!(name(&"ö".repeat(MAX_NAME + 1)).is_err());
        assert!(name("a\nb").is_err());
        assert!(name("\u{1b}[2J").is_err());
        assert!(name("..").is_err());
        assert!(name("  ").is_err());
    }

    #[test]
    fn ids_and_tokens_have_only_their_own_characters() {
        assert!(call_id("00ff").is_ok());
        for bad in ["", "00FF", "../x", &"0".repeat(MAX_CALL_ID + 1)] {
            assert_eq!(call_id(bad).unwrap_err().code, Code::Invalid, "{bad}");
        }
        assert_eq!(SeatToken("a b".to_owned()).validate().unwrap_err().code, Code::SeatTaken);
        assert!(SeatToken("0a".repeat(32)).validate().is_ok());
    }

    #[test]
    fn a_backup_wants_a_real_passphrase() {
        let request = |text: &str| BackupRequest { passphrase: Passphrase { passphrase: text.to_owned() } };
        assert_eq!(request("short").validate().unwrap_err().code, Code::Invalid);
        assert!(request("long enough").validate().is_ok());
        assert!(request(&"x".repeat(MAX_PASSPHRASE + 1)).validate().is_err());
    }
}
