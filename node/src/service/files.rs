//! Files between friends, as clients see them.

use twocan_control::{self as api, Code, Error};

use super::Service;

impl Service {
    pub(super) fn files(&self) -> Vec<api::FileTransfer> {
        Vec::new()
    }

    pub(super) fn file(&self, id: &str) -> api::Result<api::FileTransfer> {
        Err(Error::new(Code::NotFound, format!("no file has the id {id}")))
    }

    pub(super) fn offer_file(&mut self, whom: &str, _offer: &api::OfferFile) -> api::Result<api::FileTransfer> {
        self.resolve(whom)?;
        Err(Error::new(Code::Conflict, "this node does not carry files yet"))
    }

    pub(super) fn file_act(&mut self, id: &str, _act: &api::FileAct) -> api::Result<api::FileTransfer> {
        self.file(id)
    }

    pub(super) fn forget_file(&mut self, id: &str) -> api::Result<()> {
        self.file(id).map(drop)
    }
}
