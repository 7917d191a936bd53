//! Where a file that comes is put: under a name that cannot do harm, beside what is there already, never over it.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use twocan_protocol::wire::Id;

/// Longest name in bytes: what file systems take is 255, and a number and an ending may be added.
const NAME: usize = 200;
/// Files of one name that are looked through.
const SAME_NAME: u32 = 10_000;

/// A harmless name for what the friend called so: one part of a path, not hidden, no special characters of any system.
pub(super) fn safe_name(name: &str) -> String {
    let plain = |c: char| match c {
        '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' => '_',
        c if c.is_control() => '_',
        c => c,
    };
    let clean: String = name.chars().map(plain).collect();
    let clean = clean.trim_start_matches(['.', ' ', '~', '-']).trim_end_matches(['.', ' ']);
    let (stem, ending) = split(clean);
    let ending = if ending.len() > 20 { "" } else { ending };
    let mut stem = if ending.is_empty() { clean } else { stem };
    while stem.len() + ending.len() > NAME {
        stem = &stem[..stem.len() - stem.chars().next_back().map_or(1, char::len_utf8)];
    }
    // Names of devices on Windows, with any ending.
    let word = stem.split('.').next().unwrap_or_default().to_ascii_uppercase();
    let device = matches!(word.as_str(), "CON" | "PRN" | "AUX" | "NUL")
        || (word.len() == 4 && (word.starts_with("COM") || word.starts_with("LPT")));
    match (stem.is_empty(), device) {
        (true, _) => format!("file{ending}"),
        (false, true) => format!("_{stem}{ending}"),
        (false, false) => format!("{stem}{ending}"),
    }
}

/// The name before its last point, and the rest with the point.
fn split(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(at) if at > 0 => name.split_at(at),
        _ => (name, ""),
    }
}

/// The file into which a transfer is written until it is whole. The beginning of its id keeps two of one name apart.
pub(super) fn part_path(folder: &Path, name: &str, id: &Id) -> PathBuf {
    folder.join(format!("{}.{}.part", safe_name(name), &id.to_string()[..8]))
}

/// Removes what has come of a transfer that is given up.
pub(crate) fn remove_part(folder: &Path, name: &str, id: &Id) {
    let path = part_path(folder, name, id);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != ErrorKind::NotFound => tracing::warn!("a part of a file stays: {error}"),
        _ => {}
    }
}

/// Gives a whole file its name; one that is taken gets a number.
pub(super) fn settle(part: &Path, folder: &Path, name: &str) -> io::Result<PathBuf> {
    let name = safe_name(name);
    let (stem, ending) = split(&name);
    for number in 1..=SAME_NAME {
        let path = if number == 1 { folder.join(&name) } else { folder.join(format!("{stem} ({number}){ending}")) };
        // Whoever makes the empty file has the name; only that one is written over.
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => {
                fs::rename(part, &path).inspect_err(|_| drop(fs::remove_file(&path)))?;
                return Ok(path);
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many files have this name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_leaves_the_folder_hides_or_steers() {
        for (name, safe) in [
            ("plan.pdf", "plan.pdf"),
            ("../../etc/passwd", "_.._etc_passwd"),
            ("..", "file"),
            ("", "file"),
            (".bashrc", "bashrc"),
            ("-rf", "rf"),
            ("a/b\\c", "a_b_c"),
            ("C:\\x.exe", "C__x.exe"),
            ("x\u{1b}[2J\n.txt", "x_[2J_.txt"),
            ("con.txt", "_con.txt"),
            ("LPT1", "_LPT1"),
            ("Übung (1).tar.gz", "Übung (1).tar.gz"),
            ("ends with points...", "ends with points"),
        ] {
            assert_eq!(safe_name(name), safe, "{name:?}");
        }
        let long = safe_name(&format!("{}.jpeg", "ö".repeat(300)));
        assert!(long.len() <= NAME && long.ends_with(".jpeg"));
        assert!(safe_name(&"x.".repeat(300)).len() <= NAME);
    }

    #[test]
    fn nothing_is_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let part = folder.path().join("p");
        let mut names = Vec::new();
        for n in 0..3 {
            fs::write(&part, format!("{n}")).unwrap();
            names.push(settle(&part, folder.path(), "a.txt").unwrap());
        }
        let texts: Vec<_> = names.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
        assert_eq!(texts, ["0", "1", "2"]);
        assert!(names[2].ends_with("a (3).txt") && !part.exists());
        // A link that leads elsewhere is a name that is taken.
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink("/nowhere", folder.path().join("b")).unwrap();
            fs::write(&part, "x").unwrap();
            assert!(settle(&part, folder.path(), "b").unwrap().ends_with("b (2)"));
        }
    }
}
