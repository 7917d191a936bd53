//! Words for what goes wrong, and what to do.

crate::words! {
    LOOKING = "Looking for your node…", "Dein Knoten wird gesucht …";
    VERSION = "Versions do not fit", "Die Versionen passen nicht zusammen";
    VERSION_LINE = "This window and your node are of different versions. Restart the node: it then runs in the version of this window.", "Dieses Fenster und dein Knoten haben verschiedene Versionen. Starte den Knoten neu: dann läuft er in der Version dieses Fensters.";
    UNUSABLE = "Your node cannot be used", "Dein Knoten kann nicht benutzt werden";
    STOPPED = "Your node has stopped", "Dein Knoten ist angehalten";
    NOT_RUNNING = "Your node does not run", "Dein Knoten läuft nicht";
    NOT_RUNNING_LINE = "The node is the part of twocan that keeps you reachable, also while this window is closed.", "Der Knoten ist der Teil von twocan, der dich erreichbar hält, auch wenn dieses Fenster zu ist.";
    STARTING_TITLE = "Starting your node", "Dein Knoten wird gestartet";
    STARTING = "This takes a second or two.", "Das dauert ein bis zwei Sekunden.";
    START = "Start it", "Starten";
    RESTART = "Restart the node", "Knoten neu starten";
    TERMINAL = "or in a terminal: twocan up", "oder in einem Terminal: twocan up";
    TERMINAL_RESTART = "or in a terminal: twocan down, then twocan up", "oder in einem Terminal: twocan down, dann twocan up";
    LOCKED = "Your node is locked", "Dein Knoten ist gesperrt";
    LOCKED_LINE = "Your keys are under a passphrase. Calls come in once you have given it.", "Deine Schlüssel sind durch eine Passphrase geschützt. Anrufe kommen an, sobald du sie eingegeben hast.";
    UNLOCK = "Unlock", "Entsperren";
    DEVICES = "Choose devices", "Geräte auswählen";
    EXAMINE = "Examine the network", "Netz untersuchen";
}
