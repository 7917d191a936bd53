//! Picks single values out of the XML of routers. It is often not quite XML, so this is a scanner, not a parser; it looks
//! at tags by name, understands no nesting beyond one block, and reads no byte twice without need.

/// Services that map ports, best first.
const SERVICES: [&str; 3] = [
    "urn:schemas-upnp-org:service:WANIPConnection:2",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];
/// Longest value that is taken.
const MAX_VALUE: usize = 512;
/// Services looked at in one description.
const MAX_SERVICES: usize = 64;

/// Type and control URL of the best service in a device description.
pub(super) fn service(text: &str) -> Option<(String, String)> {
    let mut found: Option<(usize, String)> = None;
    for block in text.split("<service>").skip(1).take(MAX_SERVICES) {
        let block = block.split("</service>").next().unwrap_or_default();
        let Some(kind) = field(block, "serviceType") else { continue };
        let Some(rank) = SERVICES.iter().position(|service| *service == kind.trim()) else { continue };
        let Some(control) = field(block, "controlURL").filter(|url| is_url(url.trim())) else { continue };
        if found.as_ref().is_none_or(|(best, _)| rank < *best) {
            found = Some((rank, control.trim().to_owned()));
        }
    }
    found.map(|(rank, control)| (SERVICES[rank].to_owned(), control))
}

/// Nothing that would break out of a request line.
fn is_url(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The text of the first element of this name, with or without a prefix.
pub(super) fn field(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    loop {
        let open = rest.find('<')?;
        rest = &rest[open + 1..];
        let end = rest.find('>')?;
        let tag = rest[..end].split_whitespace().next().unwrap_or_default();
        let local = tag.rsplit(':').next().unwrap_or_default();
        rest = &rest[end + 1..];
        if local == name {
            let value = &rest[..rest.find('<')?];
            return (value.len() <= MAX_VALUE).then(|| unescape(value));
        }
    }
}

fn unescape(text: &str) -> String {
    text.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'").replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTION: &str = "<?xml version=\"1.0\"?><root xmlns=\"urn:schemas-upnp-org:device-1-0\"><device>\
        <serviceList><service><serviceType>urn:schemas-upnp-org:service:Layer3Forwarding:1</serviceType>\
        <controlURL>/l3f</controlURL></service></serviceList><deviceList><device><serviceList>\n<service>\
        <serviceType> urn:schemas-upnp-org:service:WANPPPConnection:1 </serviceType><controlURL>/ppp</controlURL>\
        </service><service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
        <controlURL>/ctl/IPConn?a=1&amp;b=2</controlURL></service></serviceList></device></deviceList></device></root>";

    #[test]
    fn the_best_service_is_taken() {
        let (service, control) = service(DESCRIPTION).unwrap();
        assert_eq!(service, "urn:schemas-upnp-org:service:WANIPConnection:1");
        assert_eq!(control, "/ctl/IPConn?a=1&b=2");
    }

    #[test]
    fn a_control_url_that_would_break_a_request_is_not_taken() {
        let text = "<service><serviceType>urn:schemas-upnp-org:service:WANIPConnection:1</serviceType>\
                    <controlURL>/x HTTP/1.1\r\nHost: y</controlURL></service>";
        assert_eq!(service(text), None);
    }

    #[test]
    fn fields_are_found_with_a_prefix_and_attributes() {
        let answer =
            "<s:Body><u:R><n:NewExternalIPAddress dt=\"string\">11.0.0.1</n:NewExternalIPAddress></u:R></s:Body>";
        assert_eq!(field(answer, "NewExternalIPAddress").as_deref(), Some("11.0.0.1"));
        assert_eq!(field(answer, "Other"), None);
    }

    #[test]
    fn a_cut_text_gives_nothing_and_is_not_read_past_its_end() {
        for end in 0..DESCRIPTION.len() {
            let _ = service(&DESCRIPTION[..end]);
            let _ = field(&DESCRIPTION[..end], "controlURL");
        }
        let long = format!("<a>{}</a>", "x".repeat(MAX_VALUE + 1));
        assert_eq!(field(&long, "a"), None);
    }
}
