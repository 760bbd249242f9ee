//! A [`Timeline`] as a picture: SVG without scripts, fonts or anything else from outside. Pure.

use svg::Document;
use svg::node::Node;
use svg::node::element::{Line, Rectangle, Style, Text, Title};
use unicode_width::UnicodeWidthStr;

use super::timeline::{Bar, CONNECT, Ended, Step, Timeline};
use crate::clock::in_words;
use crate::plan::NodeTask;

const WIDTH: f64 = 1280.0;
const MARGIN: f64 = 20.0;
/// Of letters of the size of labels: an estimate, on the wide side.
const LETTER: f64 = 6.6;
const ROW: f64 = 26.0;
const BAR: f64 = 18.0;
const THIN: f64 = 7.0;
const LONGEST_NAME: usize = 40;

/// The whole picture. Text from outside is escaped, and what XML cannot hold is replaced.
pub fn svg(timeline: &Timeline, title: &str) -> String {
    let lanes = lanes(&timeline.account);
    let names = timeline.machines.keys().map(|name| name.width()).chain(timeline.phases.iter().map(|phase| phase.name.width()));
    let left = MARGIN + names.max().unwrap_or(0).clamp(14, LONGEST_NAME) as f64 * LETTER + 12.0;
    let end = timeline.seconds.max(0.001);
    let mut sheet = Sheet { nodes: vec![], left, scale: (WIDTH - MARGIN - left) / end, y: 62.0 };
    sheet.text(MARGIN, 30.0, "title", &cut(&plain(title), 110));
    sheet.legend();
    let top = sheet.y;
    sheet.y += 8.0;
    for phase in &timeline.phases {
        sheet.name(phase.name, "faint");
        let (x, width) = sheet.place(phase.from, phase.to);
        let (y, took) = (sheet.y + 6.0, in_words(phase.to - phase.from));
        sheet.rect(x, y, width, BAR - 8.0, colour_of(phase.name), &format!("{}: {took}", phase.name));
        // Beside its bar; on the other side where there is no room.
        let right = x + width + 6.0;
        match right + took.len() as f64 * LETTER < WIDTH - MARGIN {
            true => sheet.text(right, y + 9.0, "small faint", &took),
            false => sheet.text(x - 6.0, y + 9.0, "small faint end", &took),
        }
        sheet.y += ROW - 6.0;
    }
    sheet.y += 8.0;
    for (n, lane) in lanes.iter().enumerate() {
        if n == 0 {
            sheet.name("network, names", "head");
        }
        for bar in lane {
            sheet.thin(bar);
        }
        sheet.y += THIN + 2.0;
    }
    sheet.y += if lanes.is_empty() { 0.0 } else { ROW - THIN };
    for (n, (name, bars)) in timeline.machines.iter().enumerate() {
        sheet.stripe(n);
        sheet.name(name, "head");
        for (bar, before) in bars.iter().zip(std::iter::once(None).chain(bars.iter().map(Some))) {
            if let Some(before) = before {
                sheet.gap(before, bar);
            }
            sheet.bar(bar);
        }
        sheet.y += ROW;
    }
    if timeline.machines.is_empty() && timeline.account.is_empty() {
        sheet.text(MARGIN, sheet.y + 16.0, "faint", "There was nothing to do.");
        sheet.y += ROW;
    }
    sheet.finish(top, end)
}

/// Elements in the order in which they are painted, and where the next one goes.
struct Sheet {
    nodes: Vec<Box<dyn Node>>,
    left: f64,
    /// Pixels a second.
    scale: f64,
    y: f64,
}

impl Sheet {
    fn add(&mut self, node: impl Into<Box<dyn Node>>) {
        self.nodes.push(node.into());
    }

    fn place(&self, from: f64, to: f64) -> (f64, f64) {
        (self.left + from * self.scale, ((to - from) * self.scale).max(1.0))
    }

    fn text(&mut self, x: f64, y: f64, class: &str, words: &str) {
        self.add(Text::new(words).set("x", round(x)).set("y", round(y)).set("class", class));
    }

    /// A rectangle that says what it is when pointed at.
    fn rect(&mut self, x: f64, y: f64, width: f64, height: f64, class: &str, says: &str) {
        let shape = Rectangle::new().set("x", round(x)).set("y", round(y)).set("width", round(width)).set("height", height);
        let shape = shape.set("class", class);
        match says {
            "" => self.add(shape),
            says => self.add(shape.set("rx", 2).add(Title::new(plain(says)))),
        }
    }

