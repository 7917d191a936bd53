//! The portal of the desktop (`org.freedesktop.portal.ScreenCast`) on the session's bus: asks the person what to share in
//! the desktop's own dialog, and gets the PipeWire socket and the number of the stream in return.
//!
//! Source: the XDG Desktop Portal documentation, "Request", "Session" and "ScreenCast". The portal answers a request by a
//! signal, whenever the person has decided; one connection of its own stands for one share, so that closing it ends
//! all that belongs to it: the dialog that is open, and the stream that runs.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::Serialize;
use zbus::blocking::connection::Builder;
use zbus::blocking::{Connection, MessageIterator, Proxy};
use zbus::names::OwnedUniqueName;
use zbus::zvariant::{self, DynamicType, OwnedObjectPath, OwnedValue, Value};

use super::{Kinds, Pick};

const BUS: &str = "org.freedesktop.DBus";
const PORTAL: &str = "org.freedesktop.portal.Desktop";
const PATH: &str = "/org/freedesktop/portal/desktop";
const SCREEN_CAST: &str = "org.freedesktop.portal.ScreenCast";
const REQUEST: &str = "org.freedesktop.portal.Request";
const SESSION: &str = "org.freedesktop.portal.Session";
/// A portal that is not running is started by the first call: it gets so long. People are not timed.
const TIMEOUT: Duration = Duration::from_secs(20);
/// `AvailableSourceTypes` and `types`.
const MONITOR: u32 = 1;
const WINDOW: u32 = 2;
/// `AvailableCursorModes` and `cursor_mode`: the pointer is part of the picture.
const CURSOR_EMBEDDED: u32 = 2;
/// `persist_mode`: the permit holds until it is revoked.
const PERSIST: u32 = 2;
/// Permits are known since this version of the interface.
const PERSIST_SINCE: u32 = 4;
/// Answers to a request.
const GRANTED: u32 = 0;
const CANCELLED: u32 = 1;

/// Why there is nothing to share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// There is no portal, or it cannot do it: what to do.
    Impossible(String),
    /// The person closed the dialog.
    Cancelled,
    /// The portal failed or went away.
    Failed(String),
    /// The connection was closed by us.
    Closed,
}

/// What was granted.
#[derive(Debug)]
pub(super) struct Granted {
    pub(super) remote: OwnedFd,
    pub(super) node: u32,
    /// Stands for the same choice the next time, if the desktop keeps it.
    pub(super) permit: Option<String>,
}

/// A connection to the portal for one share.
pub(super) struct Desktop {
    connection: Connection,
    messages: MessageIterator,
    portal: Option<OwnedUniqueName>,
    session: Option<OwnedObjectPath>,
    requests: u32,
}

impl Desktop {
    /// Connects to the session's bus.
    pub(super) fn connect() -> Result<Self, Refused> {
        let builder = Builder::session().map_err(|error| no_bus(&error))?;
        let connection = builder.method_timeout(TIMEOUT).build().map_err(|error| no_bus(&error))?;
        let messages = MessageIterator::from(&connection);
        Ok(Self { connection, messages, portal: None, session: None, requests: 0 })
    }

    /// The connection; who closes it ends the share.
    pub(super) fn connection(&self) -> Connection {
        self.connection.clone()
    }

    fn proxy<'a>(&self, path: &'a str, interface: &'a str) -> Result<Proxy<'a>, Refused> {
        Ok(Proxy::new(&self.connection, PORTAL, path, interface)?)
    }

    fn number(&self, name: &str) -> Result<u32, Refused> {
        let arguments = (SCREEN_CAST, name);
        let properties = self.proxy(PATH, "org.freedesktop.DBus.Properties")?;
        let value: OwnedValue = properties.call("Get", &arguments).map_err(|error| no_portal(&error))?;
        u32::try_from(&*value).map_err(|error| Refused::Failed(error.to_string()))
    }

    /// What this desktop lets people choose from.
    pub(super) fn kinds(&self) -> Result<Kinds, Refused> {
        let types = self.number("AvailableSourceTypes")?;
        let kinds = Kinds { screens: types & MONITOR != 0, windows: types & WINDOW != 0 };
        if kinds.screens || kinds.windows { Ok(kinds) } else { Err(Refused::Impossible(NO_BACKEND.into())) }
    }

