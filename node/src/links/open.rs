//! Opening: the gate tag and the handshake, from both sides, each with a deadline.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::{sync::Semaphore, time::timeout};
use twocan_protocol::{
    gate::Key,
    handshake::{Channel, Established, Initiator, Local, Purpose, Responder},
    identity::{DevicePublic, RootPublic},
    limits::HANDSHAKE_MESSAGE_MAX,
};

use super::{
    Admission, Deadlines, Ends, GateTable, Identity, Limiter, LinkError, Opened,
    limiter::source_of,
    pump,
    wire::{self, ReadError},
};

/// Wrong tags per connection: five, then one in ten seconds. An honest node never sends one twice.
const PER_CONNECTION: (u32, Duration) = (5, Duration::from_secs(10));

/// Wrong tags and contact streams per source address: thirty, then one in two seconds. Several honest nodes may share
/// one address.
const PER_SOURCE: (u32, Duration) = (30, Duration::from_secs(2));

/// Connections and sources remembered by the limits: 1024 names of at most 64 bytes.
const REMEMBERED: usize = 1024;

/// Inbound streams between their opening and the end of the handshake; what comes beyond is closed unread.
const PENDING_MAX: usize = 128;

/// Handshake messages are at least an ephemeral key or a tag long.
const HANDSHAKE_MESSAGE_MIN: usize = 16;

/// Whom to open a stream to.
#[derive(Clone, Debug)]
pub struct Target {
    /// Link or contact.
    pub purpose: Purpose,
    /// Who has to be there.
    pub root: RootPublic,
    /// With which device key, from the certificate in the slot or of the last link.
    pub device: DevicePublic,
    /// What the gate tag is made with.
    pub gate: Key,
}

/// Lets inbound streams in, or not.
pub struct Acceptor {
    identity: Arc<Identity>,
    pending: Arc<Semaphore>,
    limits: Mutex<Limits>,
    pub(super) deadlines: Deadlines,
}

struct Limits {
    connections: Limiter,
    sources: Limiter,
}

impl Acceptor {
    /// One per node; the limits live here.
    pub fn new(identity: Arc<Identity>) -> Self {
        let limits = Limits {
            connections: Limiter::new(PER_CONNECTION.0, PER_CONNECTION.1, REMEMBERED),
            sources: Limiter::new(PER_SOURCE.0, PER_SOURCE.1, REMEMBERED),
        };
        Self {
            identity,
            pending: Arc::new(Semaphore::new(PENDING_MAX)),
            limits: Mutex::new(limits),
            deadlines: Deadlines::NORMAL,
        }
    }

    /// Reads the gate tag, and if it opens something, does the handshake. `None`: the stream was closed without a byte,
    /// as by a node that has nothing open. Takes at most the gate's and the handshake's deadline.
    pub async fn accept<S>(&self, mut stream: S, ends: &Ends, table: &GateTable) -> Result<Option<Opened>, LinkError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Ok(_permit) = Arc::clone(&self.pending).try_acquire_owned() else {
            return Ok(None);
        };
        let mut tag = [0; 32];
        let read = timeout(self.deadlines.gate, stream.read_exact(&mut tag)).await;
        let came = matches!(read, Ok(Ok(())));
        // Who knocks too often is not even compared, and cannot tell.
        let admission = if came && self.may_knock(ends) { table.admit(&tag, &ends.remote, &ends.own) } else { None };
        let Some(admission) = admission else {
            // Closed in the same way whatever the reason is, and whether or not anything is open here. An error means
            // that the other side has gone already.
            let _ = timeout(self.deadlines.gate, stream.close()).await;
            return Ok(None);
        };
        let (purpose, expected) = match admission {
            Admission::Friend(root) => (Purpose::Link, Some(root)),
            Admission::File(root) => (Purpose::File, Some(root)),
            Admission::Contact => (Purpose::Contact, None),
            Admission::Relay => {
                let answer = table.relay_desk().and_then(|desk| desk.0(&source_of(&ends.address)));
                let tell = async {
                    if let Some(answer) = answer {
                        wire::write(&mut stream, &answer).await?;
                    }
                    stream.close().await
                };
                // Who is gone by now needs no answer.
                let _ = timeout(self.deadlines.gate, tell).await;
                return Ok(None);
            }
        };
        let handshake = self.respond(&mut stream, ends, purpose, expected);
        let established = timeout(self.deadlines.handshake, handshake).await.map_err(|_| LinkError::Timeout)??;
        if purpose != Purpose::Contact {
            self.give_back(ends);
        }
        Ok(Some(pump::start(stream, established, purpose, false, self.deadlines.of(purpose))))
    }

    async fn respond<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut S,
        ends: &Ends,
        purpose: Purpose,
        expected: Option<RootPublic>,
    ) -> Result<Established, LinkError> {
        let channel = Channel { purpose, initiator: &ends.remote, responder: &ends.own };
        let first = read(stream).await?;
        let (local, now) = (local(&self.identity), unix_s());
        let (responder, second) = Responder::start(local, channel, expected, &first, now, &mut rand::rng())?;
        wire::write(stream, &second).await.map_err(|error| LinkError::Lost(error.kind()))?;
        Ok(responder.finish(&read(stream).await?)?)
    }

    fn may_knock(&self, ends: &Ends) -> bool {
        let now = Instant::now();
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        let by_connection = limits.connections.take(now, &ends.connection);
        let by_source = limits.sources.take(now, &source_of(&ends.address));
        by_connection && by_source
    }

    fn give_back(&self, ends: &Ends) {
        let now = Instant::now();
        let mut limits = self.limits.lock().unwrap_or_else(PoisonError::into_inner);
        limits.connections.give_back(now, &ends.connection);
        limits.sources.give_back(now, &source_of(&ends.address));
    }
}

