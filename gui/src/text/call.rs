//! The words of ringing and of calls, in each language of the window.

use twocan_control::LinkPath;

use super::{Word, fill, t};

crate::words! {
    LEVEL_0 = "nothing comes through", "nichts kommt an";
    LEVEL_1 = "very bad", "sehr schlecht";
    LEVEL_2 = "bad", "schlecht";
    LEVEL_3 = "fair", "mäßig";
    LEVEL_4 = "good", "gut";
    LEVEL_5 = "very good", "sehr gut";
    HERE = "on this computer", "auf diesem Rechner";
    LAN = "straight over the local network", "direkt über das lokale Netz";
    DIRECT = "straight over the internet", "direkt über das Internet";
    RELAYED = "through a relay", "über eine Vermittlung";
    THROUGH = "through {0}", "über {0}";
    THROUGH_FRIEND = "through your friend {0}'s relay", "über die Vermittlung deines Kontakts {0}";
    THROUGH_THEIRS = "through a relay of {0}'s", "über eine Vermittlung von {0}";
    DELAY = "{0} ms there and back", "{0} ms hin und zurück";
    LOST = "{0} % loss", "{0} % Verlust";
    UNEVEN = "uneven ({0} ms)", "ungleichmäßig ({0} ms)";
    NARROW = "too narrow for pictures", "zu schmal für Bilder";
    RECONNECTING = "Reconnecting…", "Verbindung wird wiederhergestellt…";
    CALLING = "Calling…", "Wird angerufen…";
    RINGING_THERE = "Ringing…", "Es klingelt…";
    CONNECTING = "Connecting…", "Verbindet…";
    ON_HOLD = "On hold", "Gehalten";
    HOLDS = "has put you on hold", "hält den Anruf";
    AWAY = "is away from the call", "ist gerade nicht am Gerät";
    MUTED_THERE = "muted", "stumm";
    CALLS_YOU = "is calling you", "ruft dich an";
    CALLS_YOU_VIDEO = "is calling you with video", "ruft dich mit Bild an";
    WHILE_TALKING = "You are in a call with {0}", "Du sprichst gerade mit {0}";
    ANSWER = "Answer", "Annehmen";
    ANSWER_VIDEO = "With camera", "Mit Kamera";
    HOLD_ANSWER = "Hold and answer", "Halten und annehmen";
    END_ANSWER = "Hang up and answer", "Auflegen und annehmen";
    DECLINE = "Decline", "Ablehnen";
    DECLINE_TEXT = "Decline with a message", "Mit Nachricht ablehnen";
    SILENCE = "Silence", "Ton aus";
    WRITE_OWN = "Your own message…", "Eigene Nachricht…";
    SEND = "Send", "Senden";
    LATER = "Can I call you later?", "Kann ich später zurückrufen?";
    MEETING = "I am in a meeting.", "Ich bin gerade in einer Besprechung.";
    MINUTE = "I will call back in a few minutes.", "Ich rufe in ein paar Minuten zurück.";
    MUTE = "Mute", "Stumm";
    UNMUTE = "Unmute", "Ton an";
    CAMERA_ON = "Camera on", "Kamera an";
    CAMERA_OFF = "Camera off", "Kamera aus";
    SHARE = "Share screen", "Bildschirm teilen";
    SHARE_STOP = "Stop sharing", "Nicht mehr teilen";
    HOLD = "Hold", "Halten";
    RESUME = "Resume", "Weiter";
    DEVICES = "Devices", "Geräte";
    CHAT = "Chat", "Chat";
    DETAILS = "Connection details", "Verbindungsdetails";
    FULL_SCREEN = "Full screen", "Vollbild";
    SMALL_WINDOW = "Small window", "Kleines Fenster";
    BACK = "Back to the window", "Zurück zum Fenster";
    RECORD = "Record", "Aufnehmen";
    RECORD_STOP = "Stop recording", "Aufnahme beenden";
    LEAVE = "Leave", "Auflegen";
    MORE = "More", "Mehr";
    JOIN_HERE = "Bring the call here", "Anruf hierher holen";
    TAKE_UP = "Take the call up again", "Anruf wieder aufnehmen";
    SWITCH_TO = "Switch", "Wechseln";
    YOU = "You", "Du";
    SHARING = "You are sharing your screen", "Du teilst deinen Bildschirm";
    MICROPHONE = "Microphone", "Mikrofon";
    SPEAKER = "Speaker", "Lautsprecher";
    CAMERA = "Camera", "Kamera";
    SYSTEM_DEFAULT = "System default", "Standard des Systems";
    VOLUME = "Volume", "Lautstärke";
    NOISE = "Suppress noise", "Störgeräusche unterdrücken";
    ECHO = "Cancel echo", "Echo unterdrücken";
    NO_DEVICES = "None found", "Keine gefunden";
    SHARE_TITLE = "What do you want to share?", "Was möchtest du teilen?";
    SHARE_DIALOG = "Choose in the desktop's own dialog…", "Im Dialog des Desktops auswählen…";
    SHARE_SCREENS = "Screens", "Bildschirme";
    SHARE_WINDOWS = "Windows", "Fenster";
    SHARE_SOUND = "Share the computer's sound too", "Auch den Ton des Rechners teilen";
    SHARE_NONE = "Nothing can be shared here", "Hier kann nichts geteilt werden";
    SHARE_START = "Share", "Teilen";
    CANCEL = "Cancel", "Abbrechen";
    TRY_AGAIN = "Try again", "Noch einmal";
    RTT = "Round trip", "Hin und zurück";
    LOSS_NAME = "Loss", "Verlust";
    JITTER = "Jitter", "Schwankung";
    BITRATE = "Bitrate", "Bitrate";
    INCOMING = "in", "an";
    OUTGOING = "out", "ab";
    NO_NUMBERS = "The first numbers come in a moment.", "Die ersten Zahlen kommen gleich.";
    LAST_MINUTES = "last two minutes", "letzte zwei Minuten";
    WAY = "Path", "Weg";
    PICTURE_IN = "Picture received", "Empfangenes Bild";
    PICTURE_OUT = "Picture sent", "Gesendetes Bild";
    RECORD_ASKING = "Asking for consent to record…", "Einwilligung zur Aufnahme wird erfragt…";
    RECORD_RUNNING = "Recording", "Aufnahme läuft";
    RECORD_THEIRS = "is recording this call", "nimmt diesen Anruf auf";
    RECORD_TITLE = "wants to record this call", "möchte diesen Anruf aufnehmen";
    RECORD_WHY = "Voices and pictures of both sides would be kept in a file there. You can take this back at any time.", "Stimmen und Bilder beider Seiten würden dort in einer Datei aufbewahrt. Du kannst das jederzeit zurücknehmen.";
    RECORD_ALLOW = "Allow", "Erlauben";
    RECORD_REFUSE = "Do not allow", "Nicht erlauben";
    RECONNECTING_TITLE = "Reconnecting…", "Verbindung wird wiederhergestellt…";
    RECONNECTING_WHY = "The connection was lost. The call goes on as soon as it is back.", "Die Verbindung ist abgerissen. Der Anruf geht weiter, sobald sie wieder steht.";
    CALL_AGAIN = "Call again", "Erneut anrufen";
    CLOSE = "Close", "Schließen";
    MISSED_SOUND = "does not work", "funktioniert nicht";
}

/// How good a call is, by its level from 0 to 5.
#[must_use]
pub fn level(level: u8) -> Word {
    *[LEVEL_0, LEVEL_1, LEVEL_2, LEVEL_3, LEVEL_4].get(usize::from(level)).unwrap_or(&LEVEL_5)
}

/// The way that sound and picture take.
#[must_use]
pub fn path(path: LinkPath) -> Word {
    match path {
        LinkPath::Loopback => HERE,
        LinkPath::Lan => LAN,
        LinkPath::Direct => DIRECT,
        LinkPath::Relayed => RELAYED,
    }
}

/// The node's words for a relay ("carol's relay", "a relay of bob's") in those of the window.
#[must_use]
pub fn relay(said: &str) -> String {
    let name = said.strip_suffix("'s relay");
    let theirs = said.strip_prefix("a relay of ").and_then(|rest| rest.strip_suffix("'s"));
    match (name, theirs) {
        (Some(name), _) => fill(THROUGH_FRIEND, &[name]),
        (_, Some(name)) => fill(THROUGH_THEIRS, &[name]),
        _ if said.is_empty() => t(RELAYED).to_owned(),
        _ => fill(THROUGH, &[said]),
    }
}
