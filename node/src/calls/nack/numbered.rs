//! Repairs count in the bandwidth estimate: the crate numbers only the streams that media goes out on, so that packets
//! sent again would be bytes on the wire that nobody sees.

use std::time::Instant;

use rtc::interceptor::{Interceptor, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;

/// An interceptor that also gets to know the streams of repairs.
pub(in crate::calls) struct Numbered<I>(pub(in crate::calls) I);

fn repairs(info: &StreamInfo) -> Option<StreamInfo> {
    Some(StreamInfo { ssrc: info.ssrc_rtx?, ssrc_rtx: None, payload_type: info.payload_type_rtx?, ..info.clone() })
}

impl<I: Interceptor> Protocol<TaggedPacket, TaggedPacket, ()> for Numbered<I> {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = rtc::shared::error::Error;
    type Time = Instant;

    fn handle_read(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.0.handle_read(message)
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.0.poll_read()
    }

    fn handle_write(&mut self, message: TaggedPacket) -> Result<(), Self::Error> {
        self.0.handle_write(message)
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.0.poll_write()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Self::Error> {
        self.0.handle_timeout(now)
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.0.poll_timeout()
    }
}

impl<I: Interceptor> Interceptor for Numbered<I> {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        self.0.bind_local_stream(info);
        if let Some(repairs) = repairs(info) {
            self.0.bind_local_stream(&repairs);
        }
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.0.unbind_local_stream(info);
        if let Some(repairs) = repairs(info) {
            self.0.unbind_local_stream(&repairs);
        }
    }

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        self.0.bind_remote_stream(info);
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.0.unbind_remote_stream(info);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rtc::interceptor::NoopInterceptor;

    #[test]
    fn a_stream_of_repairs_is_known_where_there_is_one() {
        let info = StreamInfo { ssrc: 1, ssrc_rtx: Some(2), payload_type_rtx: Some(103), ..Default::default() };
        let known = repairs(&info).unwrap();
        assert_eq!((known.ssrc, known.payload_type, known.ssrc_rtx), (2, 103, None));
        assert!(repairs(&StreamInfo { ssrc: 1, ..Default::default() }).is_none());
        let mut both = Numbered(NoopInterceptor::new());
        both.bind_local_stream(&info);
        assert!(both.poll_timeout().is_none());
    }
}