    /// Has the person choose, or takes the permit of an earlier choice for it. Returns when they have.
    pub(super) fn ask(&mut self, pick: Pick, permit: Option<&str>) -> Result<Granted, Refused> {
        let kinds = self.kinds()?;
        self.watch()?;
        let results = self.request("CreateSession", |token| {
            (HashMap::from([("handle_token", token.clone()), ("session_handle_token", token)]),)
        })?;
        let session = results.get("session_handle").and_then(text).ok_or_else(|| odd("it names no session"))?;
        let session = OwnedObjectPath::try_from(session).map_err(|_| odd("it names a session that is none"))?;
        self.session = Some(session.clone());

        let types = pick.types(kinds);
        let cursor = self.number("AvailableCursorModes").unwrap_or_default() & CURSOR_EMBEDDED;
        let keeps = self.number("version")? >= PERSIST_SINCE;
        let permit = permit.filter(|_| keeps).map(str::to_owned);
        let select = session.clone();
        self.request("SelectSources", |token| {
            let mut options =
                HashMap::from([("handle_token", token), ("types", types.into()), ("multiple", false.into())]);
            if cursor != 0 {
                options.insert("cursor_mode", cursor.into());
            }
            if keeps {
                options.insert("persist_mode", PERSIST.into());
            }
            if let Some(permit) = permit {
                options.insert("restore_token", permit.into());
            }
            (select, options)
        })?;

        let start = session.clone();
        let results = self.request("Start", |token| (start, "", HashMap::from([("handle_token", token)])))?;
        let node = results.get("streams").and_then(first_node).ok_or_else(|| odd("it shares nothing"))?;
        let permit = results.get("restore_token").and_then(text).map(str::to_owned);
        let options = HashMap::<&str, Value<'_>>::new();
        let remote: zvariant::OwnedFd =
            self.proxy(PATH, SCREEN_CAST)?.call("OpenPipeWireRemote", &(session, options))?;
        Ok(Granted { remote: remote.into(), node, permit })
    }

    /// Waits until the desktop ends the share; then returns, as it does when the connection is closed.
    pub(super) fn wait(mut self) -> Refused {
        loop {
            match self.next() {
                Ok(Told::Ended) => return Refused::Failed(super::ENDED.into()),
                Ok(_) => {}
                Err(refused) => return refused,
            }
        }
    }

    /// Has the bus bring what is said about the share.
    fn watch(&mut self) -> Result<(), Refused> {
        let bus = Proxy::new(&self.connection, BUS, "/org/freedesktop/DBus", BUS)?;
        let owner: String = bus.call("GetNameOwner", &(PORTAL,)).map_err(|error| no_portal(&error))?;
        self.portal = OwnedUniqueName::try_from(owner).ok();
        for rule in [
            format!("type='signal',sender='{PORTAL}',interface='{REQUEST}',member='Response'"),
            format!("type='signal',sender='{PORTAL}',interface='{SESSION}',member='Closed'"),
            format!("type='signal',sender='{BUS}',interface='{BUS}',member='NameOwnerChanged',arg0='{PORTAL}'"),
        ] {
            let _: () = bus.call("AddMatch", &(rule,))?;
        }
        Ok(())
    }

