//! The table: what a figure is made of, and how it fits into 80 columns.

use std::io::Write as _;

/// The widths of the columns, the last one ("met?") left out; two blanks stand between columns.
const WIDTHS: [usize; 4] = [25, 19, 19, 6];

/// What is measured, and what that is compared with.
#[derive(Debug)]
pub(crate) struct Figure {
    /// One line: the subject, the unit, what it is measured against.
    pub(crate) title: String,
    /// What was measured.
    pub(crate) rows: Vec<Row>,
}

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was measured.
    pub(crate) what: &'static str,
    /// What podzero does.
    pub(crate) podzero: String,
    /// What people have today does; empty where it has nothing like it.
    pub(crate) against: String,
    /// The most that podzero may need, and what it needed; none where nothing is promised.
    pub(crate) goal: Option<Goal>,
}

/// The most that was promised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    /// The promise.
    pub(crate) most: f64,
    /// The measured value that is held against it.
    pub(crate) is: f64,
}

impl Figure {
    /// The figure's lines in the table.
    pub(crate) fn text(&self) -> String {
        let mut lines = vec![format!("\n{}", self.title)];
        for row in &self.rows {
            let (goal, met) = row.goal.map_or((String::new(), ""), |goal| {
                let met = if goal.is <= goal.most { "yes" } else { "NO" };
                (format!("<= {}", goal.most), met)
            });
            let what = format!("  {}", row.what);
            lines.push(line([&what, &row.podzero, &row.against, &goal, met]));
        }
        lines.join("\n")
    }
}

/// The table's first lines.
pub(crate) fn head() -> String {
    let names = line(["what", "podzero", "against", "goal", "met?"]);
    format!(
        "\nA time is p50 / p99 / max; its p99 is what meets a goal or does not.\n\n{names}\n{}",
        "-".repeat(80)
    )
}

fn line(cells: [&str; 5]) -> String {
    let mut text = String::new();
    for (cell, width) in cells.into_iter().zip(WIDTHS.into_iter().chain([0])) {
        text.push_str(&format!("{cell:width$}  "));
    }
    text.trim_end().to_owned()
}

/// Prints to standard output.
pub(crate) fn say(line: &str) {
    // Whoever closed the pipe does not want the rest.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Tells on standard error what takes its time; the table stays clean when it is piped.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "  ... {line}");
}
