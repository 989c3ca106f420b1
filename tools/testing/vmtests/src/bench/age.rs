// SPDX-License-Identifier: GPL-2.0

//! Ages a file system: fills it to nine tenths with files of mixed sizes, takes a third of them
//! away, and fills it again, over and over.
//!
//! How much fits differs from file system to file system, so the time is that of a fixed number
//! of bytes.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use crate::rng::Rng;

/// Bytes of the files, in turn by chance. Most are small, most bytes are in large ones.
const SIZES: [usize; 8] = [700, 3000, 9000, 20_000, 60_000, 200_000, 700_000, 2_500_000];
/// Times a third is taken away and written again.
const CYCLES: u32 = 3;
/// The bytes that the time is given for.
const PER_BYTES: u64 = 1 << 29;
/// Bytes between two looks at the free space.
const STEP: u64 = 1 << 23;

/// Total and available bytes, as df has them.
fn space(dir: &Path) -> Result<(u64, u64), String> {
    let out = Command::new("stat")
        .args(["-f", "-c", "%S %b %a"])
        .arg(dir)
        .output()
        .map_err(|e| format!("stat: {e}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let mut words = text.split_whitespace().map(str::parse::<u64>);
    match (words.next(), words.next(), words.next()) {
        (Some(Ok(size)), Some(Ok(all)), Some(Ok(left))) => Ok((size * all, size * left)),
        _ => Err(format!("stat: '{}'", text.trim())),
    }
}

/// syncfs(2).
fn sync(dir: &Path) -> Result<(), String> {
    match Command::new("sync").arg("-f").arg(dir).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("sync: {status}")),
        Err(e) => Err(format!("sync: {e}")),
    }
}

/// Writes files until a tenth is left; the bytes written.
fn fill(dir: &Path, rng: &mut Rng, files: &mut Vec<u64>, next: &mut u64) -> Result<u64, String> {
    let data = rng.bytes(SIZES[SIZES.len() - 1]);
    let mut written = 0;
    loop {
        let (all, left) = space(dir)?;
        let mut room = left.saturating_sub(all / 10).min(STEP);
        if room < 1 << 20 {
            sync(dir)?;
            let (all, left) = space(dir)?;
            if left.saturating_sub(all / 10) < 1 << 20 {
                return Ok(written);
            }
            continue;
        }
        while room > 0 {
            let len = SIZES[rng.below(SIZES.len() as u64) as usize].min(room as usize);
            let path = dir.join(format!("d{}/f{next}", *next % 16));
            File::create_new(&path)
                .and_then(|mut file| file.write_all(&data[..len]))
                .map_err(|e| format!("{}: {e}", path.display()))?;
            files.push(*next);
            *next += 1;
            room -= len as u64;
            written += len as u64;
        }
    }
}

/// Ages the file system in `dir`; how long [`PER_BYTES`] of it took.
pub(super) fn run(dir: &Path) -> Result<Duration, String> {
    let mut rng = Rng::new(7);
    let (mut files, mut next) = (Vec::new(), 0);
    for sub in 0..16 {
        fs::create_dir(dir.join(format!("d{sub}"))).map_err(|e| format!("mkdir: {e}"))?;
    }
    let start = Instant::now();
    let mut written = fill(dir, &mut rng, &mut files, &mut next)?;
    for _ in 0..CYCLES {
        let mut kept = Vec::new();
        for file in files {
            if rng.below(3) != 0 {
                kept.push(file);
                continue;
            }
            let path = dir.join(format!("d{}/f{file}", file % 16));
            fs::remove_file(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        files = kept;
        sync(dir)?;
        written += fill(dir, &mut rng, &mut files, &mut next)?;
    }
    sync(dir)?;
    Ok(start
        .elapsed()
        .mul_f64(PER_BYTES as f64 / written.max(1) as f64))
}
