//! The fonts: Inter and Phosphor come with the program, symbols and monospace with egui; other scripts are looked for
//! among the system's fonts when something first needs them, so that nobody pays for a large font in vain.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::epaint::text::{FontInsert, FontPriority, InsertFontFamily};
use eframe::egui::{self, FontData, FontDefinitions, FontFamily, FontId, FontTweak};

use super::letters;

/// A font file larger than this is not taken: the largest usual one (Noto Sans CJK) has under 20 MiB.
const MAX_FONT: u64 = 32 * 1024 * 1024;
/// Files of the system's font folders that are looked at, at most; and how deep folders go.
const MAX_FILES: usize = 20_000;
const MAX_DEPTH: usize = 6;
/// Characters that were looked for in vain are remembered up to this many; then none is looked for any more.
const MAX_MISSING: usize = 4096;

/// What the program begins with.
#[must_use]
pub fn definitions() -> FontDefinitions {
    let mut fonts = FontDefinitions::default();
    let ours: [(&str, &'static [u8]); 5] = [
        ("inter", include_bytes!("../../assets/fonts/Inter-Regular.otf")),
        ("inter-medium", include_bytes!("../../assets/fonts/Inter-Medium.otf")),
        ("inter-semibold", include_bytes!("../../assets/fonts/Inter-SemiBold.otf")),
        ("phosphor", include_bytes!("../../assets/fonts/Phosphor-Regular.ttf")),
        ("phosphor-fill", include_bytes!("../../assets/fonts/Phosphor-Fill.ttf")),
    ];
    for (name, bytes) in ours {
        let mut data = FontData::from_static(bytes);
        if name.starts_with("phosphor") {
            // Icons sit on the line of the letters' middle.
            data = data.tweak(FontTweak { y_offset_factor: 0.06, ..FontTweak::default() });
        }
        fonts.font_data.insert(name.to_owned(), Arc::new(data));
    }
    // egui's own proportional font gives way; its symbols stay behind ours.
    let symbols: Vec<String> = fonts.families[&FontFamily::Proportional]
        .iter()
        .filter(|name| name.to_lowercase().contains("emoji"))
        .cloned()
        .collect();
    let after = |first: &[&str]| first.iter().map(|name| (*name).to_owned()).chain(symbols.clone()).collect::<Vec<_>>();
    fonts.families.insert(FontFamily::Proportional, after(&["inter", "phosphor"]));
    fonts.families.insert(letters::medium(), after(&["inter-medium", "phosphor"]));
    fonts.families.insert(letters::semibold(), after(&["inter-semibold", "phosphor"]));
    fonts.families.insert(letters::icons(), after(&["phosphor"]));
    fonts.families.insert(letters::icons_filled(), after(&["phosphor-fill"]));
    fonts
}

/// Looks for fonts for what the ones at hand cannot write.
#[derive(Debug, Default)]
pub struct Fallback {
    missing: BTreeSet<char>,
    tried: BTreeSet<Script>,
}

/// Scripts that need a font of their own, with names that such fonts have on usual systems.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Script {
    Cjk,
    Hangul,
    Arabic,
    Hebrew,
    Devanagari,
    Bengali,
    Tamil,
    Thai,
    Georgian,
    Armenian,
    Ethiopic,
    Other,
}

impl Script {
    fn of(c: char) -> Self {
        match u32::from(c) {
            0x0530..=0x058F => Self::Armenian,
            0x0590..=0x05FF => Self::Hebrew,
            0x0600..=0x08FF | 0xFB50..=0xFDFF | 0xFE70..=0xFEFF => Self::Arabic,
            0x0900..=0x097F => Self::Devanagari,
            0x0980..=0x09FF => Self::Bengali,
            0x0B80..=0x0BFF => Self::Tamil,
            0x0E00..=0x0E7F => Self::Thai,
            0x10A0..=0x10FF => Self::Georgian,
            0x1100..=0x11FF | 0xAC00..=0xD7AF => Self::Hangul,
            0x1200..=0x139F => Self::Ethiopic,
            0x2E80..=0x9FFF | 0xF900..=0xFAFF | 0xFF00..=0xFFEF | 0x2_0000..=0x3_FFFF => Self::Cjk,
            _ => Self::Other,
        }
    }

    /// Beginnings of file names, the best first.
    fn files(self) -> &'static [&'static str] {
        match self {
            Self::Cjk | Self::Hangul => &[
                "NotoSansCJK-Regular",
                "NotoSansCJKjp-Regular",
                "NotoSansSC",
                "SourceHanSans-Regular",
                "wqy-microhei",
                "DroidSansFallback",
                "msyh",
                "malgun",
                "PingFang",
                "AppleSDGothicNeo",
            ],
            Self::Arabic => &["NotoSansArabic-Regular", "NotoNaskhArabic-Regular", "DejaVuSans", "segoeui", "GeezaPro"],
            Self::Hebrew => &["NotoSansHebrew-Regular", "DejaVuSans", "FreeSans", "segoeui", "ArialHB"],
            Self::Devanagari => &["NotoSansDevanagari-Regular", "Lohit-Devanagari", "FreeSans", "Nirmala"],
            Self::Bengali => &["NotoSansBengali-Regular", "Lohit-Bengali", "FreeSans", "Nirmala"],
            Self::Tamil => &["NotoSansTamil-Regular", "Lohit-Tamil", "FreeSans", "Nirmala"],
            Self::Thai => &["NotoSansThai-Regular", "Loma", "Garuda", "FreeSans", "LeelawUI"],
            Self::Georgian => &["NotoSansGeorgian-Regular", "DejaVuSans", "segoeui"],
            Self::Armenian => &["NotoSansArmenian-Regular", "DejaVuSans", "segoeui"],
            Self::Ethiopic => &["NotoSansEthiopic-Regular", "FreeSerif", "ebrima"],
            Self::Other => &["DejaVuSans", "NotoSans-Regular", "NotoSansSymbols2-Regular", "FreeSans", "seguisym"],
        }
    }
}

