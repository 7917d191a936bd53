//! Backup and restore: the encrypted file, and the 24 words.

use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use twocan_control::paths::HOME_VARIABLE;
use twocan_control::{BackupRequest, Handle, Passphrase};

use crate::exit::{Exit, Failure};
use crate::output::Out;
use crate::{process, prompt};

/// Largest backup file that is read: thousands of friends fit many times over.
const MAX_BACKUP: u64 = 16 << 20;
/// Longest message of the node that is passed on.
const MAX_MESSAGE: u64 = 16 << 10;

/// Writes a file that must not exist yet, for its owner alone (0600), completely or not at all.
pub fn write_new(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(|error| {
        let failure = Failure::file(path, "write", &error);
        match error.kind() {
            std::io::ErrorKind::AlreadyExists => failure.hint("choose another name, or remove that file first"),
            _ => failure,
        }
    })?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(|error| {
        // The half of a file is worse than none.
        let _ = std::fs::remove_file(path);
        Failure::file(path, "write", &error)
    })
}

/// Writes an encrypted backup.
pub async fn backup<H: Handle>(node: &H, file: &Path, out: &mut Out) -> Result<Exit, Failure> {
    if file.exists() {
        return Err(Failure::new(Exit::Storage, format!("{} exists already", file.display()))
            .hint("choose another name, or remove that file first"));
    }
    let passphrase = prompt::new_passphrase("passphrase for the backup (at least 8 characters): ")?;
    let backup = node.backup(BackupRequest { passphrase: Passphrase { passphrase } }).await?;
    let bytes = hex::decode(&backup.file_hex)
        .map_err(|error| Failure::new(Exit::Internal, format!("the node gave a backup that is no hex: {error}")))?;
    write_new(file, &bytes)?;
    out.done(&format!("Written: {}. Without the passphrase it is worthless: keep that, too.", file.display()))?;
    Ok(Exit::Ok)
}

/// Gets an identity back, before a node of this home exists.
pub fn restore(home: &Path, file: Option<&Path>, out: &mut Out) -> Result<Exit, Failure> {
    if home.join("identity.key").exists() {
        return Err(Failure::new(Exit::Conflict, format!("the home {} has an identity already", home.display()))
            .hint("give another folder: `twocan --home DIR restore`"));
    }
    let material = match file {
        Some(path) => {
            let mut bytes = Vec::new();
            let opened = std::fs::File::open(path).map_err(|error| Failure::file(path, "read", &error))?;
            let read = opened.take(MAX_BACKUP + 1).read_to_end(&mut bytes);
            if read.map_err(|error| Failure::file(path, "read", &error))? as u64 > MAX_BACKUP {
                return Err(Failure::new(Exit::Usage, format!("{} is too large for a backup", path.display())));
            }
            let passphrase = prompt::secret("passphrase of the backup: ")?;
            json!({ "file_hex": hex::encode(bytes), "passphrase": passphrase })
        }
        None => json!({ "words": prompt::secret("your 24 words: ")?.split_whitespace().collect::<Vec<_>>().join(" ") }),
    };
    let said = hand_over(home, &material)?;
    out.done(&format!(
        "The identity is back: {}. Start the node with `twocan up`.",
        crate::format::clean_line(said.trim())
    ))?;
    Ok(Exit::Ok)
}

/// Runs `twocand restore` with the material on its standard input, where no other process can see it. Gives back what it
/// says about what was restored.
///
/// # Errors
/// What the node says against it.
pub fn hand_over(home: &Path, material: &serde_json::Value) -> Result<String, Failure> {
    process::make_home(home)?;
    let program = process::find()?;
    let mut child = Command::new(&program)
        .arg("restore")
        .env(HOME_VARIABLE, home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| Failure::file(&program, "start", &error))?;
    if let Some(mut input) = child.stdin.take() {
        // A node that refuses before reading says why on its standard error, which is read below.
        let _ = input.write_all(material.to_string().as_bytes());
    }
    let (mut told, mut said) = (String::new(), String::new());
    if let (Some(output), Some(errors)) = (child.stdout.take(), child.stderr.take()) {
        // What is no text is no message. Both are a line or two: neither pipe fills while the other is read.
        let _ = output.take(MAX_MESSAGE).read_to_string(&mut told);
        let _ = errors.take(MAX_MESSAGE).read_to_string(&mut said);
    }
    let status = child.wait().map_err(|error| Failure::file(&program, "wait for", &error))?;
    if status.success() {
        return Ok(told);
    }
    Err(refused(&said, status.code()))
}

/// The node's words as a failure: its first line is the sentence, a line with "hint: " the advice.
fn refused(said: &str, code: Option<i32>) -> Failure {
    let mut lines = said.lines().map(str::trim).filter(|line| !line.is_empty());
    let sentence = lines.next().unwrap_or("the node could not restore the identity and did not say why");
    let exit = match code {
        Some(9) => Exit::WrongPassphrase,
        Some(13) => Exit::Storage,
        _ => Exit::Usage,
    };
    let failure = Failure::new(exit, sentence.trim_start_matches("twocand: "));
    match lines.find_map(|line| line.strip_prefix("hint: ")) {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_never_overwrites_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("b");
        write_new(&path, b"one").unwrap();
        let failure = write_new(&path, b"two").unwrap_err();
        assert_eq!(failure.exit, Exit::Storage);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
    }

    #[test]
    fn what_the_node_says_about_a_restore_is_passed_on() {
        let failure = refused("twocand: the passphrase is wrong\nhint: try again\n", Some(9));
        assert_eq!((failure.exit, failure.message.as_str()), (Exit::WrongPassphrase, "the passphrase is wrong"));
        assert_eq!(failure.hint.as_deref(), Some("try again"));
    }
}
