//! Words of conversations and files.

crate::words! {
    FILE_LINE = "File: {0}", "Datei: {0}";
    MY_LINE = "You: {0}", "Du: {0}";
    OLDER = "Older messages", "Ältere Nachrichten";
    NOT_LOADED = "The messages cannot be read", "Die Nachrichten können nicht gelesen werden";
    WAITING_TITLE = "Not friends yet", "Noch keine Freunde";
    WAITING_LINE = "When {0} accepts your request, you can call and write to each other.", "Sobald {0} deine Anfrage annimmt, könnt ihr euch anrufen und schreiben.";
    EMPTY_TITLE = "Say hello to {0}", "Sag {0} Hallo";
    EMPTY_LINE = "Messages go from your computer straight to your friend's. If your friend is away, they wait here until then.", "Nachrichten gehen von deinem Rechner direkt zu dem deines Freundes. Ist er nicht da, warten sie hier.";
    MARK_WAITING = "Waits until your friend is online", "Wartet, bis dein Freund online ist";
    MARK_DELIVERED = "Delivered", "Zugestellt";
    MARK_READ = "Read", "Gelesen";
    OPEN_LINK = "Open {0}", "{0} öffnen";
    TAKE = "Accept", "Annehmen";
    DECLINE = "Decline", "Ablehnen";
    OPEN_FOLDER = "Show in folder", "Im Ordner zeigen";
    PAUSE = "Pause", "Anhalten";
    RESUME = "Resume", "Fortsetzen";
    PREPARING = "Being prepared…", "Wird vorbereitet …";
    OFFERED = "{0} · waits for an answer", "{0} · wartet auf Antwort";
    FILE_WAITING = "{0} · waits for your friend", "{0} · wartet auf deinen Freund";
    OF = "{0} of {1}", "{0} von {1}";
    PAUSED = "Paused at {0} of {1}", "Angehalten bei {0} von {1}";
    PAUSED_THERE = "Paused by your friend, {0} of {1}", "Vom Freund angehalten, {0} von {1}";
    RECEIVED = "{0} · received", "{0} · empfangen";
    SENT = "{0} · sent", "{0} · gesendet";
    FILE_DECLINED = "Declined", "Abgelehnt";
    FILE_FAILED = "Failed", "Gescheitert";
    FILE_CANCELLED = "Cancelled", "Abgebrochen";
    ATTACH = "Send a file", "Datei senden";
    WRITE_TO = "Message to {0}", "Nachricht an {0}";
    SEND = "Send", "Senden";
    DROP = "Drop to send to {0}", "Loslassen, um an {0} zu senden";
}
