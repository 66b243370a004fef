//! The table, and the same as JSON in `target/bench`.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use crate::drive::Measured;

/// Where a figure belongs: a system, how many slots it wrote to, how many clients asked, and over how many database connections where that is chosen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    /// As in the rows: `sql`, `inproc`, ...
    pub system: String,
    /// Slots, or rows of the conventional model.
    pub slots: usize,
    /// Callers at once.
    pub clients: usize,
    /// Connections of plain SQL's pool; none where the system chooses for itself.
    pub connections: Option<usize>,
}

impl Cell {
    /// A cell of a system that chooses its connections itself.
    #[must_use]
    pub fn of(system: &str, slots: usize, clients: usize) -> Self {
        Self { system: system.to_owned(), slots, clients, connections: None }
    }

    /// The same over so many connections.
    #[must_use]
    pub fn over(self, connections: usize) -> Self {
        Self { connections: Some(connections), ..self }
    }
}

/// Figures by cell. Rounds are kept; the median counts.
#[derive(Debug, Default)]
pub struct Report {
    cells: BTreeMap<Cell, Vec<Measured>>,
    notes: Vec<String>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = &values[values.len().saturating_sub(1) / 2..(values.len() / 2 + 1).min(values.len())];
    middle.iter().sum::<f64>() / middle.len().max(1) as f64
}

/// As many connections as clients, bounded by what the server takes: plain SQL at equal clients.
pub const MOST_CONNECTIONS: usize = 256;

impl Report {
    /// Adds a round of a cell.
    pub fn add(&mut self, cell: Cell, measured: Measured) {
        let mut over = cell.connections.map_or(String::new(), |n| format!("over {n} connections "));
        if measured.failed > 0 {
            let _ = write!(over, "{} refused or broken", measured.failed);
        }
        eprintln!(
            "  {:<14} {:>5} slots {:>6} clients  {:>9.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms  {over}",
            cell.system, cell.slots, cell.clients, measured.per_second, measured.p50_ms, measured.p99_ms
        );
        self.cells.entry(cell).or_default().push(measured);
    }

    /// Adds a line below the table.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    fn median_of(&self, cell: &Cell) -> Option<f64> {
        Some(median(self.cells.get(cell)?.iter().map(|m| m.per_second).collect()))
    }

    /// The median at so many clients, done a second; plain SQL's with a connection for each client, as far as the server takes them.
    #[must_use]
    pub fn per_second(&self, system: &str, slots: usize, clients: usize) -> Option<f64> {
        let cell = Cell::of(system, slots, clients);
        self.median_of(&cell).or_else(|| self.median_of(&cell.over(clients.min(MOST_CONNECTIONS))))
    }

    /// The best median of a system over all numbers of clients and connections.
    #[must_use]
    pub fn best(&self, system: &str, slots: usize) -> Option<f64> {
        let its = self.cells.keys().filter(|cell| cell.system == system && cell.slots == slots);
        its.filter_map(|cell| self.median_of(cell)).max_by(f64::total_cmp)
    }

    /// `ours` over `theirs` at equal clients, and at each of them over theirs at its own best.
    pub fn ratios(&mut self, ours: &str, theirs: &str, slots: usize, clients: &[usize]) {
        let Some(best) = self.best(theirs, slots) else { return };
        let (mut equal, mut to_best) = (String::new(), String::new());
        for clients in clients {
            let Some(a) = self.per_second(ours, slots, *clients) else { continue };
            if let Some(b) = self.per_second(theirs, slots, *clients) {
                let _ = write!(equal, " {:.1} at {clients},", a / b.max(0.001));
            }
            let _ = write!(to_best, " {:.1} at {clients},", a / best.max(0.001));
        }
        if !equal.is_empty() {
            let (equal, to_best) = (equal.trim_end_matches(','), to_best.trim_end_matches(','));
            self.notes.push(format!("{ours} / {theirs}, {slots} slots, at equal clients:{equal}; to its best of {best:.0} a second:{to_best}"));
        }
    }

    /// The table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("| system | slots | clients | connections | a second | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|---:|---:|\n");
        for (cell, rounds) in &self.cells {
            let of = |f: fn(&Measured) -> f64| median(rounds.iter().map(f).collect());
            let Cell { system, slots, clients, connections } = cell;
            let connections = connections.map_or(String::new(), |n| n.to_string());
            let (per_second, p50, p99) = (of(|m| m.per_second), of(|m| m.p50_ms), of(|m| m.p99_ms));
            // what has no latency of its own says none
            let shown = |ms: f64| if ms > 0.0 { format!("{ms:.2}") } else { String::new() };
            let (p50, p99) = (shown(p50), shown(p99));
            let _ = writeln!(text, "| {system} | {slots} | {clients} | {connections} | {per_second:.0} | {p50} | {p99} |");
        }
        text.push('\n');
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    /// Writes the rows as JSON.
    ///
    /// # Errors
    /// A folder that cannot be written.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let row = |(cell, rounds): (&Cell, &Vec<Measured>)| {
            let of = |f: fn(&Measured) -> f64| median(rounds.iter().map(f).collect());
            serde_json::json!({
                "system": cell.system, "slots": cell.slots, "clients": cell.clients, "connections": cell.connections,
                "per_second": of(|m| m.per_second), "p50_ms": of(|m| m.p50_ms), "p99_ms": of(|m| m.p99_ms),
            })
        };
        let rows: Vec<serde_json::Value> = self.cells.iter().map(row).collect();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, serde_json::to_string_pretty(&rows)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::float_cmp, reason = "halves are exact")]
    fn the_median_of_two_rounds_lies_between_them_and_favours_neither() {
        for (rounds, between) in [(vec![], 0.0), (vec![7.0], 7.0), (vec![4.0, 1.0], 2.5), (vec![9.0, 1.0, 2.0], 2.0), (vec![4.0, 1.0, 9.0, 2.0], 3.0)]
        {
            assert_eq!(median(rounds), between);
        }
    }
}
