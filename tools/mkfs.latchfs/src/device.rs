// SPDX-License-Identifier: GPL-2.0

//! What mkfs does to a device besides writing a file system: erase and discard.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::process::{Command, Stdio};

use latchfs_tool::Target;
use rustix::fs::{fallocate, major, minor, FallocateFlags};

/// Bytes erased at the start: every signature that libblkid knows is there or in the tail.
pub const WIPE_HEAD: u64 = 1 << 20;
/// Bytes erased at the end: backup tables, raid and zfs labels.
pub const WIPE_TAIL: u64 = 1 << 20;

/// Overwrites the places of old signatures with zeroes. The first block goes last, and is durable
/// before this returns: from then on nobody takes the device for what it was.
pub fn wipe(target: &Target) -> io::Result<()> {
    let tail = target.size.saturating_sub(WIPE_TAIL).max(WIPE_HEAD);
    zero(&target.file, tail.min(target.size), target.size)?;
    zero(&target.file, 0, WIPE_HEAD.min(target.size))?;
    target.file.sync_data()
}

/// Writes zeroes to the bytes from `start` to `end`.
fn zero(file: &File, start: u64, end: u64) -> io::Result<()> {
    let zeroes = vec![0; 128 << 10];
    let mut at = start;
    while at < end {
        let len = (end - at).min(zeroes.len() as u64);
        file.write_all_at(&zeroes[..len as usize], at)?;
        at += len;
    }
    Ok(())
}

/// Tells the device, or the file system that holds the image, that nothing on it is needed. Says
/// whether all of it reads as zeroes now. A device that cannot do it, or fails to, loses nothing.
///
/// BLKDISCARD is an ioctl, for which there is no safe function, and blkdiscard(8) is where mount(8)
/// is. A hole punched in a block device would not do: that is a request for zeroes, which many
/// disks that can discard only fulfil by writing them.
pub fn discard(target: &Target) -> bool {
    let size = target.size & !4095;
    if size == 0 {
        return false;
    }
    if target.is_device {
        // What a discarded block reads as is up to the device.
        let _ = can_discard(&target.file) && blkdiscard(&target.file, size).unwrap_or(false);
        return false;
    }
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    fallocate(&target.file, flags, 0, size).is_ok()
}

/// Runs blkdiscard(8) on the first `size` bytes of a block device. Says whether it worked.
///
/// The device is passed on as standard input, so that it is this one whatever became of its name.
/// We hold it exclusively, which blkdiscard would like to do, too, without `--force`.
fn blkdiscard(device: &File, size: u64) -> io::Result<bool> {
    let size = size.to_string();
    let mut result = Ok(false);
    for program in ["blkdiscard", "/usr/sbin/blkdiscard", "/sbin/blkdiscard"] {
        result = Command::new(program)
            .args(["--force", "--length", &size, "/dev/stdin"])
            .stdin(device.try_clone()?)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .map(|status| status.success());
        if result.is_ok() {
            break;
        }
    }
    result
}

/// Whether the queue of a block device says that it can discard.
fn can_discard(file: &File) -> bool {
    let Ok(dev) = file.metadata().map(|meta| meta.rdev()) else {
        return false;
    };
    let dir = format!("/sys/dev/block/{}:{}", major(dev), minor(dev));
    // A partition has the queue of its disk, one level up.
    ["queue", "../queue"].iter().any(|queue| {
        fs::read_to_string(format!("{dir}/{queue}/discard_max_bytes"))
            .is_ok_and(|text| text.trim().parse::<u64>().is_ok_and(|max| max > 0))
    })
}
