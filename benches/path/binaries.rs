//! The programs under measurement, built the way they are shipped.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Result;

/// Where they are.
#[derive(Debug)]
pub(crate) struct Binaries {
    pub(crate) arcproxy: PathBuf,
    pub(crate) emulator: PathBuf,
}

impl Binaries {
    /// Builds what the environment does not name.
    ///
    /// arcproxy is built on its own: as `cargo bench` builds it, it has the features that its
    /// dependencies get from those of the tests.
    pub(crate) fn find() -> Result<Self> {
        Ok(Self {
            emulator: given_or_built("ARC_EMULATOR", "arc-emulator")?,
            arcproxy: given_or_built("ARCPROXY", "arcproxy")?,
        })
    }

    /// The size of arcproxy's binary.
    #[expect(clippy::cast_precision_loss, reason = "no binary is that large")]
    pub(crate) fn arcproxy_mib(&self) -> Result<f64> {
        Ok(fs::metadata(&self.arcproxy)?.len() as f64 / f64::from(1 << 20))
    }
}

fn given_or_built(variable: &str, package: &str) -> Result<PathBuf> {
    match env::var_os(variable) {
        Some(path) => Ok(fs::canonicalize(path)?),
        None => build(package),
    }
}

fn build(package: &str) -> Result<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--release", "--quiet", "--package", package])
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()?;
    if !built.success() {
        return Err(format!("{package} cannot be built").into());
    }
    Ok(target.join("release").join(package))
}
