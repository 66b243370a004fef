//! The table, and the same as JSON in `target/bench`.

use std::{collections::BTreeMap, fmt::Write as _, path::Path};

use crate::drive::Measured;

/// One cell: a system at so many slots and clients. Rounds are kept; the median counts.
#[derive(Debug, Default)]
pub struct Report {
    cells: BTreeMap<(String, usize, usize), Vec<Measured>>,
    notes: Vec<String>,
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

impl Report {
    /// Adds a round of a cell.
    pub fn add(&mut self, system: &str, slots: usize, clients: usize, measured: Measured) {
        eprintln!(
            "  {system:<12} {slots:>5} slots {clients:>5} clients  {:>9.0}/s  p50 {:>8.2} ms  p99 {:>8.2} ms",
            measured.per_second, measured.p50_ms, measured.p99_ms
        );
        self.cells.entry((system.to_owned(), slots, clients)).or_default().push(measured);
    }

    /// Adds a line below the table.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// The median of a cell, done a second.
    #[must_use]
    pub fn per_second(&self, system: &str, slots: usize, clients: usize) -> Option<f64> {
        let rounds = self.cells.get(&(system.to_owned(), slots, clients))?;
        Some(median(rounds.iter().map(|m| m.per_second).collect()))
    }

    /// The best median of a system over all numbers of clients.
    #[must_use]
    pub fn best(&self, system: &str, slots: usize) -> Option<f64> {
        let of = |(name, s, clients): &(String, usize, usize)| (name == system && *s == slots).then(|| self.per_second(name, *s, *clients)).flatten();
        self.cells.keys().filter_map(of).max_by(f64::total_cmp)
    }

    /// `ours` over `theirs` at equal clients, and over theirs at its best.
    pub fn ratios(&mut self, ours: &str, theirs: &str, slots: usize, clients: &[usize]) {
        let mut line = format!("{ours} / {theirs}, {slots} slots:");
        for clients in clients {
            if let (Some(a), Some(b)) = (self.per_second(ours, slots, *clients), self.per_second(theirs, slots, *clients)) {
                let _ = write!(line, " {:.1} at {clients};", a / b.max(0.001));
            }
        }
        if let (Some(a), Some(b)) = (self.best(ours, slots), self.best(theirs, slots)) {
            let _ = write!(line, " best over best {:.1}", a / b.max(0.001));
        }
        self.notes.push(line);
    }

    /// The table in Markdown.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut text = String::from("| system | slots | clients | a second | p50 ms | p99 ms |\n|---|---:|---:|---:|---:|---:|\n");
        for ((system, slots, clients), rounds) in &self.cells {
            let of = |f: fn(&Measured) -> f64| median(rounds.iter().map(f).collect());
            let _ = writeln!(
                text,
                "| {system} | {slots} | {clients} | {:.0} | {:.2} | {:.2} |",
                of(|m| m.per_second),
                of(|m| m.p50_ms),
                of(|m| m.p99_ms)
            );
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
        let row = |((system, slots, clients), rounds): (&(String, usize, usize), &Vec<Measured>)| {
            let of = |f: fn(&Measured) -> f64| median(rounds.iter().map(f).collect());
            serde_json::json!({
                "system": system, "slots": slots, "clients": clients,
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
