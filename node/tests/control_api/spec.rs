//! The specification is what the code does: the OpenAPI document is generated, its paths are served, and the curl
//! commands of the text work.

use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use serde_json::{Value, json};
use twocan_control::testing::sample_address;
use twocan_control::{Code, MediaFrame, MediaKind};

use crate::support::Bench;

fn specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs")
}

fn bless() -> bool {
    std::env::var_os("TWOCAN_BLESS").is_some()
}

/// Compares a generated file with the one that is kept; writes it instead under `TWOCAN_BLESS=1`.
fn check(file: &Path, made: &str) {
    if bless() {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, made).unwrap();
    }
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    assert!(kept == made, "{} is out of date: run the tests once with TWOCAN_BLESS=1 and look at it", file.display());
}

#[test]
fn the_openapi_document_is_up_to_date() {
    check(&specs().join("openapi.json"), &twocan_node::control::openapi::json().unwrap());
}

#[tokio::test]
async fn every_path_of_the_openapi_document_is_served() {
    let bench = Bench::new().await;
    let document: Value = serde_json::from_str(&twocan_node::control::openapi::json().unwrap()).unwrap();
    let mut seen = 0;
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            // Events have no end; they have their own tests.
            if path == "/v1/events" {
                continue;
            }
            let path = path
                .replace("{friend}", "nobody")
                .replace("{id}", "nobody")
                .replace("{call}", "00")
                .replace("{file}", "00");
            let reply = bench.request(&method.to_uppercase(), &path, "", "").await;
            let unknown = reply.status == 404 && reply.error().message.contains("no such path");
            assert!(!unknown && reply.status != 405, "{method} {path}: {reply:?}");
            seen += 1;
        }
    }
    assert_eq!(seen, 62, "the document has lost or gained paths; this number follows it by hand");
}

#[test]
fn the_media_frame_vectors_are_up_to_date() {
    let frame = |kind, key, gap, restart, layer, stream, sequence, timestamp, time_ns, payload: &'static [u8]| {
        let payload = Bytes::from_static(payload);
        MediaFrame { kind, key, gap, restart, red: false, layer, stream, sequence, timestamp, time_ns, payload }
    };
    let red = |frame| MediaFrame { red: true, ..frame };
    let good = [
        ("an Opus packet", frame(MediaKind::Audio, false, false, false, 0, 1, 7, 6720, 1_000_000_000, b"\xf8\xff\xfe")),
        ("a key frame of a stream that begins anew", {
            frame(MediaKind::Video, true, false, true, 0, 2, 65_536, u32::MAX, u64::MAX, b"\x00\x00\x00\x01\x65")
        }),
        (
            "a frame of layer 2 after a gap",
            frame(MediaKind::Video, false, true, false, 2, 2, 70_000, 90_000, 42, b"\x41"),
        ),
        ("a key frame of a shared screen", frame(MediaKind::Screen, true, false, false, 0, 3, 9, 90_000, 43, b"\x65")),
        ("the sound beside it", frame(MediaKind::Sound, false, false, false, 0, 4, 10, 48_000, 44, b"\xfc")),
        ("an Opus packet with a copy of the one before", {
            let payload = b"\xef\x0f\x00\x03\x6f\xf8\x01\x02\xf8\x03\x04\x05";
            red(frame(MediaKind::Audio, false, false, false, 0, 1, 8, 7680, 1_020_000_000, payload))
        }),
        ("no payload", frame(MediaKind::Audio, false, false, false, 3, 65_535, u32::MAX, 0, 0, b"")),
    ];
    let good: Vec<Value> = good
        .iter()
        .map(|(name, frame)| {
            assert_eq!(MediaFrame::decode(frame.encode()).as_ref(), Ok(frame));
            json!({
                "name": name,
                "kind": frame.kind.number(),
                "key": frame.key, "gap": frame.gap, "restart": frame.restart, "red": frame.red, "layer": frame.layer,
                "stream": frame.stream, "sequence": frame.sequence, "timestamp": frame.timestamp,
                "time_ns": frame.time_ns.to_string(), "payload": hex(&frame.payload), "bytes": hex(&frame.encode()),
            })
        })
        .collect();
    let bad: Vec<Value> = [("shorter than a header", vec![1; 19]), ("unknown kind", vec![9; 20]), ("empty", vec![])]
        .into_iter()
        .map(|(name, bytes)| {
            assert!(MediaFrame::decode(Bytes::from(bytes.clone())).is_err());
            json!({ "name": name, "bytes": hex(&bytes) })
        })
        .collect();
    let all = json!({ "spec": "specs/06-control-api.md", "version": 1, "good": good, "bad": bad });
    let text = serde_json::to_string_pretty(&all).unwrap() + "\n";
    check(&specs().join("vectors/media-frames.json"), &text);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The shell blocks of the specification that begin with `curl`.
fn curl_commands() -> Vec<String> {
    let text = std::fs::read_to_string(specs().join("06-control-api.md")).unwrap();
    let mut commands = Vec::new();
    for block in text.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n")) {
        for line in block.replace("\\\n", " ").lines().filter(|line| line.starts_with("curl")) {
            commands.push(line.to_owned());
        }
    }
    commands
}

#[tokio::test]
async fn the_curl_commands_of_the_specification_work() {
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("curl is not installed: the commands of the specification were not run");
        return;
    }
    let commands = curl_commands();
    assert!(commands.len() >= 8, "the specification has lost its examples");
    let bench = Bench::new().await;
    bench.node.befriend("bob");
    bench.node.befriend("Anna Lena");
    let ringing = bench.node.friend_calls("bob", false);
    for command in commands {
        let events = command.contains("/v1/events");
        let command = command
            .replace("$HOME/.local/share/twocan/control.sock", bench.socket.to_str().unwrap())
            .replace("$ADDRESS", &sample_address("carol"))
            .replace("$CALL", &ringing.id)
            .replacen("curl", "curl --silent --show-error --max-time 2", 1);
        let output = tokio::task::spawn_blocking({
            let command = command.clone();
            move || Command::new("sh").arg("-c").arg(command).output().unwrap()
        })
        .await
        .unwrap();
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if events {
            // It would go on for ever; the first line is what counts.
            assert!(stdout.starts_with(r#"{"event":"hello""#), "{command}\n{stdout}\n{stderr}");
            continue;
        }
        assert!(output.status.success(), "{command}\n{stdout}\n{stderr}");
        if !stdout.is_empty() {
            let value: Value = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{command}\n{stdout}"));
            let failed = value.get("code").is_some();
            let meant = command.contains("nobody");
            assert_eq!(failed, meant, "{command}\n{stdout}");
            if meant {
                assert_eq!(value["code"], json!(Code::NotFound));
            }
        }
    }
}
