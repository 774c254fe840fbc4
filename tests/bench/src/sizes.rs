//! The sizes of the uploads.

use std::{fs, io::Write, path::Path};

use anyhow::{Context, Result};
use flate2::{Compression, write::GzEncoder};
use serde::Serialize;

/// The size of a WebAssembly module.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Size {
    pub(crate) name: String,
    pub(crate) bytes: usize,
    /// The size with gzip's best compression.
    pub(crate) gzipped: usize,
}

impl Size {
    pub(crate) fn of(name: &str, path: &Path) -> Result<Size> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        Ok(Size { name: name.to_owned(), bytes: bytes.len(), gzipped: encoder.finish()?.len() })
    }
}
