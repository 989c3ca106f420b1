// SPDX-License-Identifier: GPL-2.0

//! The golden images.
//!
//! `image` in this directory is a small file system with one of everything, as records of what is
//! not zero: offset (u64), length (u32), both little endian, then that many bytes. `listing` is what
//! must be found in it. `crashed` is the same file system as a crash left it, with a log that was not
//! replayed: records of what is other than in `image`; `crashed-listing` is what must be found there
//! besides when it was. Once version 1 is frozen all four stay as they are forever; until then they
//! are written anew when `format_rev` is raised:
//!
//! ```text
//! cargo run -p latchfs-golden
//! ```

use std::collections::HashSet;
use std::fmt::Write;

use latchfs_engine::engine::mount::{Mount, MountOpts};
use latchfs_engine::format::{FileType, Ino, BLOCK_SIZE};
use latchfs_host::{Block, Device};
use latchfs_image::{crash, sample, Image};
use latchfs_tool::{Failure, Volume};

/// The image.
pub const IMAGE: &[u8] = include_bytes!("../image");
/// What is in it.
pub const LISTING: &str = include_str!("../listing");
/// What a crash has made of the image.
pub const CRASHED: &[u8] = include_bytes!("../crashed");
/// What is in it besides after its log was replayed.
pub const CRASHED_LISTING: &str = include_str!("../crashed-listing");

/// Runs of zeroes shorter than this are kept: a record has a head of 12 bytes.
const GAP: usize = 12;

/// The image as it would be made today.
pub fn fresh() -> Image {
    sample().image
}

/// The image after a crash as it would be made today; but for the generations of new inodes, and
/// what the clock says.
pub fn fresh_crash() -> Device {
    let dev = fresh().dev;
    crash(&dev);
    dev
}

/// A device as records.
pub fn pack(dev: &Device) -> Result<Vec<u8>, Failure> {
    pack_over(&Device::memory(dev.blocks()), dev)
}

/// What is other on `dev` than on `base`, as records.
pub fn pack_over(base: &Device, dev: &Device) -> Result<Vec<u8>, Failure> {
    let mut out = Vec::new();
    let (mut block, mut old) = (Block::must_zeroed(), Block::must_zeroed());
    for at in 0..dev.blocks() {
        for (dev, block) in [(base, &mut old), (dev, &mut block)] {
            dev.read_block(at, block)
                .map_err(|error| Failure::new(format!("block {at}: {error:?}")))?;
        }
        let other: Vec<bool> = block.iter().zip(old.iter()).map(|(a, b)| a != b).collect();
        let mut start = 0;
        while let Some(first) = other[start..].iter().position(|other| *other) {
            let first = start + first;
            let mut end = first + 1;
            while let Some(next) = other[end..].iter().take(GAP).position(|other| *other) {
                end += next + 1;
            }
            let offset = at * BLOCK_SIZE as u64 + first as u64;
            out.extend_from_slice(&offset.to_le_bytes());
            out.extend_from_slice(&((end - first) as u32).to_le_bytes());
            out.extend_from_slice(&block[first..end]);
            start = end;
        }
    }
    Ok(out)
}

/// The records of [`pack`] on a device of `blocks` blocks in memory.
pub fn unpack(records: &[u8], blocks: u64) -> Result<Device, Failure> {
    let dev = Device::memory(blocks);
    unpack_over(records, &dev)?;
    Ok(dev)
}

/// Writes the records of [`pack_over`] to a device that has what they were made against.
pub fn unpack_over(mut records: &[u8], dev: &Device) -> Result<(), Failure> {
    let bad = || Failure::new("the golden image is cut off");
    let fail = |error| Failure::new(format!("{error:?}"));
    let mut block = Block::must_zeroed();
    while !records.is_empty() {
        let (offset, rest) = records.split_first_chunk().ok_or_else(bad)?;
        let (len, rest) = rest.split_first_chunk().ok_or_else(bad)?;
        let (offset, len) = (u64::from_le_bytes(*offset), u32::from_le_bytes(*len));
        let (bytes, rest) = rest.split_at_checked(len as usize).ok_or_else(bad)?;
        records = rest;
        let at = offset / BLOCK_SIZE as u64;
        let start = (offset % BLOCK_SIZE as u64) as usize;
        dev.read_block(at, &mut block).map_err(fail)?;
        let place = block.get_mut(start..start + bytes.len()).ok_or_else(bad)?;
        place.copy_from_slice(bytes);
        dev.write_block(at, &block).map_err(fail)?;
    }
    Ok(())
}

