//! A figure as an SVG: a line for each way with a dot for each sample, the rows below each other on one
//! axis for each unit. It has its own background, for dark pages too.

use std::fmt::Write as _;

use super::scale::Scale;
use super::{Figure, Row, Spread, Value, Way, short};

/// Two things beside each other are read from the table.
const FEWEST: usize = 3;

/// So many dots say more than their spread.
const FEW: usize = 10;

const WIDTH: f64 = 960.0;
/// The part between the names and the numbers.
const LEFT: f64 = 250.0;
const RIGHT: f64 = WIDTH - 150.0;
/// Of a row's name, of a way, and of an axis with its name.
const NAME: f64 = 26.0;
const STRIP: f64 = 26.0;
const AXIS: f64 = 58.0;

const LEGEND: &str =
    "A dot: one run. Thick bar: the median; thin bar: the p99; the line ends at the largest.";

/// Around letters, so that no line of the grid runs through them.
const HALO: &str = "paint-order=\"stroke\" stroke=\"#ffffff\" stroke-width=\"4\"";

const INK: &str = "#1f2328";
const FAINT: &str = "#59636e";
const GRID: &str = "#e4e7eb";
const OURS: &str = "#0a58ca";
const THEIRS: &str = "#b3541e";
const GOAL: &str = "#1a7f37";

/// Whether there is something to see.
pub(super) fn has_one(figure: &Figure) -> bool {
    !panels(figure).is_empty()
}

/// The plot.
pub(super) fn svg(figure: &Figure) -> Option<String> {
    let panels = panels(figure);
    if panels.is_empty() {
        return None;
    }
    let mut drawing = Drawing::default();
    drawing.text((16.0, 30.0), &Letters { size: 17, ..BOLD }, &figure.title);
    drawing.y = 46.0;
    for (unit, rows) in panels {
        panel(&mut drawing, unit, &rows);
    }
    let beside = Letters {
        anchor: "start",
        ..SMALL
    };
    drawing.text((16.0, drawing.y), &beside, LEGEND);
    drawing.y += 16.0;
    let (height, body) = (drawing.y, drawing.body);
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
         font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\" font-size=\"13px\">\n\
         <title>{}</title>\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n{body}</svg>\n",
        escaped(&figure.title)
    ))
}

/// The rows of each unit, where there are enough ways to look at.
fn panels(figure: &Figure) -> Vec<(&str, Vec<&Row>)> {
    let mut panels: Vec<(&str, Vec<&Row>)> = Vec::new();
    for row in figure.rows.iter().filter(|row| !row.unit.is_empty()) {
        match panels.iter_mut().find(|(unit, _)| *unit == row.unit) {
            Some((_, rows)) => rows.push(row),
            None => panels.push((&row.unit, vec![row])),
        }
    }
    panels.retain(|(_, rows)| rows.iter().map(|r| r.ways.len()).sum::<usize>() >= FEWEST);
    panels
}

fn panel(drawing: &mut Drawing, unit: &str, rows: &[&Row]) {
    let ways = || rows.iter().flat_map(|row| &row.ways);
    let numbers: Vec<f64> = ways().flat_map(numbers).collect();
    let scale = Scale::of(&numbers);
    let x = |number: f64| LEFT + scale.place(number) * (RIGHT - LEFT);
    let top = drawing.y;
    let names = NAME * rows.len() as f64;
    let bottom = top + names + STRIP * ways().count() as f64 + 6.0;
    for (number, name) in scale.ticks() {
        let at = x(number);
        drawing.line((at, top + 8.0), (at, bottom), GRID, "1");
        drawing.text((at, bottom + 18.0), &SMALL, &name);
    }
    drawing.line((LEFT, bottom), (RIGHT, bottom), FAINT, "1");
    let name = if scale.is_logarithmic {
        format!("{unit} (logarithmic)")
    } else {
        unit.to_owned()
    };
    let middle = f64::midpoint(LEFT, RIGHT);
    drawing.text((middle, bottom + 38.0), &PLAIN, &name);
    let right = WIDTH - 16.0;
    let small = Letters {
        anchor: "end",
        ..SMALL
    };
    drawing.text((right, top + 14.0), &small, "median / p99");
    for row in rows {
        drawing.y += NAME;
        drawing.text((16.0, drawing.y - 7.0), &BOLD, &row.what);
        let top = drawing.y;
        for way in &row.ways {
            strip(drawing, way, x);
        }
        goals(drawing, row, top, x);
    }
    drawing.y = bottom + AXIS;
}

/// All numbers of a way that are to be seen.
fn numbers(way: &Way) -> Vec<f64> {
    let mut numbers = match &way.value {
        Value::Many(spread) => vec![spread.p50, spread.p99, spread.max],
        Value::One { value } => vec![*value],
    };
    if let Value::Many(spread) = &way.value {
        numbers.extend(&spread.samples);
    }
    numbers.extend(way.goal);
    numbers
}

