//! Where a node lives: the one rule that node and clients share.

use std::path::PathBuf;

/// Environment variable that moves everything of a node to another folder.
pub const HOME_VARIABLE: &str = "TWOCAN_HOME";

/// The home folder: `$TWOCAN_HOME`, else `$XDG_DATA_HOME/twocan`, else `~/.local/share/twocan`
/// (macOS: `~/Library/Application Support/twocan`). `None` if not even `$HOME` is set.
pub fn home() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set(HOME_VARIABLE).or_else(|| {
        if cfg!(target_os = "macos") {
            set("HOME").map(|home| home.join("Library/Application Support/twocan"))
        } else {
            set("XDG_DATA_HOME")
                .or_else(|| set("HOME").map(|home| home.join(".local/share")))
                .map(|data| data.join("twocan"))
        }
    })
}

/// The control socket inside a home. Paths over 100 bytes do not fit a Unix socket address; the node and the client
/// then both use `$XDG_RUNTIME_DIR` or `/tmp`, in a 0700 folder named by a hash of the home. Symbolic links and relative
/// paths are resolved first, so that every way to write a home leads to one socket.
pub fn socket(home: &std::path::Path) -> PathBuf {
    let home = home.canonicalize().unwrap_or_else(|_| home.to_owned());
    let direct = home.join("control.sock");
    if direct.as_os_str().len() <= 100 {
        return direct;
    }
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in home.as_os_str().as_encoded_bytes() {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from);
    base.join(format!("twocan-{hash:016x}")).join("control.sock")
}

/// The file that tells port and token of the control server on systems without Unix sockets.
pub fn token_file(home: &std::path::Path) -> PathBuf {
    home.join("control.token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_write_a_home_leads_to_one_short_socket() {
        let base = std::env::temp_dir().join(format!("twocan-paths-{}", std::process::id()));
        let deep = base.join("x".repeat(120));
        std::fs::create_dir_all(&deep).unwrap();
        let socket_of = |home: &std::path::Path| socket(home);
        assert_eq!(socket_of(&base), base.canonicalize().unwrap().join("control.sock"));
        assert_eq!(socket_of(&base.join(".").join("..").join(base.file_name().unwrap())), socket_of(&base));
        assert!(socket_of(&deep).as_os_str().len() <= 100);
        assert_eq!(socket_of(&deep.join(".")), socket_of(&deep));
        std::fs::remove_dir_all(&base).unwrap();
    }
}
