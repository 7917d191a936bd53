//! Choosing a file: the same on every system, by keyboard and pointer, without a toolkit of the desktop.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use eframe::egui::{Align2, CornerRadius, CursorIcon, FontId, ScrollArea, Sense, Ui, Vec2, WidgetInfo, WidgetType};

use crate::design::dialog::Main;
use crate::design::{Choice, Field, card, dialog, focus_ring, icon_button, one_line, plain};
use crate::local::{Entry, Local};
use crate::text::{self, t, ui as w};
use crate::theme::{Palette, icons, letters};

/// Height of an entry.
const ROW: f32 = 36.0;

/// What the file is for.
#[derive(Clone, Debug, PartialEq)]
pub enum For {
    /// To be sent to this friend.
    Send(String),
    /// To look for a QR code in.
    Scan,
    /// My picture.
    Portrait,
    /// A backup to restore from.
    Backup,
    /// A folder for files that come.
    Downloads,
    /// To be written.
    Save(Arc<[u8]>),
}

/// A file that is being chosen.
#[derive(Clone, Debug)]
pub struct Picker {
    /// What for.
    pub purpose: For,
    folder: PathBuf,
    name: String,
    entries: Option<Result<Vec<Entry>, String>>,
    chosen: Option<usize>,
}

impl Picker {
    /// Chooses a file that is there, beginning in the person's home.
    #[must_use]
    pub fn open(purpose: For, local: &Local) -> Self {
        let folder = std::env::home_dir().unwrap_or_else(|| PathBuf::from("/"));
        local.folder(folder.clone());
        Self { purpose, folder, name: String::new(), entries: None, chosen: None }
    }

    /// Chooses where to write.
    #[must_use]
    pub fn save(name: &str, bytes: Arc<[u8]>, local: &Local) -> Self {
        Self { name: name.to_owned(), ..Self::open(For::Save(bytes), local) }
    }

    /// Shows entries that are given: for tests.
    #[must_use]
    pub fn of(purpose: For, folder: &Path, entries: Vec<Entry>) -> Self {
        Self { purpose, folder: folder.into(), name: String::new(), entries: Some(Ok(entries)), chosen: None }
    }

    /// Takes in what is in a folder.
    pub fn listed(&mut self, path: PathBuf, entries: Result<Vec<Entry>, String>) {
        if path == self.folder {
            self.entries = Some(entries);
        }
    }

    fn enter(&mut self, folder: PathBuf, local: &Local) {
        local.folder(folder.clone());
        (self.folder, self.entries, self.chosen) = (folder, None, None);
    }

    fn shown(&self, entry: &Entry) -> bool {
        let end = |known: &[&str]| {
            let name = entry.name.to_lowercase();
            known.iter().any(|end| name.ends_with(end))
        };
        entry.folder
            || match self.purpose {
                For::Scan | For::Portrait => end(&[".png", ".jpg", ".jpeg"]),
                For::Downloads => false,
                For::Send(_) | For::Backup | For::Save(_) => true,
            }
    }

