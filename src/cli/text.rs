//! Lines of text with ink: what renderers make and [`crate::cli::ui`] writes.
//!
//! Every span is cleaned when it is made, so that no text of AWS or of a node can move the cursor; ink becomes colour at the
//! door only, so that widths are those of what a reader sees.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// What a span means. Colour repeats it and never says more than the words do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ink {
    #[default]
    Plain,
    Strong,
    Faint,
    Add,
    Change,
    Remove,
    Warn,
    Bad,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    pub ink: Ink,
    text: String,
}

impl Span {
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn width(&self) -> usize {
        self.text.width()
    }
}

impl<T: AsRef<str>> From<T> for Span {
    fn from(text: T) -> Self {
        ink(Ink::Plain, text)
    }
}

pub fn ink(ink: Ink, text: impl AsRef<str>) -> Span {
    Span { ink, text: clean(text.as_ref()) }
}

/// Control characters and marks that change the direction of text become visible; line ends and tabs become spaces.
pub fn clean(text: &str) -> String {
    if !text.chars().any(is_hostile) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => out.push(' '),
            '\r' => {}
            c if is_hostile(c) => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// At most `width` columns; what was cut off is marked by `...`.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > width.saturating_sub(3) {
            break;
        }
        used += wide;
        out.push(c);
    }
    out.push_str("...".get(..width.min(3)).unwrap_or_default());
    out
}

/// Text for one stream, laid out for a width.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Columns; only a single word that is longer may stick out.
    pub width: usize,
    lines: Vec<Vec<Span>>,
}

/// Part of a [`Page::row`]: a span, and the least number of columns that it takes.
pub type Cell = (Span, usize);

impl Page {
    pub fn new(width: usize) -> Self {
        Self { width, lines: vec![] }
    }

    pub fn lines(&self) -> &[Vec<Span>] {
        &self.lines
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn blank(&mut self) {
        self.lines.push(vec![]);
    }

    pub fn append(&mut self, mut other: Self) {
        self.lines.append(&mut other.lines);
    }

    /// One line as it is.
    pub fn line(&mut self, spans: Vec<Span>) {
        self.lines.push(spans);
    }

    /// Words, wrapped; the second and later lines stand at `hang`.
    pub fn flow(&mut self, indent: usize, hang: usize, spans: Vec<Span>) {
        let mut line = indented(indent);
        let mut used = indent;
        let mut empty = true;
        for span in spans {
            for word in span.text.split_inclusive(' ') {
                let wide = word.trim_end().width();
                if !empty && used + wide > self.width {
                    self.lines.push(trimmed(std::mem::replace(&mut line, indented(hang))));
                    used = hang;
                    empty = true;
                }
                if empty && word.trim().is_empty() {
                    continue;
                }
                used += word.width();
                empty = false;
                match line.last_mut() {
                    Some(last) if last.ink == span.ink => last.text.push_str(word),
                    _ => line.push(Span { ink: span.ink, text: word.to_owned() }),
                }
            }
        }
        self.lines.push(trimmed(line));
    }

    /// Cells side by side, two spaces between them. A cell that does not fit goes below the first one, wrapped.
    pub fn row(&mut self, indent: usize, cells: Vec<Cell>) {
        let below = indent + 4;
        let mut line = indented(indent);
        let mut used = indent;
        let mut gap = 0;
        for (n, (span, least)) in cells.into_iter().filter(|(span, least)| !span.text.is_empty() || *least > 0).enumerate() {
            let wide = span.width();
            if used + gap + wide <= self.width || wide == 0 {
                line.push(Span { ink: Ink::Plain, text: " ".repeat(gap) });
                line.push(span);
                used += gap + wide;
                gap = least.saturating_sub(wide) + 2;
                continue;
            }
            if n > 0 {
                self.lines.push(trimmed(line));
            }
            let mut inner = Self::new(self.width);
            inner.flow(if n > 0 { below } else { indent }, below, vec![span]);
            line = inner.lines.pop().unwrap_or_default();
            self.lines.append(&mut inner.lines);
            used = line.iter().map(Span::width).sum();
            gap = 2;
        }
        self.lines.push(trimmed(line));
    }

    /// `label` in a column of its own, the text wrapped beside it.
    pub fn labelled(&mut self, indent: usize, column: usize, label: &str, text: Vec<Span>) {
        let mut spans = vec![ink(Ink::Faint, format!("{label:<column$}"))];
        let hang = indent + column.max(label.width());
        if label.width() >= column {
            spans.push(Span::from(" "));
        }
        spans.extend(text);
        self.flow(indent, hang, spans);
    }

    /// Without ink; each line ends in a line feed.
    pub fn plain(&self) -> String {
        let mut out = String::new();
        for line in &self.lines {
            line.iter().for_each(|span| out.push_str(&span.text));
            out.push('\n');
        }
        out
    }
}

fn indented(columns: usize) -> Vec<Span> {
    vec![Span { ink: Ink::Plain, text: " ".repeat(columns) }]
}

fn trimmed(mut line: Vec<Span>) -> Vec<Span> {
    while let Some(last) = line.last_mut() {
        let end = last.text.trim_end().len();
        last.text.truncate(end);
        if !last.text.is_empty() {
            break;
        }
        line.pop();
    }
    line
}

/// `1 node`, `3 nodes`.
pub fn count(n: usize, one: &str) -> String {
    if n == 1 { format!("1 {one}") } else { format!("{n} {one}s") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hostile_text_becomes_visible() {
        assert_eq!(clean("a\x1b[31mb\r\nc\u{202e}d"), "a\\u{1b}[31mb c\\u{202e}d");
    }

    #[test]
    fn a_cell_that_does_not_fit_goes_below() {
        let mut page = Page::new(30);
        page.row(2, vec![("one".into(), 6), ("two".into(), 6), ("a reason that is too long for it".into(), 0)]);
        assert_eq!(page.plain(), "  one     two\n      a reason that is too\n      long for it\n");
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_page_unless_a_word_is(
            words in proptest::collection::vec("[a-z]{1,12}", 0..40), width in 30usize..100, indent in 0usize..8,
        ) {
            let text = words.join(" ");
            let mut page = Page::new(width);
            page.flow(indent, indent + 2, vec![Span::from(&text)]);
            page.row(indent, vec![(Span::from(&text), 0), (Span::from(&text), 10), (Span::from("end"), 0)]);
            page.labelled(indent, 10, "label", vec![Span::from(&text)]);
            for line in page.plain().lines() {
                prop_assert!(line.width() <= width, "{:?}", line);
            }
            prop_assert_eq!(page.plain().split_whitespace().count(), words.len() * 4 + 2, "a word was lost");
        }

        #[test]
        fn a_cut_text_fits(text in "\\PC{0,60}", width in 0usize..50) {
            prop_assert!(cut(&text, width).width() <= width);
        }
    }
}
