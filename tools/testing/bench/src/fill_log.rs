// SPDX-License-Identifier: GPL-2.0

//! A file system whose log is full, for measuring how long a mount has to replay.
//!
//! The engine does nothing in the background here, and puts metadata in its place only when it
//! lacks space in the log. So the mount is left just before that: everything is in the log, nothing
//! is in its place.

use crate::{directory, fail, file, root, row, AnyError};
use latchfs_engine::engine::{
    mount::{Mount, MountOpts},
    namespace,
    recovery::Live,
};
use latchfs_engine::format::{log::body_bytes, DiskBlock, Superblock};
use latchfs_host::{Arc, Block, Device, BLOCK_BYTES};

/// Files of a directory, and files between two checkpoints.
const FILES: u32 = 1_000;

/// Bytes of log that the next mount will replay, and bytes it has.
fn live(dev: &Device) -> Result<(u64, u64), AnyError> {
    let mut block = Block::try_zeroed().map_err(fail("memory"))?;
    dev.read_block(0, &mut block).map_err(fail("superblock"))?;
    let sb = Superblock::of(&block[..]).ok_or("no superblock")?;
    let context = sb.verify(DiskBlock(0)).map_err(fail("superblock"))?;
    let live = Live::find(dev, &context, sb).map_err(fail("log"))?;
    let first = live.checkpoints().first().map_or(live.head(), |c| c.start);
    let bytes = live.head().get() - first.get();
    Ok((bytes, body_bytes(context.geometry.log().len)))
}

/// Makes files in the file system of the image `path` until its log is about as full as it gets: an
/// eighth of it is kept for chains of transactions.
pub fn fill_log(path: &str) -> Result<(), AnyError> {
    let image = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(fail("image"))?;
    let blocks = image.metadata().map_err(fail("image"))?.len() / BLOCK_BYTES as u64;
    let dev = Device::file(image, blocks, false);
    let m = Mount::open(dev.clone(), MountOpts::default()).map_err(fail("mount"))?;
    let mut files = 0;
    let mut before = 0;
    loop {
        directory_of_files(&m, files / FILES)?;
        files += FILES;
        m.checkpoint().map_err(fail("checkpoint"))?;
        let (used, size) = live(&dev)?;
        if used < before {
            return Err("the log was emptied before it was full".into());
        }
        before = used;
        if used >= size / 16 * 13 {
            let mib = |n: u64| n as f64 / f64::from(1 << 20);
            row(
                "log to be replayed",
                format!("{:.1} of {:.1} MiB", mib(used), mib(size)),
            );
            row("files made", files.to_string());
            // As a crash leaves it.
            std::mem::forget(m);
            return Ok(());
        }
    }
}

fn directory_of_files(m: &Arc<Mount>, n: u32) -> Result<(), AnyError> {
    let root = root(m)?;
    let name = format!("directory-{n}");
    let dir =
        namespace::create(m, &root, name.as_bytes(), &directory()).map_err(fail("directory"))?;
    for k in 0..FILES {
        let name = format!("file-{n}-{k}");
        namespace::create(m, &dir, name.as_bytes(), &file()).map_err(fail("file"))?;
    }
    Ok(())
}