    fn title(&self) -> &'static str {
        t(match self.purpose {
            For::Send(_) => w::CHOOSE_FILE,
            For::Scan | For::Portrait => w::CHOOSE_PICTURE,
            For::Backup => w::CHOOSE_BACKUP,
            For::Downloads => w::CHOOSE_FOLDER,
            For::Save(_) => w::SAVE_AS,
        })
    }

    /// What would be taken now.
    fn result(&self) -> Option<PathBuf> {
        match &self.purpose {
            For::Downloads => Some(self.folder.clone()),
            For::Save(_) => {
                let name = self.name.trim();
                let plain = !name.is_empty() && !name.contains(['/', '\\']) && name != "." && name != "..";
                plain.then(|| self.folder.join(name))
            }
            _ => {
                let entries = self.entries.as_ref()?.as_ref().ok()?;
                let entry = entries.get(self.chosen?)?;
                (!entry.folder).then(|| self.folder.join(&entry.name))
            }
        }
    }

    /// Shows it. Done with a path, closed, or still open.
    pub fn show(&mut self, ui: &Ui, local: &Local) -> Option<Option<PathBuf>> {
        let label = t(match self.purpose {
            For::Send(_) => w::SEND,
            For::Save(_) => w::SAVE,
            _ => w::CHOOSE,
        });
        let title = self.title();
        let main = Main { label, danger: false, enabled: self.result().is_some() };
        let mut into = None;
        let mut taken = false;
        let choice = dialog(ui, "picker", title, 560.0, Some(main), |ui| {
            ui.horizontal(|ui| {
                if icon_button(ui, icons::ARROW_UP, t(w::FOLDER_UP)).clicked()
                    && let Some(up) = self.folder.parent()
                {
                    into = Some(up.to_owned());
                }
                if icon_button(ui, icons::HOUSE, t(w::HOME)).clicked() {
                    into = std::env::home_dir();
                }
                let path = self.folder.display().to_string();
                let (rect, _) = ui.allocate_exact_size(Vec2::new(ui.available_width(), 38.0), Sense::hover());
                let at = rect.left_center() - Vec2::new(0.0, 9.0);
                one_line(ui.painter(), at, &path, plain(letters::SMALL), Palette::of(ui).quiet, rect.width());
            });
            self.list(ui, &mut into, &mut taken);
            if matches!(self.purpose, For::Save(_)) {
                ui.add_space(6.0);
                return Field::new(&mut self.name, t(w::NAME), "").most(200).show(ui).enter;
            }
            taken
        });
        if let Some(folder) = into {
            self.enter(folder, local);
        }
        match choice {
            Choice::Open => None,
            Choice::Closed => Some(None),
            Choice::Done => Some(self.result()),
        }
    }

    fn list(&mut self, ui: &mut Ui, into: &mut Option<PathBuf>, taken: &mut bool) {
        let height = (ui.ctx().content_rect().height() - 330.0).clamp(120.0, 340.0);
        let entries = match &self.entries {
            Some(Ok(entries)) => entries,
            Some(Err(error)) => {
                ui.allocate_ui(Vec2::new(ui.available_width(), height), |ui| card::note(ui, error.clone()));
                return;
            }
            None => {
                ui.allocate_ui(Vec2::new(ui.available_width(), height), |ui| ui.spinner());
                return;
            }
        };
        let palette = Palette::of(ui);
        let rows: Vec<usize> = (0..entries.len()).filter(|at| self.shown(&entries[*at])).collect();
        let mut chosen = self.chosen;
        let area = ScrollArea::vertical().id_salt("files").max_height(height).min_scrolled_height(height);
        ui.spacing_mut().item_spacing.y = 0.0;
        area.auto_shrink([false, false]).show_rows(ui, ROW, rows.len(), |ui, seen| {
            for at in rows.get(seen).into_iter().flatten().copied() {
                let entry = &entries[at];
                let (rect, response) = ui.allocate_exact_size(Vec2::new(ui.available_width(), ROW), Sense::click());
                let is = chosen == Some(at);
                response.widget_info(|| WidgetInfo::selected(WidgetType::SelectableLabel, true, is, &entry.name));
                if is || response.hovered() {
                    let fill = if is { palette.chosen } else { palette.hover };
                    ui.painter().rect_filled(rect, CornerRadius::same(8), fill);
                }
                focus_ring(ui, &response, rect.shrink(2.0), 8);
                let icon = if entry.folder { icons::FOLDER } else { icons::FILE };
                let font = FontId::new(20.0, if entry.folder { letters::icons_filled() } else { letters::icons() });
                let ink = if entry.folder { palette.accent_text } else { palette.quiet };
                ui.painter().text(rect.left_center() + Vec2::new(20.0, 0.0), Align2::CENTER_CENTER, icon, font, ink);
                let name = text::clean_to(&entry.name, 200);
                let at_name = rect.left_center() + Vec2::new(42.0, -9.0);
                one_line(ui.painter(), at_name, &name, plain(14.5), palette.text, rect.width() - 130.0);
                if !entry.folder {
                    let right = rect.right_center() - Vec2::new(10.0, 0.0);
                    let size = text::size(entry.size);
                    ui.painter().text(right, Align2::RIGHT_CENTER, size, plain(12.5), palette.faint);
                }
                let response = response.on_hover_cursor(CursorIcon::PointingHand);
                if response.clicked() {
                    if entry.folder {
                        *into = Some(self.folder.join(&entry.name));
                    }
                    chosen = Some(at);
                }
                if response.double_clicked() && !entry.folder {
                    *taken = true;
                }
            }
        });
        if rows.is_empty() {
            card::note(ui, t(w::FOLDER_EMPTY));
        }
        self.chosen = chosen;
    }
}