impl Fallback {
    /// Looks at what is about to be written; a font that is missing is read by a thread and shown when it is there.
    pub fn needs(&mut self, context: &egui::Context, text: &str) {
        if text.is_ascii() || self.missing.len() >= MAX_MISSING {
            return;
        }
        let id = FontId::new(letters::BODY, FontFamily::Proportional);
        let new: Vec<char> = text.chars().filter(|c| *c > '\u{7f}' && !self.missing.contains(c)).collect();
        let missing = context.fonts_mut(|fonts| {
            new.into_iter().filter(|c| !c.is_whitespace() && !fonts.has_glyph(&id, *c)).collect::<Vec<_>>()
        });
        for c in missing {
            self.missing.insert(c);
            let script = Script::of(c);
            if self.tried.insert(script) {
                let context = context.clone();
                // Without a thread the font stays missing; nothing else does.
                drop(std::thread::Builder::new().name("fonts".into()).spawn(move || load(&context, script)));
            }
        }
    }
}

fn load(context: &egui::Context, script: Script) {
    let Some(path) = find(&folders(), script.files()) else { return };
    let Ok(bytes) = std::fs::read(&path) else { return };
    let families = [FontFamily::Proportional, letters::medium(), letters::semibold()];
    let insert = |family| InsertFontFamily { family, priority: FontPriority::Lowest };
    let name = format!("system-{script:?}");
    context.add_font(FontInsert::new(&name, FontData::from_owned(bytes), families.into_iter().map(insert).collect()));
    context.request_repaint();
}

/// Where fonts are on this system.
fn folders() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        ["/usr/share/fonts", "/usr/local/share/fonts", "/System/Library/Fonts", "/Library/Fonts", "C:\\Windows\\Fonts"]
            .iter()
            .map(PathBuf::from)
            .collect();
    if let Some(home) = std::env::home_dir() {
        folders.push(home.join(".local/share/fonts"));
        folders.push(home.join(".fonts"));
    }
    folders
}

/// The file whose name begins with the first of these names that any file has.
fn find(folders: &[PathBuf], names: &[&str]) -> Option<PathBuf> {
    let mut files = Vec::new();
    for folder in folders {
        collect(folder, 0, &mut files);
    }
    names.iter().find_map(|name| {
        let fits = |path: &&PathBuf| {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            stem.eq_ignore_ascii_case(name) && std::fs::metadata(path).is_ok_and(|m| m.len() <= MAX_FONT)
        };
        files.iter().find(fits).cloned()
    })
}

fn collect(folder: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if files.len() >= MAX_FILES {
            return;
        }
        let path = entry.path();
        let Ok(kind) = entry.file_type() else { continue };
        let font = |path: &Path| {
            let end = path.extension().and_then(|end| end.to_str()).unwrap_or_default();
            ["ttf", "otf", "ttc", "otc"].iter().any(|known| end.eq_ignore_ascii_case(known))
        };
        if kind.is_dir() && depth < MAX_DEPTH {
            collect(&path, depth + 1, files);
        } else if font(&path) {
            files.push(path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_font_is_found_by_the_best_name_and_large_files_are_passed_over() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("truetype/x");
        std::fs::create_dir_all(&deep).unwrap();
        for name in ["DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "notosansarabic-regular.TTF", "readme.txt"] {
            std::fs::write(deep.join(name), b"x").unwrap();
        }
        let huge = std::fs::File::create(deep.join("NotoSansCJK-Regular.ttc")).unwrap();
        huge.set_len(MAX_FONT + 1).unwrap();
        let folders = [folder.path().to_owned(), PathBuf::from("/nowhere")];
        let name = |script: Script| find(&folders, script.files()).map(|p| p.file_name().unwrap().to_owned());
        assert_eq!(name(Script::Arabic).unwrap(), "notosansarabic-regular.TTF");
        assert_eq!(name(Script::Hebrew).unwrap(), "DejaVuSans.ttf");
        assert_eq!(name(Script::Cjk), None);
    }

    #[test]
    fn scripts_are_told_apart() {
        for (c, script) in [('م', Script::Arabic), ('名', Script::Cjk), ('한', Script::Hangul), ('ש', Script::Hebrew)]
        {
            assert_eq!(Script::of(c), script);
        }
    }
}
