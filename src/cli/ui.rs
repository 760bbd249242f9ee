//! The only door to the terminal: stdout is the result, stderr is the status.

use std::io::{IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anstyle::{AnsiColor, Style};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::text::{Ink, Page, Span, clean};
use crate::clock::Clock;

/// Columns where the terminal does not say how wide it is, and on pipes.
pub const WIDTH: usize = 80;
const NARROWEST: usize = 40;

/// The two streams of a process, and what is known of them.
pub struct Streams {
    pub out: Box<dyn Write + Send>,
    pub err: Box<dyn Write + Send>,
    /// Whether colour suits the stream where the user did not say (`NO_COLOR`, `CLICOLOR`, `TERM` and the kind of stream).
    pub out_colour: bool,
    pub err_colour: bool,
    pub err_terminal: bool,
    pub width: usize,
    pub height: usize,
}

impl Streams {
    pub fn standard() -> Self {
        let (out, err) = (std::io::stdout(), std::io::stderr());
        let terminal = err.is_terminal() || out.is_terminal();
        let size = terminal.then(terminal_size::terminal_size).flatten();
        let colour = |choice: anstream::ColorChoice| choice != anstream::ColorChoice::Never;
        Self {
            out_colour: colour(anstream::AutoStream::choice(&out)),
            err_colour: colour(anstream::AutoStream::choice(&err)),
            err_terminal: err.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
            width: size.map_or(WIDTH, |(width, _)| usize::from(width.0)).max(NARROWEST),
            height: size.map_or(24, |(_, height)| usize::from(height.0)),
            out: Box::new(out),
            err: Box::new(err),
        }
    }

    /// Two pipes whose other ends are kept, for tests.
    pub fn captured() -> (Self, Captured) {
        let captured = Captured::default();
        let streams = Self {
            out: Box::new(captured.out.clone()),
            err: Box::new(captured.err.clone()),
            out_colour: false,
            err_colour: false,
            err_terminal: false,
            width: WIDTH,
            height: 24,
        };
        (streams, captured)
    }
}

#[derive(Clone, Debug, Default)]
pub struct Captured {
    pub out: Buffer,
    pub err: Buffer,
}

#[derive(Clone, Debug, Default)]
pub struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.0)).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What the user asked of the door.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manners {
    /// `None`: as the streams suggest.
    pub colour: Option<bool>,
    /// Everything on stderr is one JSON object a line.
    pub json_status: bool,
}

#[derive(Clone)]
pub struct Ui(Arc<Inner>);

struct Inner {
    out: Mutex<Box<dyn Write + Send>>,
    err: Mutex<Box<dyn Write + Send>>,
    out_colour: bool,
    err_colour: bool,
    width: usize,
    height: usize,
    json_status: bool,
    /// Where lines that change are drawn; only on a terminal.
    live: Option<MultiProgress>,
    bar: Mutex<Option<ProgressBar>>,
    /// Nobody reads the result any more.
    out_closed: AtomicBool,
    /// The result could not be written although somebody wants it.
    out_lost: AtomicBool,
    clock: Arc<dyn Clock>,
}

impl Ui {
    pub fn new(streams: Streams, manners: Manners, clock: Arc<dyn Clock>) -> Self {
        let live = (streams.err_terminal && !manners.json_status)
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self(Arc::new(Inner {
            out: Mutex::new(streams.out),
            err: Mutex::new(streams.err),
            out_colour: manners.colour.unwrap_or(streams.out_colour),
            err_colour: manners.colour.unwrap_or(streams.err_colour),
            width: streams.width,
            height: streams.height,
            json_status: manners.json_status,
            live,
            bar: Mutex::default(),
            out_closed: AtomicBool::new(false),
            out_lost: AtomicBool::new(false),
            clock,
        }))
    }

    pub fn page(&self) -> Page {
        Page::new(self.0.width)
    }

    pub fn width(&self) -> usize {
        self.0.width
    }

    /// Lines that may change at the same time without pushing each other off the screen.
    pub fn live_rows(&self) -> usize {
        self.0.height.saturating_sub(3).clamp(1, 20)
    }

    pub fn is_live(&self) -> bool {
        self.0.live.is_some()
    }

    pub fn colour_of_result(&self) -> bool {
        self.0.out_colour
    }

    pub fn colour_of_status(&self) -> bool {
        self.0.err_colour
    }

    /// The result, for people.
    pub fn result(&self, page: &Page) {
        self.write_out(&paint(page, self.0.out_colour));
    }

    /// The result, for machines: as it is.
    pub fn data(&self, text: &str) {
        self.write_out(text);
    }

    /// Something that was not asked for: progress, warnings, errors, what to type next.
    pub fn status(&self, page: &Page) {
        if self.0.json_status {
            let message = page.plain();
            let line = serde_json::json!({ "time": self.0.clock.now().to_string(), "message": message.trim_end() });
            self.write_err(&format!("{line}\n"));
        } else {
            self.write_err(&paint(page, self.0.err_colour));
        }
    }

    /// What another library has laid out already (`clap`, the spec's problems); it has neutralised foreign text itself.
    pub fn status_as_is(&self, text: &str) {
        if self.0.json_status {
            let mut page = Page::new(usize::MAX);
            text.lines().for_each(|line| page.line(vec![Span::from(line)]));
            self.status(&page);
        } else {
            self.write_err(text);
        }
    }