    fn name(&mut self, name: &str, class: &str) {
        self.text(MARGIN, self.y + 14.0, class, &cut(&plain(name), LONGEST_NAME));
    }

    fn stripe(&mut self, n: usize) {
        if n.is_multiple_of(2) {
            self.rect(MARGIN - 6.0, self.y - 3.0, WIDTH - 2.0 * MARGIN + 12.0, ROW, "stripe", "");
        }
    }

    /// Calls that concern no machine: many, and short.
    fn thin(&mut self, bar: &Bar) {
        let (x, width) = self.place(bar.from, bar.to);
        let waits: String =
            bar.waits.iter().map(|wait| format!("; waiting: {}: {}", wait.what, span(wait.from, wait.to))).collect();
        let says = format!("{}: {}{}{waits}", bar.action, span(bar.from, bar.to), fate(bar.ended));
        let y = self.y + 6.0;
        self.rect(x, y, width, THIN, if bar.ended == Ended::Failed { "failed" } else { colour(bar) }, &says);
    }

    fn bar(&mut self, bar: &Bar) {
        let says = format!("{}: {}{}", bar.action, span(bar.from, bar.to), fate(bar.ended));
        let (x, width) = self.place(bar.from, bar.to);
        let y = self.y;
        let class = if bar.ended == Ended::Failed { "failed" } else { colour(bar) };
        self.rect(x, y, width, BAR, class, &says);
        for wait in bar.waits.iter().filter(|_| bar.steps.is_empty()) {
            self.waited(&wait.what, wait.from, wait.to);
        }
        for (n, step) in bar.steps.iter().enumerate() {
            self.step(bar, step, n);
        }
    }

    fn step(&mut self, bar: &Bar, step: &Step, n: usize) {
        let (x, width) = self.place(step.from, step.to);
        let says = format!("{} / {}: {}{}", bar.action, step.step, span(step.from, step.to), fate(step.ended));
        let class = match (step.ended, n % 2) {
            (Ended::Failed, _) => "failed",
            (_, 0) => colour(bar),
            _ => "odd",
        };
        self.rect(x, self.y, width, BAR, class, &says);
        if step.step == CONNECT {
            self.waited("connection, facts, journal", step.from, step.to);
        }
        for wait in &step.waits {
            self.waited(&wait.what, wait.from, wait.to);
        }
        self.label(&step.step, x, width);
    }

    /// A strip along the foot of a bar.
    fn waited(&mut self, what: &str, from: f64, to: f64) {
        let (x, width) = self.place(from, to);
        if width >= 2.0 {
            self.rect(x, self.y + BAR - 4.0, width, 4.0, "wait", &format!("waiting: {what}: {}", span(from, to)));
        }
    }

    /// Inside of a bar, if there is room.
    fn label(&mut self, words: &str, x: f64, width: f64) {
        let words = plain(words);
        if words.width() as f64 * LETTER + 6.0 <= width {
            self.text(x + 4.0, self.y + 12.0, "small on", &words);
        }
    }

    /// A machine whose turn has not come.
    fn gap(&mut self, before: &Bar, bar: &Bar) {
        let (x, width) = self.place(before.to, bar.from);
        if width < 3.0 {
            return;
        }
        let (y, what) = (round(self.y + BAR - 6.0), bar.after.as_deref().map(plain));
        let mut line = Line::new().set("x1", round(x)).set("x2", round(x + width)).set("y1", y).set("y2", y).set("class", "gap");
        if let Some(what) = &what {
            line = line.add(Title::new(format!("waited for {what}: {}", span(before.to, bar.from))));
        }
        self.add(line);
        let fits = |words: &String| words.width() as f64 * LETTER + 12.0 <= width;
        let whole = what.map(|what| format!("until {what}"));
        if let Some(words) = whole.filter(fits).or_else(|| Some("its turn".to_owned()).filter(fits)) {
            self.text(x + width / 2.0, self.y + 8.0, "small faint mid", &words);
        }
    }

    fn legend(&mut self) {
        let mut x = MARGIN;
        let kinds = [
            ("calls to AWS", "calls"),
            ("prepare", "prepare"),
            ("control plane", "control"),
            ("join", "join"),
            ("failed", "failed"),
        ];
        for (words, class) in kinds {
            self.rect(x, 42.0, 12.0, 12.0, class, "");
            self.text(x + 17.0, 52.0, "small faint", words);
            x += 17.0 + words.len() as f64 * LETTER + 14.0;
        }
        self.rect(x, 42.0, 24.0, 12.0, "prepare", "");
        self.rect(x, 50.0, 24.0, 4.0, "wait", "");
        self.text(x + 29.0, 52.0, "small faint", "waits inside of a step");
        x += 29.0 + 22.0 * LETTER + 14.0;
        self.add(Line::new().set("x1", x).set("x2", x + 24.0).set("y1", 48).set("y2", 48).set("class", "gap"));
        self.text(x + 29.0, 52.0, "small faint", "waits for its turn");
    }

