//! The table for people: Markdown whose columns stand below each other, so that it can be read as it is.

use super::{File, Measured, Row, Value, Versions, Way, plot, short};

const HEAD: [&str; 8] = ["what", "who", "runs", "median", "p99", "max", "goal", "met"];

/// The whole table.
pub(super) fn text(file: &File, now: &Versions, names: &[&str]) -> String {
    let mut parts = vec![
        "# Figures\n".to_owned(),
        head(file),
        goals(file),
        missing(file, names),
    ];
    for measured in &file.figures {
        parts.push(section(measured, now, usual(file)));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// The last run: what most figures have in common is told once.
fn usual(file: &File) -> Option<&Measured> {
    file.figures.iter().max_by_key(|m| &m.run.at)
}

fn head(file: &File) -> String {
    let Some(last) = usual(file) else {
        return "Nothing has been measured.\n".to_owned();
    };
    format!(
        "- Machine: {}\n- Versions: {}\n- Last measured: {}\n\n\
         A goal is met or not by the p99, which is the largest of fewer than 100 runs, or by the one number\n\
         that there is. All of it, with the samples where they are few, is in `figures.json`.\n",
        machine(last),
        versions(last),
        last.run.at
    )
}

fn machine(measured: &Measured) -> String {
    let machine = &measured.run.machine;
    format!(
        "{} x {}, {}, {}",
        machine.processors, machine.processor, machine.memory, machine.kernel
    )
}

fn versions(measured: &Measured) -> String {
    let Versions {
        podzero,
        commit: _,
        server,
        kubernetes,
    } = &measured.run.versions;
    format!("podzero {podzero}, {server}, {kubernetes}")
}

/// How many goals there are, and those that are missed, by name.
fn goals(file: &File) -> String {
    let (mut all, mut missed) = (0, Vec::new());
    for measured in &file.figures {
        for row in &measured.figure.rows {
            for way in &row.ways {
                all += usize::from(way.goal.is_some());
                if way.is_met() == Some(false) {
                    let (name, what) = (&measured.name, what(row));
                    missed.push(format!("- {name}: {what}, {}\n", way.who));
                }
            }
        }
    }
    if missed.is_empty() {
        return format!("All {all} goals are met.\n");
    }
    let met = all - missed.len();
    format!(
        "{met} of {all} goals are met. **Missed:**\n\n{}",
        missed.concat()
    )
}

/// Figures that nobody has measured yet.
fn missing(file: &File, names: &[&str]) -> String {
    let is_there = |name: &str| file.figures.iter().any(|m| m.name == name);
    let missing: Vec<_> = names.iter().filter(|n| !is_there(n)).copied().collect();
    if missing.is_empty() {
        return String::new();
    }
    let command = format!("cargo bench -- {}", missing.join(" "));
    format!(
        "**Not measured yet:** {} (`{command}`).\n",
        missing.join(", ")
    )
}

fn section(measured: &Measured, now: &Versions, usual: Option<&Measured>) -> String {
    let Measured { name, run, figure } = measured;
    let mut text = format!("## {name}: {}\n\n", figure.title);
    text += &format!(
        "Measured {} at commit {}, load {}: `{}`.\n",
        run.at, run.versions.commit, run.load, run.command
    );
    if run.versions.commit != now.commit {
        let commit = &now.commit;
        text += &format!("**Stale: the checkout is at {commit} by now.**\n");
    }
    if let Some(rounds) = run.rounds {
        text += &format!("**Tried out only, with {rounds} rounds at most: no figure.**\n");
    }
    let differs = |of: fn(&Measured) -> String| usual.filter(|u| of(u) != of(measured));
    if differs(machine).is_some() {
        text += &format!("**On another machine: {}.**\n", machine(measured));
    }
    if differs(versions).is_some() {
        text += &format!("**With other versions: {}.**\n", versions(measured));
    }
    if plot::has_one(figure) {
        text += &format!("\n![{}]({name}.svg)\n", figure.title);
    }
    text += &format!("\n{}", table(&figure.rows));
    for remark in &figure.remarks {
        text += &format!("\n{remark}\n");
    }
    text
}

fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(ToOwned::to_owned)];
    for row in rows {
        for (place, way) in row.ways.iter().enumerate() {
            // What they have in common stands once.
            let what = if place == 0 { what(row) } else { String::new() };
            lines.push(cells(what, way));
        }
    }
    let width = |column: usize| lines.iter().map(|l| l[column].chars().count()).max();
    let widths: [usize; 8] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let line = |cells: &[String; 8]| {
        let padded = cells
            .iter()
            .zip(widths)
            .enumerate()
            .map(|(column, (c, w))| {
                let is_number = (2..6).contains(&column);
                if is_number {
                    format!("{c:>w$}")
                } else {
                    format!("{c:w$}")
                }
            });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule = widths.iter().enumerate().map(|(column, width)| {
        let is_number = (2..6).contains(&column);
        let end = if is_number { ":" } else { "-" };
        format!("-{}{end}", "-".repeat(*width))
    });
    let rule = format!("|{}|\n", rule.collect::<Vec<_>>().join("|"));
    let mut lines = lines.iter().map(line);
    lines.next().unwrap_or_default() + &rule + &lines.collect::<String>()
}

fn what(row: &Row) -> String {
    let Row {
        what,
        unit,
        ways: _,
    } = row;
    if unit.is_empty() {
        what.clone()
    } else {
        format!("{what}, {unit}")
    }
}

fn cells(what: String, way: &Way) -> [String; 8] {
    let (runs, p50, p99, max) = match &way.value {
        Value::Many(s) => (s.runs.to_string(), short(s.p50), short(s.p99), short(s.max)),
        Value::One { value } => (String::new(), short(*value), String::new(), String::new()),
    };
    let goal = way.goal.map(|most| format!("<= {}", short(most)));
    let met = way.is_met().map(|met| if met { "yes" } else { "**NO**" });
    [
        what,
        way.who.clone(),
        runs,
        p50,
        p99,
        max,
        goal.unwrap_or_default(),
        met.unwrap_or_default().to_owned(),
    ]
}
