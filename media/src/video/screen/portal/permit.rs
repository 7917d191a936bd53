//! The desktop's permit to share once more what was shared before: a word that stands for the person's choice. It is of
//! use to programs of the same person only, whose file it is.

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Longest permit that is read or kept, in bytes: portals use a UUID.
const MAX_PERMIT: u64 = 1024;

/// The permit in the file, if there is one.
pub(super) fn read(file: &Path) -> Option<String> {
    let mut text = String::new();
    std::fs::File::open(file).ok()?.take(MAX_PERMIT + 1).read_to_string(&mut text).ok()?;
    let permit = text.trim();
    let good = !permit.is_empty() && text.len() as u64 <= MAX_PERMIT && !permit.chars().any(char::is_control);
    good.then(|| permit.to_owned())
}

/// Keeps the permit, which replaces the one before: each is good for one time. None was given: then the file goes, because
/// the old one is used up.
pub(super) fn keep(file: &Path, permit: Option<&str>) {
    let kept = match permit.filter(|permit| permit.len() as u64 <= MAX_PERMIT) {
        Some(permit) => write(file, permit),
        None => std::fs::remove_file(file).or_else(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
    };
    if let Err(error) = kept {
        tracing::warn!(%error, "the desktop's permit to share again cannot be kept");
    }
}

fn write(file: &Path, permit: &str) -> std::io::Result<()> {
    let new = file.with_extension("new");
    let mut out = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(out, "{permit}")?;
    drop(out);
    std::fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_permit_is_kept_for_its_owner_until_there_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("permit");
        assert_eq!(read(&file), None);
        keep(&file, Some("4f1c-a"));
        assert_eq!(read(&file).as_deref(), Some("4f1c-a"));
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        keep(&file, Some("another"));
        assert_eq!(read(&file).as_deref(), Some("another"));
        keep(&file, None);
        keep(&file, None);
        assert_eq!((read(&file), file.exists()), (None, false));
        for wrong in ["", "  \n", "two\nlines", &"x".repeat(2000)] {
            std::fs::write(&file, wrong).unwrap();
            assert_eq!(read(&file), None, "{wrong:?}");
        }
    }
}