    /// Draws these lines below everything else, in place of the ones before. One bar holds all of them, so that each change
    /// is one write and nothing flickers.
    pub fn live(&self, lines: &[Vec<Span>]) {
        let Some(live) = &self.0.live else { return };
        let mut bar = lock(&self.0.bar);
        if lines.is_empty() {
            if let Some(bar) = bar.take() {
                bar.finish_and_clear();
                live.remove(&bar);
            }
            return;
        }
        let painted: Vec<String> =
            lines.iter().map(|line| line.iter().map(|span| painted(span, self.0.err_colour)).collect()).collect();
        let text = painted.join("\n");
        let bar = bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            live.add(ProgressBar::new_spinner().with_style(style))
        });
        if bar.message() != text {
            bar.set_message(text);
        }
    }

    /// A reader that went away (`| head`) ends the output, not the work: an apply must not stop half-way for it.
    fn write_out(&self, text: &str) {
        if self.0.out_closed.load(Ordering::Relaxed) {
            return;
        }
        let write = || {
            let mut out = lock(&self.0.out);
            out.write_all(text.as_bytes()).and_then(|()| out.flush())
        };
        let written = match &self.0.live {
            Some(live) => live.suspend(write),
            None => write(),
        };
        if let Err(error) = written {
            self.0.out_closed.store(true, Ordering::Relaxed);
            if error.kind() != std::io::ErrorKind::BrokenPipe {
                self.0.out_lost.store(true, Ordering::Relaxed);
                self.write_err(&format!("error: cannot write the result: {}\n", clean(&error.to_string())));
            }
        }
    }

    /// Failures are ignored: there is nowhere left to report them.
    fn write_err(&self, text: &str) {
        match &self.0.live {
            Some(live) if lock(&self.0.bar).is_some() => drop(live.println(text.trim_end_matches('\n'))),
            _ => {
                let mut err = lock(&self.0.err);
                let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
            }
        }
    }

    /// Whether the result could not be written although its reader is there (a full disk).
    pub fn result_is_lost(&self) -> bool {
        self.0.out_lost.load(Ordering::Relaxed)
    }
}

/// Log lines go through the same door, so that they do not tear live lines.
impl Write for Ui {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let text = String::from_utf8_lossy(bytes);
        let lines: String = text.lines().map(|line| format!("{}\n", clean(line))).collect();
        self.write_err(&lines);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn style(ink: Ink) -> Style {
    let colour = |colour: AnsiColor| colour.on_default();
    match ink {
        Ink::Plain => Style::new(),
        Ink::Strong => Style::new().bold(),
        Ink::Faint => Style::new().dimmed(),
        Ink::Add => colour(AnsiColor::Green),
        Ink::Change => colour(AnsiColor::Yellow),
        Ink::Remove => colour(AnsiColor::Red),
        Ink::Warn => colour(AnsiColor::Yellow).bold(),
        Ink::Bad => colour(AnsiColor::Red).bold(),
    }
}

fn painted(span: &Span, colour: bool) -> String {
    if !colour || span.ink == Ink::Plain || span.text().trim().is_empty() {
        return span.text().to_owned();
    }
    let style = style(span.ink);
    format!("{style}{}{style:#}", span.text())
}

fn paint(page: &Page, colour: bool) -> String {
    let mut out = String::new();
    for line in page.lines() {
        line.iter().for_each(|span| out.push_str(&painted(span, colour)));
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::text::ink;
    use crate::clock::SystemClock;

    struct Broken(std::io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn page(text: &str) -> Page {
        let mut page = Page::new(WIDTH);
        page.line(vec![ink(Ink::Bad, text)]);
        page
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_and_a_full_disk_is() {
        for (kind, said) in [(std::io::ErrorKind::BrokenPipe, false), (std::io::ErrorKind::StorageFull, true)] {
            let (mut streams, captured) = Streams::captured();
            streams.out = Box::new(Broken(kind));
            let ui = Ui::new(streams, Manners::default(), Arc::new(SystemClock));
            ui.result(&page("one"));
            ui.result(&page("two"));
            assert_eq!(ui.result_is_lost(), said);
            assert_eq!(captured.err.text().lines().count(), usize::from(said), "{}", captured.err.text());
        }
    }

    #[test]
    fn colour_only_where_wanted_and_hostile_text_never_through() {
        for colour in [Some(true), Some(false), None] {
            let (streams, captured) = Streams::captured();
            let ui = Ui::new(streams, Manners { colour, json_status: false }, Arc::new(SystemClock));
            ui.result(&page("a\x1b[2Jb"));
            let text = captured.out.text();
            assert!(!text.contains("\x1b[2J"));
            assert_eq!(text.contains('\x1b'), colour == Some(true));
        }
    }

    #[test]
    fn json_status_is_one_object_a_line() {
        let (streams, captured) = Streams::captured();
        let ui = Ui::new(streams, Manners { colour: Some(true), json_status: true }, Arc::new(SystemClock));
        ui.status(&page("first"));
        ui.status_as_is("error: \"x\"\n  second line\n");
        let lines: Vec<serde_json::Value> = captured.err.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0]["message"], "first");
        assert_eq!(lines[1]["message"], "error: \"x\"\n  second line");
    }
}
