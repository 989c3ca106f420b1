// SPDX-License-Identifier: GPL-2.0

//! Writes the golden images anew.

use std::path::Path;
use std::process::ExitCode;

use latchfs_golden::{besides, fresh, fresh_crash, listing, pack, pack_over, replayed};
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
    let image = fresh().dev;
    let text = listing(&Volume::open(image.clone())?)?;
    let crashed = fresh_crash();
    let records = pack_over(&image, &crashed)?;
    // Against the listing that is written here, not the one of the last time.
    let after = besides(&text, &replayed(&crashed)?)?;
    for (name, bytes) in [
        ("image", pack(&image)?.as_slice()),
        ("listing", text.as_bytes()),
        ("crashed", records.as_slice()),
        ("crashed-listing", after.as_bytes()),
    ] {
        let path = dir.join(name);
        std::fs::write(&path, bytes).map_err(|error| Failure::io(path.display(), &error))?;
        println!("{}: {} bytes", path.display(), bytes.len());
    }
    Ok(())
}
