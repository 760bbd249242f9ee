//! Rows in aligned columns.

use crate::cli::text::{Ink, Page, Span, ink};

/// A table whose columns are as wide as their widest cell; an empty cell is shown as `-`.
#[derive(Debug)]
pub struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(headings: &[&'static str]) -> Self {
        Self { headings: headings.to_vec(), rows: vec![] }
    }

    pub fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells);
    }

    /// Lines are not wrapped: a table that is cut or wrapped can be neither read nor piped.
    pub fn page(&self) -> Page {
        let mut page = Page::new(usize::MAX);
        let spans = |row: &[String]| -> Vec<Span> {
            row.iter().map(|cell| Span::from(if cell.is_empty() { "-" } else { cell })).collect()
        };
        let rows: Vec<Vec<Span>> = self.rows.iter().map(|row| spans(row)).collect();
        let widest = |n: usize| {
            let cells = rows.iter().filter_map(|row| row.get(n)).map(Span::width);
            cells.chain(self.headings.get(n).map(|heading| heading.len())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.headings.len()).map(widest).collect();
        let headings = self.headings.iter().map(|heading| ink(Ink::Faint, heading)).collect();
        for row in std::iter::once(headings).chain(rows) {
            page.row(0, row.into_iter().zip(widths.iter().copied()).collect());
        }
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_align_by_what_a_reader_sees() {
        let mut table = Table::new(&["NAME", "ZONE", "ID"]);
        table.row(vec!["日本".into(), "a".into(), "i-1".into()]);
        table.row(vec!["x\x1b".into(), String::new(), "i-2".into()]);
        assert_eq!(table.page().plain(), "NAME     ZONE  ID\n日本     a     i-1\nx\\u{1b}  -     i-2\n");
    }
}
