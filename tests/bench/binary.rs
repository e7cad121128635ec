//! The binary's size, as it is shipped: stripped, of the release profile.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::PODZERO;
use crate::stats::short;
use crate::table::{Figure, Goal, Row};

/// Mebibytes would flatter: these are 10^6 bytes.
const MB: f64 = 1e6;

/// The size.
pub(crate) fn figure() -> Result<Figure> {
    let size = |path: &Path| -> Result<f64> {
        let data = fs::metadata(path).context("looking at a binary")?;
        Ok(data.len() as f64 / MB)
    };
    let podzero = size(Path::new(PODZERO))?;
    let server = size(&harness::set::server_binary()?)?;
    Ok(Figure {
        title: "binary, MB, against the server's (which is redis-sentinel's too)".to_owned(),
        rows: vec![Row {
            what: "size",
            podzero: short(podzero),
            against: short(server),
            goal: Some(Goal {
                most: 8.0,
                is: podzero,
            }),
        }],
    })
}
