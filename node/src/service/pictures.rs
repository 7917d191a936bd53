//! Pictures of people, as clients see them.

use twocan_control::{self as api, Code, Error};

use super::Service;

impl Service {
    pub(super) fn own_picture(&self) -> api::Picture {
        api::Picture::default()
    }

    pub(super) fn set_picture(&mut self, _picture: &api::Picture) -> api::Result<api::Identity> {
        Err(Error::new(Code::Conflict, "this node does not carry pictures yet"))
    }

    pub(super) fn friend_picture(&self, whom: &str) -> api::Result<api::Picture> {
        self.resolve(whom)?;
        Ok(api::Picture::default())
    }
}
