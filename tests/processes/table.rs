//! What was tried, for the end.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Kind of trouble, command, store.
pub type Row = (&'static str, String, &'static str);

#[derive(Default)]
struct Table {
    points: BTreeMap<Row, (usize, usize)>,
    races: Vec<(String, &'static str)>,
    gave_up: Vec<String>,
}

static TABLE: Mutex<Option<Table>> = Mutex::new(None);

fn with(work: impl FnOnce(&mut Table)) {
    let mut table: MutexGuard<'_, Option<Table>> = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
    work(table.get_or_insert_default());
}

pub fn tried(row: &Row) {
    with(|table| table.points.entry(row.clone()).or_default().0 += 1);
}

pub fn violation(row: &Row) {
    with(|table| table.points.entry(row.clone()).or_default().1 += 1);
}

pub fn tried_race(race: (String, &'static str)) {
    with(|table| table.races.push(race));
}

/// A run that ended with an error, as it may: the next one goes on.
pub fn gave_up(what: &str, said: &str) {
    let error = said.lines().find(|line| line.starts_with("error")).unwrap_or_default();
    with(|table| table.gave_up.push(format!("{what}: {error}")));
}

pub fn print() {
    with(|table| {
        if table.points.is_empty() && table.races.is_empty() {
            return;
        }
        println!("\n{:<14} {:<8} {:<6} {:>7} {:>11}", "trouble", "command", "store", "points", "violations");
        let (mut points, mut violations) = (0, 0);
        for ((kind, verb, store), (tried, broken)) in &table.points {
            println!("{kind:<14} {verb:<8} {store:<6} {tried:>7} {broken:>11}");
            points += tried;
            violations += broken;
        }
        println!("{:<30} {points:>7} {violations:>11}", "all");
        for (race, store) in &table.races {
            println!("{race} on {store}: as with one run");
        }
        for line in &table.gave_up {
            println!("ended with an error, and was gone on with: {line}");
        }
    });
}