/// What `listing` has that is not in `base`, of which nothing may be gone.
pub fn besides(base: &str, listing: &str) -> Result<String, Failure> {
    let known: HashSet<&str> = base.lines().collect();
    let (old, new): (Vec<&str>, Vec<&str>) = listing.lines().partition(|l| known.contains(l));
    if old.len() != known.len() {
        return Err(Failure::new("something of the golden image is gone"));
    }
    Ok(new.iter().map(|line| format!("{line}\n")).collect())
}

/// The listing of a file system after a crash, once a mount has replayed its log. `dev` is changed.
pub fn replayed(dev: &Device) -> Result<String, Failure> {
    let fail = |error| Failure::new(format!("{error}"));
    let m = Mount::open(dev.clone(), MountOpts::default()).map_err(fail)?;
    m.unmount().map_err(fail)?;
    listing(&Volume::open(dev.clone())?)
}

/// All files of a file system: path, type, mode, owner, links, size, blocks, content.
pub fn listing(volume: &Volume) -> Result<String, Failure> {
    let mut out = String::new();
    list(volume, volume.sb.root(), "", &mut out)?;
    Ok(out)
}

/// Number of attributes, and checksum of all names and values in the order of names.
fn attributes(
    volume: &Volume,
    ino: Ino,
    slot: &latchfs_engine::format::InodeSlot,
) -> Result<Option<String>, Failure> {
    let mut all = Vec::new();
    for attr in volume.attributes(ino, slot)? {
        all.push((attr.full_name(), volume.attribute_value(ino, &attr)?));
    }
    Ok(summary(&mut all))
}

/// What the listing says of these attributes.
pub fn summary(all: &mut [(Vec<u8>, Vec<u8>)]) -> Option<String> {
    all.sort();
    let crc = all.iter().fold(0, |crc, (name, value)| {
        latchfs_host::crc32c(latchfs_host::crc32c(crc, name), value)
    });
    (!all.is_empty()).then(|| format!("attributes {} crc {crc:08x}", all.len()))
}

fn list(volume: &Volume, dir: Ino, path: &str, out: &mut String) -> Result<(), Failure> {
    let mut entries = volume.entries(dir)?;
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    for entry in entries {
        let path = format!("{path}/{}", entry.name.escape_ascii());
        let (slot, defect) = volume.slot(entry.ino)?;
        if let Some(defect) = defect {
            return Err(Failure::new(format!("{path}: {defect}")));
        }
        let ftype = slot.file_type();
        let content = match ftype {
            Some(FileType::Regular) => {
                let mut crc = 0;
                volume.content(entry.ino, &mut |bytes| {
                    crc = latchfs_host::crc32c(crc, bytes);
                    Ok(())
                })?;
                format!("crc {crc:08x}")
            }
            Some(FileType::Symlink) => {
                let target = volume.target(entry.ino)?;
                format!("target crc {:08x}", latchfs_host::crc32c(0, &target))
            }
            Some(FileType::Directory) => format!("parent {}", slot.parent.get()),
            _ => format!("rdev {:#x}", slot.rdev.get()),
        };
        let _ = writeln!(
            out,
            "{path} ino {} mode {:o} uid {} gid {} nlink {} size {} blocks {} mtime {} {content}",
            entry.ino,
            slot.mode.get(),
            slot.uid.get(),
            slot.gid.get(),
            slot.nlink.get(),
            slot.size.get(),
            slot.blocks.get(),
            slot.mtime.get(),
        );
        if let Some(attrs) = attributes(volume, entry.ino, &slot)? {
            let _ = writeln!(out, "{path} {attrs}");
        }
        if ftype == Some(FileType::Directory) {
            list(volume, entry.ino, &path, out)?;
        }
    }
    Ok(())
}
