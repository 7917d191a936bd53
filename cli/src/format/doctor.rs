//! The doctor in words: its report, and the trial of a path to a friend.

use twocan_control::doctor::{Check, Doctor, Preflight, PreflightStream};

use super::{Colour, Style, clean_line};

/// The doctor's report: what it means, then line by line, with what to do under what wants doing.
pub fn doctor(doctor: &Doctor, style: Style) -> String {
    let mut out = format!("{}\n", style.paint(Colour::Bold, &clean_line(&doctor.summary)));
    let (wanting, well): (Vec<&Check>, Vec<&Check>) = doctor.checks.iter().partition(|check| check.advice.is_some());
    for check in wanting.into_iter().chain(well) {
        let mark = match (check.ok, &check.advice) {
            (true, None) => style.paint(Colour::Green, "ok  "),
            (true, Some(_)) => style.paint(Colour::Yellow, "hint"),
            (false, _) => style.paint(Colour::Red, "FAIL"),
        };
        out.push_str(&format!("{mark} {}: {}\n", clean_line(&check.name), clean_line(&check.finding)));
        if let Some(advice) = &check.advice {
            out.push_str(&format!("     {}\n", clean_line(advice)));
        }
    }
    out
}

/// What a trial of the path to a friend found.
pub fn preflight(preflight: &Preflight, style: Style) -> String {
    let mut out = format!("{}\n", style.paint(Colour::Bold, &clean_line(&preflight.summary)));
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            out.push_str(&format!("{name:<11}{value}\n"));
        }
    };
    line("score", preflight.mos.map(|mos| format!("{mos:.1} of 4.5 (predicted mean opinion score, E-model)")));
    let path = preflight.path.map(super::friend::path);
    line(
        "path",
        path.map(|path| match &preflight.candidates {
            Some(kinds) => format!("{path} ({})", clean_line(kinds)),
            None => path.to_owned(),
        }),
    );
    line("set up in", preflight.setup_ms.map(|ms| format!("{ms:.0} ms")));
    line("round trip", preflight.rtt_ms.map(|ms| format!("{ms:.1} ms")));
    let stream = |stream: PreflightStream| {
        format!("{} packets, {:.1} % lost, jitter {:.1} ms", stream.packets, stream.loss * 100.0, stream.jitter_ms)
    };
    line("to me", preflight.incoming.map(stream));
    line("from me", preflight.outgoing.map(stream));
    for advice in &preflight.advice {
        out.push_str(&format!("{} {}\n", style.paint(Colour::Yellow, "hint"), clean_line(advice)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use twocan_control::testing::{sample_friend, sample_preflight};

    #[test]
    fn what_wants_doing_comes_first_with_what_to_do() {
        let check = |name: &str, ok: bool| Check {
            name: name.into(),
            ok,
            finding: "no peer".into(),
            advice: Some("add one".into()),
        };
        let checks = vec![Check { advice: None, ..check("disk", true) }, check("DHT", false), check("port", true)];
        let text = doctor(&Doctor { summary: "One thing".into(), checks, ..Doctor::default() }, Style::default());
        let lines =
            "One thing\nFAIL DHT: no peer\n     add one\nhint port: no peer\n     add one\nok   disk: no peer\n";
        assert_eq!(text, lines);
    }

    #[test]
    fn a_trial_is_a_sentence_and_its_numbers() {
        let text = preflight(&sample_preflight(&sample_friend("Bob")), Style::default());
        assert!(text.starts_with("A call to Bob would be excellent"), "{text}");
        assert!(
            text.contains("score      4.4 of 4.5") && text.contains("to me      150 packets, 0.0 % lost"),
            "{text}"
        );
    }

    #[test]
    fn a_friends_name_does_not_steer_the_terminal() {
        let mut evil = sample_preflight(&sample_friend("Bob"));
        evil.summary = "A call to \u{1b}[31mBob".to_owned();
        evil.candidates = Some("\u{1b}]0;x".to_owned());
        assert!(!preflight(&evil, Style::default()).contains('\u{1b}'));
    }
}
