//! Friends, requests and the own identity in words.

use twocan_control::{Availability, Friend, FriendState, Identity, LinkPath, Request};

use super::table::Cell;
use super::{Colour, Style, Table, clean_line, short, time};

/// The list of friends.
pub fn list(friends: &[Friend], style: Style) -> String {
    if friends.is_empty() {
        return if style.terminal {
            "No friends yet. Give them your address (`twocan id`), or add theirs: `twocan add ADDRESS`.\n".to_owned()
        } else {
            String::new()
        };
    }
    let mut table = Table::new(["name", "state", "last seen", "path", "id", "verified"]);
    for friend in friends {
        let (state, colour) = state(friend);
        table.row([
            clean_line(&friend.name).into(),
            colour.map_or_else(|| state.into(), |colour| Cell::painted(colour, state)),
            seen(friend, style).into(),
            link(friend).into(),
            short(&friend.id).into(),
            if friend.verified { "yes" } else { "no" }.into(),
        ]);
    }
    let mut out = table.render(style);
    if style.terminal {
        for friend in friends {
            if let Some(trouble) = &friend.trouble {
                out.push_str(&format!("{}: {}\n", clean_line(&friend.name), clean_line(trouble)));
            }
        }
    }
    out
}

fn state(friend: &Friend) -> (&'static str, Option<Colour>) {
    match (friend.state, friend.online, friend.availability) {
        (FriendState::Requested, ..) => ("requested", Some(Colour::Yellow)),
        (_, true, Some(Availability::Dnd)) => ("do not disturb", Some(Colour::Red)),
        (_, true, _) => ("online", Some(Colour::Green)),
        (_, false, _) => ("offline", Some(Colour::Dim)),
    }
}

fn seen(friend: &Friend, style: Style) -> String {
    match (friend.online, friend.last_seen_ms) {
        (true, _) => "now".to_owned(),
        (false, Some(then)) if style.terminal => time::ago(style.now_ms, then),
        (false, Some(then)) => time::utc(then),
        (false, None) => "-".to_owned(),
    }
}

fn link(friend: &Friend) -> String {
    match &friend.link {
        Some(link) => {
            let rtt = link.rtt_ms.map(|ms| format!(" {ms:.1} ms")).unwrap_or_default();
            format!("{} {}{rtt}", path(link.path), clean_line(&link.transport))
        }
        None => "-".to_owned(),
    }
}

/// A path in a word.
pub fn path(path: LinkPath) -> &'static str {
    match path {
        LinkPath::Loopback => "loopback",
        LinkPath::Lan => "lan",
        LinkPath::Direct => "direct",
        LinkPath::Relayed => "relayed",
    }
}

/// One friend, all that is known.
pub fn one(friend: &Friend, style: Style) -> String {
    let (state, colour) = state(friend);
    let state = colour.map_or_else(|| state.to_owned(), |colour| style.paint(colour, state));
    let mut lines = vec![
        format!("name:         {}", clean_line(&friend.name)),
        format!("id:           {}", friend.id),
        format!("state:        {state}"),
        format!("last seen:    {}", seen(friend, style)),
        format!("path:         {}", link(friend)),
        format!("safety words: {}", clean_line(&friend.safety_words)),
        format!(
            "verified:     {}",
            if friend.verified { "yes" } else { "no (compare the safety words by voice, then `twocan verify`)" }
        ),
    ];
    if friend.hide_address {
        lines.push("your address: hidden from this friend (`twocan hide NAME --off` shows it)".to_owned());
    }
    if let Some(own) = friend.own_name.as_ref().filter(|own| **own != friend.name) {
        lines.push(format!("calls itself: {}", clean_line(own)));
    }
    if let Some(trouble) = &friend.trouble {
        lines.push(format!("trouble:      {}", clean_line(trouble)));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// What strangers asked.
pub fn requests(requests: &[Request], style: Style) -> String {
    if requests.is_empty() {
        return if style.terminal { "Nobody asks to be your friend.\n".to_owned() } else { String::new() };
    }
    let mut table = Table::new(["name", "id", "when", "message"]);
    for request in requests {
        let when =
            if style.terminal { time::ago(style.now_ms, request.received_ms) } else { time::utc(request.received_ms) };
        let says = if request.says_friends { "(says that you are friends already) " } else { "" };
        table.row([
            clean_line(&request.name).into(),
            short(&request.id).into(),
            when.into(),
            format!("{says}{}", clean_line(&request.message)).into(),
        ]);
    }
    let mut out = table.render(style);
    if style.terminal {
        out.push_str("Answer with `twocan accept NAME`, `twocan decline NAME` or `twocan block NAME`.\n");
    }
    out
}

/// The own identity: to a pipe the address alone.
pub fn identity(identity: &Identity, style: Style) -> String {
    if !style.terminal {
        return format!("{}\n", identity.address);
    }
    let name = if identity.name.is_empty() {
        "(none; set one with `twocan name NAME`)".to_owned()
    } else {
        clean_line(&identity.name)
    };
    format!("{}\n\nname: {name}\nid:   {}\n", style.paint(Colour::Bold, &identity.address), short(&identity.root))
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_control::Link;

    fn bob() -> Friend {
        Friend {
            id: "b0".repeat(32),
            name: "bob".into(),
            own_name: Some("Robert".into()),
            state: FriendState::Accepted,
            online: true,
            availability: Some(Availability::Available),
            link: Some(Link { path: LinkPath::Lan, transport: "quic".into(), rtt_ms: Some(0.42), since_ms: 0 }),
            last_seen_ms: None,
            safety_words: "one two three four five six".into(),
            verified: false,
            hide_address: false,
            trouble: None,
            picture: None,
            added_ms: 0,
        }
    }

    #[test]
    fn a_pipe_gets_one_friend_a_line() {
        assert_eq!(list(&[bob()], Style::default()), "bob\tonline\tnow\tlan quic 0.4 ms\tb0b0b0b0\tno\n");
        assert_eq!(list(&[], Style::default()), "");
    }

    #[test]
    fn a_person_without_friends_is_told_what_to_do() {
        assert!(list(&[], Style { terminal: true, ..Style::default() }).contains("twocan id"));
    }

    #[test]
    fn a_friend_away_shows_when_last_seen() {
        let away = Friend { online: false, link: None, last_seen_ms: Some(0), ..bob() };
        let text = list(&[away], Style { terminal: true, colour: false, now_ms: 180_000 });
        assert!(text.contains("offline") && text.contains("3 min ago"), "{text}");
    }

    #[test]
    fn names_from_strangers_cannot_break_the_list() {
        let evil = Request {
            id: "ee".repeat(32),
            name: "a\u{1b}[2J\tb".into(),
            message: "x\ny".into(),
            received_ms: 0,
            says_friends: false,
        };
        let text = requests(&[evil], Style::default());
        assert_eq!(text, "a\u{fffd}[2J\u{fffd}b\teeeeeeee\t1970-01-01 00:00:00Z\tx y\n");
    }
}
