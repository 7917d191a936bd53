//! Words that many screens use.

crate::words! {
    OK = "OK", "OK";
    CANCEL = "Cancel", "Abbrechen";
    CLOSE = "Close", "Schließen";
    BACK = "Back", "Zurück";
    NEXT = "Continue", "Weiter";
    DONE = "Done", "Fertig";
    SAVE = "Save", "Speichern";
    COPY = "Copy", "Kopieren";
    COPIED = "Copied", "Kopiert";
    CLEAR = "Empty the field", "Feld leeren";
    SHOW = "Show", "Anzeigen";
    HIDE = "Hide", "Verbergen";
    RETRY = "Try again", "Nochmals versuchen";
    MORE = "More", "Mehr";
    SEARCH = "Search", "Suchen";
    NAME = "Name", "Name";
    PASSPHRASE = "Passphrase", "Passphrase";
    JUST_NOW = "just now", "gerade eben";
    MINUTES_AGO = "{0} min ago", "vor {0} min";
    HOURS_AGO = "{0} h ago", "vor {0} Std.";
    YESTERDAY = "yesterday", "gestern";
    TODAY = "Today", "Heute";
    DAYS_AGO = "{0} days ago", "vor {0} Tagen";
    LONG_AGO = "long ago", "vor langer Zeit";
    CHATS = "Chats", "Chats";
    CALLS = "Calls", "Anrufe";
    PEOPLE = "People", "Personen";
    SETTINGS = "Settings", "Einstellungen";
    MY_ADDRESS = "My address", "Meine Adresse";
    ADD_FRIEND = "Add a friend", "Freund hinzufügen";
    SAVED_AS = "Saved as {0}", "Gespeichert als {0}";
    CANNOT_SAVE = "The file cannot be written: {0}", "Die Datei kann nicht geschrieben werden: {0}";
}