fn strip(drawing: &mut Drawing, way: &Way, x: impl Fn(f64) -> f64) {
    let middle = drawing.y + STRIP / 2.0;
    let is_ours = way.who.starts_with("podzero");
    let colour = if is_ours { OURS } else { THEIRS };
    let beside = Letters {
        anchor: "end",
        colour,
        ..PLAIN
    };
    drawing.text((LEFT - 12.0, middle + 4.5), &beside, &way.who);
    let told = match &way.value {
        Value::Many(spread) => {
            spread_of(drawing, spread, middle, colour, x);
            format!("{} / {}", short(spread.p50), short(spread.p99))
        }
        Value::One { value } => {
            drawing.dot((x(*value), middle), "5", colour, "1");
            short(*value)
        }
    };
    drawing.text((WIDTH - 16.0, middle + 4.5), &beside, &told);
    drawing.y += STRIP;
}

/// Dots, and from the median by the 99th percentile to the largest a line, where they cannot be told apart.
fn spread_of(
    drawing: &mut Drawing,
    spread: &Spread,
    middle: f64,
    colour: &str,
    x: impl Fn(f64) -> f64,
) {
    let is_few = !spread.samples.is_empty() && spread.samples.len() <= FEW;
    for (number, sample) in spread.samples.iter().enumerate() {
        if is_few {
            drawing.dot((x(*sample), middle), "4.5", colour, "0.7");
        } else {
            // Beside each other where they would cover each other.
            let aside = f64::from(u32::try_from(number % 5).unwrap_or_default()) - 2.0;
            drawing.dot((x(*sample), middle + aside * 2.2), "2.6", colour, "0.45");
        }
    }
    if !is_few {
        let upright =
            |number: f64, half: f64| ((x(number), middle - half), (x(number), middle + half));
        let (median, p99) = (upright(spread.p50, 9.0), upright(spread.p99, 6.0));
        drawing.line(
            (x(spread.p50), middle),
            (x(spread.max), middle),
            colour,
            "1.5",
        );
        drawing.line(median.0, median.1, colour, "3");
        drawing.line(p99.0, p99.1, colour, "2");
    }
}

/// A row's goals, around its strips that begin at `top`. One that it has alone goes through all of them,
/// so that the others can be held against it.
fn goals(drawing: &mut Drawing, row: &Row, top: f64, x: impl Fn(f64) -> f64) {
    let mut goals: Vec<f64> = row.ways.iter().filter_map(|way| way.goal).collect();
    goals.dedup();
    let words = |goal: f64| format!("goal: at most {}", short(goal));
    let letters = Letters {
        colour: GOAL,
        ..SMALL
    };
    if let [goal] = goals[..] {
        let (at, bottom) = (x(goal), top + STRIP * row.ways.len() as f64);
        drawing.line((at, top - 3.0), (at, bottom), GOAL, "2");
        drawing.text((at, top - 8.0), &letters, &words(goal));
        return;
    }
    for (place, way) in row.ways.iter().enumerate() {
        let Some(goal) = way.goal else { continue };
        let (at, top) = (x(goal), top + STRIP * place as f64);
        drawing.line((at, top + 1.0), (at, top + STRIP - 1.0), GOAL, "2");
        let (beside, anchor) = if at > f64::midpoint(LEFT, RIGHT) {
            (at - 7.0, "end")
        } else {
            (at + 7.0, "start")
        };
        let beside = (beside, top + STRIP - 4.0);
        drawing.text(beside, &Letters { anchor, ..letters }, &words(goal));
    }
}

/// What has been drawn so far, and where the next thing goes.
#[derive(Debug, Default)]
struct Drawing {
    body: String,
    y: f64,
}

type Point = (f64, f64);

/// How a text looks, and which of its ends is where it is put.
#[derive(Debug, Clone, Copy)]
struct Letters {
    anchor: &'static str,
    colour: &'static str,
    size: u32,
    weight: u32,
}

const PLAIN: Letters = Letters {
    anchor: "middle",
    colour: INK,
    size: 13,
    weight: 400,
};
const SMALL: Letters = Letters {
    colour: FAINT,
    size: 12,
    ..PLAIN
};
const BOLD: Letters = Letters {
    anchor: "start",
    weight: 600,
    ..PLAIN
};

impl Drawing {
    fn line(&mut self, from: Point, to: Point, colour: &str, width: &str) {
        let ((x1, y1), (x2, y2)) = (from, to);
        let _ = writeln!(
            self.body,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"{colour}\" stroke-width=\"{width}\"/>"
        );
    }

    fn dot(&mut self, (x, y): Point, radius: &str, colour: &str, opacity: &str) {
        let _ = writeln!(
            self.body,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" fill=\"{colour}\" fill-opacity=\"{opacity}\"/>"
        );
    }

    fn text(&mut self, (x, y): Point, letters: &Letters, text: &str) {
        let Letters {
            anchor,
            colour,
            size,
            weight,
        } = letters;
        let _ = writeln!(
            self.body,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\" font-size=\"{size}px\" font-weight=\"{weight}\" {HALO}>{}</text>",
            escaped(text)
        );
    }
}

/// For the inside of an element.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
