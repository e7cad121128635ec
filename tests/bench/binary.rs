//! The binary's size, as it is shipped: stripped, of the release profile, and static.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::PODZERO;
use crate::report::{Figure, Row};

/// Mebibytes would flatter: these are 10^6 bytes.
const MB: f64 = 1e6;

/// The size.
pub(crate) fn figure() -> Result<Figure> {
    let size = |path: &Path| -> Result<f64> {
        let data = fs::metadata(path).context("looking at a binary")?;
        Ok(data.len() as f64 / MB)
    };
    Ok(Figure {
        title: "the binary".to_owned(),
        rows: vec![
            Row::new("size", "MB")
                .promised("podzero", size(Path::new(PODZERO))?, 8.0)
                .way("redis-server", size(&harness::set::server_binary()?)?),
        ],
        remarks: vec![
            "podzero's is the image's one file and needs no library; the server's, which is \
             redis-sentinel's too, needs the system's."
                .to_owned(),
        ],
    })
}
