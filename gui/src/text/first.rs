//! Words of the first start.

crate::words! {
    WELCOME = "Welcome to twocan", "Willkommen bei twocan";
    WELCOME_LINE = "Calls, messages and files straight from your computer to your friends'. No account, no server in between.", "Anrufe, Nachrichten und Dateien direkt von deinem Rechner zu dem deiner Freunde. Kein Konto, kein Server dazwischen.";
    BEGIN = "Get started", "Los geht's";
    HAVE_BACKUP = "I have words or a backup", "Ich habe Wörter oder eine Sicherung";
    STEP = "Step {0} of 3", "Schritt {0} von 3";
    NAME_TITLE = "What is your name?", "Wie heißt du?";
    NAME_LINE = "Your friends see it when you call. You can change it at any time.", "Deine Freunde sehen ihn, wenn du anrufst. Du kannst ihn jederzeit ändern.";
    ADDRESS_LINE = "Give it to the people you want to talk to. They add it, you say yes, and you can call each other.", "Gib sie den Leuten, mit denen du reden willst. Sie fügen sie hinzu, du sagst Ja, und ihr könnt euch anrufen.";
    WORDS_LINE = "They bring you back if this computer is lost. Keep them on paper.", "Sie bringen dich zurück, wenn dieser Rechner verloren geht. Bewahre sie auf Papier auf.";
    DEVICES_TITLE = "How do you look and sound?", "Wie siehst du aus, wie klingst du?";
    DEVICES_LINE = "Choose what calls use. You see and hear it as your friends will.", "Wähle, was Anrufe benutzen. Du siehst und hörst es wie deine Freunde.";
    SOMEBODY = "Somebody is waiting for you already.", "Jemand wartet schon auf dich.";
    FINISH = "Start using twocan", "twocan benutzen";
}
