//! Tables: aligned with headings on a terminal, tab-separated without headings in a pipe.

use super::{Colour, Style};

/// Rows under headings.
#[derive(Clone, Debug, Default)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// A cell with an optional colour.
#[derive(Clone, Debug, Default)]
pub struct Cell {
    text: String,
    colour: Option<Colour>,
}

impl Cell {
    /// A coloured cell.
    pub fn painted(colour: Colour, text: impl Into<String>) -> Self {
        Self { text: text.into(), colour: Some(colour) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), colour: None }
    }
}

impl Table {
    /// An empty table.
    pub fn new<const N: usize>(headings: [&'static str; N]) -> Self {
        Self { headings: headings.to_vec(), rows: Vec::new() }
    }

    /// Adds a row. Missing cells are empty.
    pub fn row<const N: usize>(&mut self, cells: [Cell; N]) {
        self.rows.push(cells.into());
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text.
    pub fn render(&self, style: Style) -> String {
        if style.terminal { self.aligned(style) } else { self.plain() }
    }

    fn plain(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| cell.text.replace('\t', " ")).collect();
            out.push_str(&cells.join("\t"));
            out.push('\n');
        }
        out
    }

    fn aligned(&self, style: Style) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| width(&cell.text));
                cells.chain([width(self.headings[column])]).max().unwrap_or(0)
            })
            .collect();
        let mut out = String::new();
        let headings: Vec<Cell> = self.headings.iter().map(|text| Cell::painted(Colour::Dim, *text)).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (cell, wide) in row.iter().zip(&widths) {
                let painted = cell.colour.map_or_else(|| cell.text.clone(), |colour| style.paint(colour, &cell.text));
                line.push_str(&painted);
                line.push_str(&" ".repeat(wide.saturating_sub(width(&cell.text)) + 2));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// Columns that text takes on a terminal: wide East Asian characters and emoji take two, combining marks none.
fn width(text: &str) -> usize {
    text.chars()
        .map(|c| match u32::from(c) {
            0x300..=0x36f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
            0x1100..=0x115f
            | 0x2e80..=0xa4cf
            | 0xac00..=0xd7a3
            | 0xf900..=0xfaff
            | 0xfe30..=0xfe6f
            | 0xff00..=0xff60
            | 0xffe0..=0xffe6
            | 0x1f300..=0x1faff
            | 0x20000..=0x3fffd => 2,
            _ => 1,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(["name", "state"]);
        table.row(["bob".into(), Cell::painted(Colour::Green, "online")]);
        table.row(["日本".into(), "away".into()]);
        table
    }

    #[test]
    fn people_get_columns() {
        let style = Style { terminal: true, ..Style::default() };
        assert_eq!(table().render(style), "name  state\nbob   online\n日本  away\n");
    }

    #[test]
    fn programs_get_tabs() {
        assert_eq!(table().render(Style::default()), "bob\tonline\n日本\taway\n");
    }
}
