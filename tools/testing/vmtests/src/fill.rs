// SPDX-License-Identifier: GPL-2.0

//! Fill a file system to the last block, read everything back, empty it.
//!
//! The rule under test: a write that was accepted is there, complete, also when
//! the next one met ENOSPC; and the space comes back.  Whether the free counts
//! are the same afterwards is for the caller to compare.

use std::{
    fs::{self, File, OpenOptions},
    io::{ErrorKind, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{
    rng::Rng,
    Options,
    Outcome, //
};

/// A file that was written, and how to make its content again.
struct Written {
    path: PathBuf,
    seed: u64,
    len: usize,
}

const SIZES: [usize; 8] = [0, 1, 100, 4095, 4096, 20_000, 300_000, 4_000_000];

/// ENOSPC by either of its names in std.
fn no_space(e: &std::io::Error) -> bool {
    matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// Writes one file; how many bytes went in and whether the space ended.
fn write_file(path: &Path, content: &[u8]) -> Result<(usize, bool), String> {
    let mut file = match File::create(path) {
        Ok(file) => file,
        Err(e) if no_space(&e) => return Ok((0, true)),
        Err(e) => return Err(format!("create {}: {e}", path.display())),
    };
    let mut done = 0;
    while let Some(rest) = content.get(done..).filter(|rest| !rest.is_empty()) {
        match file.write(rest) {
            Ok(0) => return Err(format!("{}: write gave 0 bytes", path.display())),
            Ok(n) => done += n,
            Err(e) if no_space(&e) => return Ok((done, true)),
            Err(e) => return Err(format!("write {}: {e}", path.display())),
        }
    }
    Ok((done, false))
}

fn check_file(w: &Written) -> Outcome {
    let mut found = Vec::new();
    File::open(&w.path)
        .and_then(|mut f| f.read_to_end(&mut found))
        .map_err(|e| format!("read {}: {e}", w.path.display()))?;
    if found.len() != w.len {
        return Err(format!(
            "{}: {} bytes, {} were accepted",
            w.path.display(),
            found.len(),
            w.len
        ));
    }
    let wanted = Rng::new(w.seed).bytes(w.len);
    match found.iter().zip(&wanted).position(|(a, b)| a != b) {
        None => Ok(()),
        Some(at) => Err(format!("{}: wrong content at {at}", w.path.display())),
    }
}

/// Fills with files of mixed sizes; the end of space must come within `limit`.
fn fill_up(dir: &Path, seed: u64, limit: u64) -> Result<Vec<Written>, String> {
    let mut rng = Rng::new(seed);
    let mut written = Vec::new();
    let mut refused = 0;
    for i in 0..limit {
        let sub = dir.join(format!("d{}", i % 16));
        match fs::create_dir_all(&sub) {
            Ok(()) => {}
            Err(e) if no_space(&e) => break,
            Err(e) => return Err(format!("mkdir {}: {e}", sub.display())),
        }
        // first big files, then ever smaller ones into what is left
        let biggest = SIZES.len() - (refused as usize).min(SIZES.len() - 1);
        let len = SIZES[rng.below(biggest as u64) as usize];
        let seed = rng.next();
        let path = sub.join(format!("f{i}"));
        let (done, full) = write_file(&path, &Rng::new(seed).bytes(len))?;
        if path.exists() {
            written.push(Written {
                path,
                seed,
                len: done,
            });
        }
        if full {
            refused += 1;
            if refused > 20 {
                return Ok(written);
            }
        }
    }
    if refused == 0 {
        return Err(format!("no ENOSPC after {limit} files"));
    }
    Ok(written)
}

/// An overwrite needs no space: it must work on a full file system.
fn overwrite(w: &Written) -> Outcome {
    let wanted = Rng::new(w.seed).bytes(w.len);
    let mut file = OpenOptions::new()
        .write(true)
        .open(&w.path)
        .map_err(|e| format!("open {}: {e}", w.path.display()))?;
    file.seek(SeekFrom::Start(0))
        .and_then(|_| file.write_all(&wanted))
        .and_then(|()| file.sync_all())
        .map_err(|e| {
            format!(
                "overwrite of {} on a full file system: {e}",
                w.path.display()
            )
        })
}

pub(crate) fn run(dir: &Path, options: &Options) -> Outcome {
    let seed = options.number("seed", 1)?;
    let limit = options.number("files", 200_000)?;
    let dir = dir.join("fill");
    fs::create_dir_all(&dir).map_err(|e| format!("mkdir {}: {e}", dir.display()))?;
    let written = fill_up(&dir, seed, limit)?;
    let bytes: usize = written.iter().map(|w| w.len).sum();
    println!("filled with {} files, {bytes} bytes", written.len());
    // delayed allocation must not have promised more than there is
    for w in written.iter().rev().take(50) {
        File::open(&w.path)
            .and_then(|f| f.sync_all())
            .map_err(|e| format!("fsync {} after ENOSPC: {e}", w.path.display()))?;
    }
    if let Some(w) = written.iter().find(|w| w.len >= 300_000) {
        overwrite(w)?;
    }
    for w in &written {
        check_file(w)?;
    }
    if !options.flag("keep") {
        fs::remove_dir_all(&dir).map_err(|e| format!("remove {}: {e}", dir.display()))?;
    }
    Ok(())
}
