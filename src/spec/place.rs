//! Byte ranges of the file as lines and columns.

use std::cell::Cell;
use std::ops::Range;

/// Byte range in the spec.
pub(crate) type Span = Range<usize>;

/// Where in the spec: line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub line: usize,
    pub column: usize,
    /// Byte range; on character boundaries and inside the file.
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct At<T> {
    pub value: T,
    pub span: Span,
}

/// Starts of the lines of a text.
#[derive(Debug)]
pub(crate) struct Lines<'t> {
    text: &'t str,
    starts: Vec<usize>,
    /// The last place asked for, as (line, byte, columns before it): many problems in one long line stay linear.
    last: Cell<(usize, usize, usize)>,
}

impl<'t> Lines<'t> {
    pub fn new(text: &'t str) -> Self {
        let starts =
            std::iter::once(0).chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts, last: Cell::new((0, 0, 0)) }
    }

    /// Number of the line, from 0, that holds a byte.
    pub fn line_of(&self, byte: usize) -> usize {
        self.starts.partition_point(|start| *start <= byte).saturating_sub(1)
    }

    /// A span of any origin is brought inside the text and on character boundaries.
    pub fn place(&self, span: &Span) -> Place {
        let start = self.text.floor_char_boundary(span.start);
        let end = self.text.floor_char_boundary(span.end.max(start));
        let line = self.line_of(start);
        let line_start = self.starts.get(line).copied().unwrap_or_default();
        let (from, before) = match self.last.get() {
            (last_line, byte, columns) if last_line == line && byte <= start => (byte, columns),
            _ => (line_start, 0),
        };
        let column = before + self.text.get(from..start).unwrap_or_default().chars().count();
        self.last.set((line, start, column));
        Place { line: line + 1, column: column + 1, start, end }
    }
}

/// The line that holds `byte`, without its end, and where it begins.
pub(crate) fn line_around(text: &str, byte: usize) -> (usize, &str) {
    let byte = text.floor_char_boundary(byte);
    let start = text.get(..byte).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let rest = text.get(start..).unwrap_or_default();
    let line = rest.split('\n').next().unwrap_or_default();
    (start, line.strip_suffix('\r').unwrap_or(line))
}