    /// Calls a method that answers by a signal, and waits for that. `body` is given the name of the request.
    fn request<B: Serialize + DynamicType>(
        &mut self,
        method: &str,
        body: impl FnOnce(Value<'static>) -> B,
    ) -> Result<HashMap<String, OwnedValue>, Refused> {
        self.requests += 1;
        let token = format!("twocan{}", self.requests);
        let path: OwnedObjectPath = self.proxy(PATH, SCREEN_CAST)?.call(method, &body(Value::from(token)))?;
        loop {
            match self.next()? {
                Told::Answer(answered, code, results) if answered == path => {
                    tracing::debug!(method, code, "the desktop has answered");
                    return match code {
                        GRANTED => Ok(results),
                        CANCELLED => Err(Refused::Cancelled),
                        _ => Err(Refused::Failed("the desktop does not let the screen be shared".into())),
                    };
                }
                Told::Ended => return Err(Refused::Failed(super::ENDED.into())),
                _ => {}
            }
        }
    }

    /// What the portal says next.
    fn next(&mut self) -> Result<Told, Refused> {
        let Some(message) = self.messages.next() else { return Err(Refused::Closed) };
        let message = message.map_err(|_| Refused::Closed)?;
        let header = message.header();
        let (Some(path), Some(member)) = (header.path(), header.member()) else { return Ok(Told::Other) };
        if header.message_type() != zbus::message::Type::Signal {
            return Ok(Told::Other);
        }
        let told = match member.as_str() {
            "NameOwnerChanged" => return Err(Refused::Failed("the desktop's portal went away".into())),
            // Only the portal itself is believed.
            _ if header.sender() != self.portal.as_deref() => Told::Other,
            "Response" => match message.body().deserialize::<(u32, HashMap<String, OwnedValue>)>() {
                Ok((code, results)) => Told::Answer(path.to_owned().into(), code, results),
                Err(_) => return Err(odd("its answer cannot be read")),
            },
            "Closed" if self.session.as_ref().is_some_and(|session| **session == *path) => Told::Ended,
            _ => Told::Other,
        };
        Ok(told)
    }
}

enum Told {
    Answer(OwnedObjectPath, u32, HashMap<String, OwnedValue>),
    Ended,
    Other,
}

impl Pick {
    /// The bits for what may be chosen, of what the desktop offers.
    fn types(self, kinds: Kinds) -> u32 {
        let (screens, windows) = match self {
            Self::Any => (kinds.screens, kinds.windows),
            Self::Screen => (kinds.screens, !kinds.screens),
            Self::Window => (!kinds.windows, kinds.windows),
        };
        (if screens { MONITOR } else { 0 }) | (if windows { WINDOW } else { 0 })
    }
}

const NO_BACKEND: &str = "this desktop's portal shares no screens: install the one of your desktop \
    (xdg-desktop-portal-gnome, -kde, -wlr, -hyprland or -cosmic), and sign in again";

fn no_bus(error: &zbus::Error) -> Refused {
    tracing::debug!(%error, "the session bus cannot be reached");
    Refused::Impossible(
        "under Wayland the desktop itself shares its screen, but it cannot be asked: there is no session bus \
         (DBUS_SESSION_BUS_ADDRESS)"
            .into(),
    )
}

/// What a failed first call means.
fn no_portal(error: &zbus::Error) -> Refused {
    tracing::debug!(%error, "the desktop's portal cannot be asked");
    let name = match error {
        zbus::Error::MethodError(name, ..) => name.as_str(),
        _ => "",
    };
    match name {
        "org.freedesktop.DBus.Error.ServiceUnknown" | "org.freedesktop.DBus.Error.NameHasNoOwner" => {
            Refused::Impossible(
                "under Wayland the desktop's portal shares the screen, and there is none: install xdg-desktop-portal \
                 and the one of your desktop (xdg-desktop-portal-gnome, -kde, -wlr …), and sign in again"
                    .into(),
            )
        }
        "org.freedesktop.DBus.Error.UnknownInterface"
        | "org.freedesktop.DBus.Error.UnknownProperty"
        | "org.freedesktop.DBus.Error.UnknownMethod"
        | "org.freedesktop.DBus.Error.InvalidArgs" => Refused::Impossible(NO_BACKEND.into()),
        _ => Refused::Failed(format!("the desktop's portal does not answer ({error})")),
    }
}

fn odd(what: &str) -> Refused {
    Refused::Failed(format!("the desktop's portal answers oddly: {what}"))
}

impl From<zbus::Error> for Refused {
    fn from(error: zbus::Error) -> Self {
        Self::Failed(format!("the desktop's portal fails ({error})"))
    }
}

fn text(value: &OwnedValue) -> Option<&str> {
    value.downcast_ref::<&str>().ok()
}

/// The node of the first of the streams (`a(ua{sv})`).
fn first_node(streams: &OwnedValue) -> Option<u32> {
    let Value::Array(streams) = &**streams else { return None };
    let Some(Value::Structure(stream)) = streams.first() else { return None };
    stream.fields().first().and_then(|node| u32::try_from(node).ok())
}
