// SPDX-License-Identifier: GPL-2.0

//! Writes the golden image anew.

use std::path::Path;
use std::process::ExitCode;

use latchfs_golden::{fresh, listing, pack};
use latchfs_tool::{cli, Failure, Volume};

fn main() -> ExitCode {
    match write() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            cli::complain("latchfs-golden", failure);
            ExitCode::FAILURE
        }
    }
}

fn write() -> Result<(), Failure> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    let image = fresh();
    let records = pack(&image.dev)?;
    let text = listing(&Volume::open(image.dev.clone())?)?;
    for (name, bytes) in [("image", records.as_slice()), ("listing", text.as_bytes())] {
        let path = dir.join(name);
        std::fs::write(&path, bytes).map_err(|error| Failure::io(path.display(), &error))?;
        println!("{}: {} bytes", path.display(), bytes.len());
    }
    Ok(())
}
