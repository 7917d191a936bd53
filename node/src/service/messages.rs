//! Conversations with friends, as clients see them.

use twocan_control::{self as api, Code, Error};

use super::Service;

impl Service {
    pub(super) fn conversations(&self) -> Vec<api::Conversation> {
        Vec::new()
    }

    pub(super) fn messages(&self, whom: &str, _page: api::PageRequest) -> api::Result<api::MessagePage> {
        self.resolve(whom)?;
        Ok(api::MessagePage { messages: Vec::new(), more: false })
    }

    pub(super) fn send_message(&mut self, whom: &str, _send: &api::SendMessage) -> api::Result<api::ChatMessage> {
        self.resolve(whom)?;
        Err(Error::new(Code::Conflict, "this node does not carry messages yet"))
    }

    pub(super) fn mark_read(&mut self, whom: &str, _read: api::MarkRead) -> api::Result<api::Conversation> {
        self.resolve(whom)?;
        Err(Error::new(Code::Conflict, "this node does not carry messages yet"))
    }

    pub(super) fn delete_conversation(&mut self, whom: &str) -> api::Result<()> {
        self.resolve(whom).map(drop)
    }
}
