//! The files of the folder: reads what an earlier run left, merges, and writes all of them.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{File, Measured, Versions, markdown, plot};

/// Of `figures.json`. Another one is not read: whoever wants to keep it moves it away.
pub(crate) const SCHEMA: u32 = 1;

impl File {
    /// What earlier runs left in the folder; nothing when there were none.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join("figures.json");
        if !path.exists() {
            return Ok(Self {
                schema: SCHEMA,
                figures: Vec::new(),
            });
        }
        let shown = path.display();
        let text = fs::read_to_string(&path).with_context(|| format!("reading {shown}"))?;
        let hint = "move it away to measure anew";
        let any: serde_json::Value =
            serde_json::from_str(&text).with_context(|| format!("{shown} is no JSON; {hint}"))?;
        ensure!(
            any["schema"] == SCHEMA,
            "{shown} has schema {}, and this is for {SCHEMA}; {hint}",
            any["schema"]
        );
        serde_json::from_value(any).with_context(|| format!("{shown} is not as expected; {hint}"))
    }

    /// Puts a figure in the place of the earlier one of its name. `names` is the table's order; what is
    /// not among them is no figure any more, and goes.
    pub(crate) fn put(&mut self, new: Measured, names: &[&str]) {
        let place = |m: &Measured| names.iter().position(|name| *name == m.name);
        self.figures.retain(|old| old.name != new.name);
        self.figures.push(new);
        self.figures.retain(|m| place(m).is_some());
        self.figures.sort_by_key(place);
    }

    /// The whole table, as it is printed too. What was measured at another commit than `now` is told to
    /// be stale.
    pub(crate) fn text(&self, now: &Versions, names: &[&str]) -> String {
        markdown::text(self, now, names)
    }

    /// Writes `figures.json`, `figures.md` and a plot for each figure that has one.
    pub(crate) fn write(&self, folder: &Path, now: &Versions, names: &[&str]) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let json = serde_json::to_string_pretty(self).context("the figures as JSON")?;
        write(folder, "figures.json", &(json + "\n"))?;
        write(folder, "figures.md", &self.text(now, names))?;
        for measured in &self.figures {
            if let Some(plot) = plot::svg(&measured.figure) {
                write(folder, &format!("{}.svg", measured.name), &plot)?;
            }
        }
        Ok(())
    }
}

/// The old one stays until the new one is complete: it may have taken an hour.
fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    let (path, new) = (folder.join(name), folder.join(format!("{name}.new")));
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, &path));
    written.with_context(|| format!("writing {}", path.display()))
}
