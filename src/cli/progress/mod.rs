//! Progress on stderr: lines that change on a terminal, dated lines elsewhere, from the same facts.

mod board;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;

use crate::apply::{Event, Sink};
use crate::cli::text::{Page, Span};
use crate::cli::ui::Ui;
use crate::clock::Clock;

use board::{Board, Fact};

const BETWEEN_DRAWS: Duration = Duration::from_millis(250);

/// Shows one run. Ends with [`Progress::end`], which clears the lines that change.
pub struct Progress {
    shown: Arc<Shown>,
    ticker: Option<JoinHandle<()>>,
}

struct Shown {
    board: Mutex<Board>,
    ui: Ui,
    clock: Arc<dyn Clock>,
}

impl Progress {
    /// On a terminal this needs a running tokio runtime, for the clock in each line.
    pub fn begin(ui: &Ui, clock: Arc<dyn Clock>) -> Self {
        let shown = Arc::new(Shown { board: Mutex::default(), ui: ui.clone(), clock });
        let ticker = ui.is_live().then(|| {
            let shown = Arc::clone(&shown);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(BETWEEN_DRAWS).await;
                    shown.draw();
                }
            })
        });
        Self { shown, ticker }
    }

    /// Where the events of the run go.
    pub fn sink(&self) -> Sink {
        let shown = Arc::clone(&self.shown);
        Arc::new(move |event| shown.take(&event))
    }

    /// The first interrupt was heard.
    pub fn stopping(&self) {
        let fact = board::stopping(self.shown.board().in_work());
        self.shown.tell(vec![fact]);
    }

    pub fn end(mut self) {
        self.clear();
    }

    fn clear(&mut self) {
        if let Some(ticker) = self.ticker.take() {
            ticker.abort();
        }
        self.shown.ui.live(&[]);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.clear();
    }
}

impl Shown {
    fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, event: &Event) {
        let facts = self.board().take(event, self.clock.now());
        self.tell(facts);
    }

    fn tell(&self, facts: Vec<Fact>) {
        let live = self.ui.is_live();
        let mut page = Page::new(self.ui.width());
        for fact in facts.into_iter().filter(|fact| !(live && fact.pipe_only)) {
            if live {
                page.row(1, fact.cells);
            } else {
                page.line(vec![dated(self.clock.as_ref(), &fact)]);
            }
        }
        // Lines that ended go before the lines that stay are written: nothing is shown twice, even for a moment.
        self.draw();
        if !page.is_empty() {
            self.ui.status(&page);
        }
    }

    fn draw(&self) {
        if self.ui.is_live() {
            let lines = self.board().live(self.clock.now(), self.ui.width(), self.ui.live_rows());
            self.ui.live(&lines);
        }
    }
}

/// One line, however long: lines of a log are not wrapped.
fn dated(clock: &dyn Clock, fact: &Fact) -> Span {
    let words: Vec<&str> = fact.cells.iter().map(|(span, _)| span.text()).filter(|text| !text.is_empty()).collect();
    format!("{} {}", clock.now().strftime("%FT%TZ"), words.join(" ")).into()
}
