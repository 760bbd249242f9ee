//! Problems as a person reads them: the line, the place in it, what would be right.

use std::borrow::Cow;
use std::fmt;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use super::place::line_around;
use super::problem::{Problem, Problems, Severity, is_control};

/// More than this nobody reads; the rest is counted.
const SHOWN: usize = 100;
/// A longer line is not shown: it is not text that a person wrote.
const LONGEST_LINE: usize = 8192;

impl Problems {
    /// Every problem with its line, then one line of totals. `width` in columns; ends with a line feed.
    pub fn render(&self, width: usize, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() }.term_width(width.max(40));
        let mut out = String::new();
        for problem in self.list.iter().take(SHOWN) {
            out.push_str(&renderer.render(&[self.group(problem)]));
            out.push('\n');
        }
        let rest = self.list.len().saturating_sub(SHOWN);
        if rest > 0 {
            out.push_str(&format!("... and {rest} more\n"));
        }
        let file: String = self.file.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        let (errors, warnings) = (self.errors(), self.list.len() - self.errors());
        let count = |n: usize, word: &str| format!("{n} {word}{}", if n == 1 { "" } else { "s" });
        let totals = [(errors, "error"), (warnings, "warning")];
        let totals: Vec<String> = totals.into_iter().filter(|(n, _)| *n > 0).map(|(n, word)| count(n, word)).collect();
        match (errors, totals.is_empty()) {
            (_, true) => {}
            (0, false) => out.push_str(&format!("{file}: {}\n", totals.join(", "))),
            (_, false) => out.push_str(&format!("{file}: {}; nothing was changed\n", totals.join(", "))),
        }
        out
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let level = match problem.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let mut group = Group::with_title(level.primary_title(&problem.message));
        if let Some(place) = &problem.place {
            let (start, line) = line_around(&self.source, place.start);
            let inside = |byte: usize| line.floor_char_boundary(byte.saturating_sub(start).min(line.len()));
            group = if problem.hidden || line.len() > LONGEST_LINE {
                group.element(Origin::path(&self.file).line(place.line).char_column(place.column))
            } else {
                let span = inside(place.start)..inside(place.end);
                group.element(
                    Snippet::source(visible(line))
                        .path(&self.file)
                        .line_start(place.line)
                        .annotation(AnnotationKind::Primary.span(span)),
                )
            };
        }
        if let Some(help) = &problem.help {
            group = group.element(Level::HELP.message(help));
        }
        group
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(100, false).trim_end())
    }
}

impl std::error::Error for Problems {}

/// Replaces the characters that the renderer does not neutralise by others of as many bytes, so that offsets stay.
fn visible(line: &str) -> Cow<'_, str> {
    let odd = |c: char| !c.is_ascii() && is_control(c);
    if !line.contains(odd) {
        return Cow::Borrowed(line);
    }
    let stand_in = |c: char| if c.len_utf8() == 2 { '\u{b7}' } else { '\u{fffd}' };
    Cow::Owned(line.chars().map(|c| if odd(c) { stand_in(c) } else { c }).collect())
}
