//! Words about people: presence, requests, safety words, calls in a line.

crate::words! {
    PATH_LOOPBACK = "this computer", "dieser Rechner";
    PATH_LAN = "local network", "lokales Netz";
    PATH_DIRECT = "direct", "direkt";
    PATH_RELAYED = "through a relay", "über ein Relay";
    ASKED = "asked, no answer yet", "angefragt, noch keine Antwort";
    NOT_SEEN = "not seen yet", "noch nicht gesehen";
    LAST_SEEN = "last seen {0}", "zuletzt gesehen {0}";
    ONLINE = "online", "online";
    BUSY_LINE = "do not disturb", "nicht stören";
    CALLING = "calling…", "wird angerufen …";
    RINGING = "ringing…", "es klingelt …";
    CALLS_YOU = "calls you", "ruft dich an";
    CONNECTING = "connecting…", "wird verbunden …";
    ON_HOLD = "on hold", "gehalten";
    HOLDS = "holds the call", "hält das Gespräch";
    RECONNECTING = "reconnecting…", "wird neu verbunden …";
    ENDED = "call ended", "Anruf beendet";
    DECLINED = "declined", "abgelehnt";
    CANCELLED = "call cancelled", "Anruf abgebrochen";
    NO_ANSWER = "no answer", "keine Antwort";
    BUSY = "busy in another call", "in einem anderen Gespräch";
    DND = "does not want to be disturbed", "möchte nicht gestört werden";
    ELSEWHERE = "answered elsewhere", "anderswo angenommen";
    UNREACHABLE = "cannot be reached now", "gerade nicht erreichbar";
    FAILED = "the call failed", "der Anruf ist gescheitert";
}