/// Asks a node that may relay for anyone. Gives its answer (one frame of the link's messages); a node that does not relay
/// for anyone closes the stream.
///
/// # Errors
/// [`LinkError::NotAdmitted`], or what became of the stream.
pub async fn ask_relay<S>(mut stream: S, ends: &Ends) -> Result<Vec<u8>, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let ask = async {
        stream.write_all(&Key::relay().tag(&ends.own, &ends.remote)).await.map_err(refused)?;
        stream.flush().await.map_err(refused)?;
        let answer = match read(&mut stream).await {
            Err(LinkError::Lost(kind)) => return Err(refused(kind.into())),
            other => other?,
        };
        let _ = stream.close().await;
        Ok(answer)
    };
    timeout(Deadlines::NORMAL.handshake, ask).await.map_err(|_| LinkError::Timeout)?
}

/// Opens a stream to somebody: tag and first message leave together, so that it costs one round trip.
pub async fn open<S>(mut stream: S, ends: &Ends, target: &Target, identity: &Identity) -> Result<Opened, LinkError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let handshake = initiate(&mut stream, ends, target, identity);
    let established = timeout(Deadlines::NORMAL.handshake, handshake).await.map_err(|_| LinkError::Timeout)??;
    Ok(pump::start(stream, established, target.purpose, true, Deadlines::NORMAL.of(target.purpose)))
}

async fn initiate<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    ends: &Ends,
    target: &Target,
    identity: &Identity,
) -> Result<Established, LinkError> {
    let channel = Channel { purpose: target.purpose, initiator: &ends.own, responder: &ends.remote };
    let (initiator, first) =
        Initiator::start(local(identity), channel, target.root, target.device, unix_s(), &mut rand::rng())?;
    stream.write_all(&target.gate.tag(&ends.own, &ends.remote)).await.map_err(refused)?;
    wire::write(stream, &first).await.map_err(refused)?;
    let second = match read(stream).await {
        Err(LinkError::Lost(kind)) => return Err(refused(kind.into())),
        other => other?,
    };
    let (third, established) = initiator.finish(&second)?;
    wire::write(stream, &third).await.map_err(|error| LinkError::Lost(error.kind()))?;
    Ok(established)
}

/// A node that does not let us in closes the stream; which error that is depends on the transport.
fn refused(error: io::Error) -> LinkError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::WriteZero => LinkError::NotAdmitted,
        kind => LinkError::Lost(kind),
    }
}

async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, LinkError> {
    let failed = |error: ReadError| match error {
        ReadError::Closed => LinkError::Lost(io::ErrorKind::UnexpectedEof),
        ReadError::Io(kind) => LinkError::Lost(kind),
        ReadError::Length(length) => LinkError::Length(length),
    };
    let first = wire::begin(stream).await.map_err(failed)?;
    wire::finish(stream, first, HANDSHAKE_MESSAGE_MIN, HANDSHAKE_MESSAGE_MAX).await.map_err(failed)
}

fn local(identity: &Identity) -> Local<'_> {
    Local { device: &identity.device, certificate: &identity.certificate, boot: identity.boot }
}

/// Unix time in seconds; a clock before 1970 counts as 1970.
fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