    /// Page and grid go below everything else.
    fn finish(self, top: f64, seconds: f64) -> String {
        let foot = self.y + 4.0;
        let height = foot + 28.0;
        let mut document = Document::new()
            .set("viewBox", (0, 0, WIDTH, round(height)))
            .set("width", WIDTH)
            .set("height", round(height))
            .set("role", "img")
            .add(Style::new(include_str!("picture.css").trim()))
            .add(Rectangle::new().set("width", "100%").set("height", "100%").set("class", "page"));
        let (stripes, others): (Vec<_>, Vec<_>) = self.nodes.into_iter().partition(|node| {
            let class = node.get_attributes().and_then(|all| all.get("class"));
            class.is_some_and(|class| *class == "stripe")
        });
        for stripe in stripes {
            document.append(stripe);
        }
        let step = tick(seconds);
        for n in 0..=(seconds / step).floor() as u32 {
            let at = f64::from(n) * step;
            let x = round(self.left + at * self.scale);
            document.append(Line::new().set("x1", x).set("x2", x).set("y1", top).set("y2", foot).set("class", "grid"));
            document.append(Text::new(moment(at)).set("x", x).set("y", foot + 16.0).set("class", "small faint mid"));
        }
        for node in others {
            document.append(node);
        }
        format!("{document}\n")
    }
}

/// Bars that do not overlap share a lane.
fn lanes(bars: &[Bar]) -> Vec<Vec<&Bar>> {
    let mut lanes: Vec<Vec<&Bar>> = vec![];
    for bar in bars {
        let free = |lane: &&mut Vec<&Bar>| lane.last().is_none_or(|last| last.to <= bar.from);
        match lanes.iter_mut().find(free) {
            Some(lane) => lane.push(bar),
            None => lanes.push(vec![bar]),
        }
    }
    lanes
}

fn colour(bar: &Bar) -> &'static str {
    match bar.task {
        None => "calls",
        Some(NodeTask::Prepare) => "prepare",
        Some(NodeTask::Init | NodeTask::JoinControlPlane | NodeTask::Ready) => "control",
        Some(NodeTask::JoinWorker) => "join",
        Some(_) => "other",
    }
}

fn colour_of(phase: &str) -> &'static str {
    match phase {
        "prepare machines" => "prepare",
        "control plane" => "control",
        "join nodes" => "join",
        "labels" | "drain nodes" => "other",
        _ => "calls",
    }
}

fn fate(ended: Ended) -> &'static str {
    match ended {
        Ended::Done => "",
        Ended::Failed => ", failed",
        Ended::Unfinished => ", not finished",
    }
}

fn span(from: f64, to: f64) -> String {
    format!("{}, from {}", in_words(to - from), in_words(from))
}

/// The distance of the grid's lines: at most twelve of them.
fn tick(seconds: f64) -> f64 {
    const STEPS: [f64; 14] = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0];
    STEPS.into_iter().find(|step| seconds / step <= 12.0).unwrap_or((seconds / 12.0 / 3600.0).ceil() * 3600.0)
}

fn moment(at: f64) -> String {
    let whole = at.round() as u64;
    match at {
        _ if at < 1.0 && at > 0.0 => format!("{at:.1} s"),
        _ if at < 60.0 => format!("{whole} s"),
        _ => format!("{}:{:02}", whole / 60, whole % 60),
    }
}

fn round(pixels: f64) -> f64 {
    (pixels * 10.0).round() / 10.0
}

/// Without characters that XML cannot hold or that would turn the text around.
fn plain(text: &str) -> String {
    let bad = |c: char| {
        c.is_control()
            || matches!(c, '\u{fffe}' | '\u{ffff}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|c| if bad(c) { '\u{fffd}' } else { c }).collect()
}

fn cut(text: &str, letters: usize) -> String {
    match text.chars().count() > letters {
        true => text.chars().take(letters.saturating_sub(1)).chain(['\u{2026}']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
#[path = "picture_tests.rs"]
mod tests;
