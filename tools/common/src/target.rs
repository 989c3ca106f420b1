// SPDX-License-Identifier: GPL-2.0

//! The device or image file that a tool works on.

use std::fs::{self, File, OpenOptions};
use std::io::{Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use latchfs_host::{Device, BLOCK_BYTES};
use rustix::fs::{flock, FlockOperation, OFlags};

use crate::cli::{reason, Failure};

/// What a tool wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Look, even if someone else has it mounted.
    Read,
    /// Look, and fail if it is in use: a check of a mounted file system finds nonsense.
    ReadExclusive,
    /// Change, and fail if it is in use.
    Write,
}

/// An open device or image.
#[derive(Debug)]
pub struct Target {
    /// Path as the user gave it; what messages name.
    pub path: PathBuf,
    /// The open file.
    pub file: File,
    /// Size in bytes.
    pub size: u64,
    /// Whether it is a block device.
    pub is_device: bool,
    access: Access,
}

impl Target {
    /// Opens a block device or regular file.
    ///
    /// A device that is mounted, used for swap or part of another one is refused unless the access
    /// is [`Access::Read`]: the kernel gives an exclusive open (`O_EXCL`) to one user only. An image
    /// file is in use if a loop device is attached to it.
    pub fn open(path: &Path, access: Access) -> Result<Self, Failure> {
        let fail = |error| Failure::new(format!("{}: {}", path.display(), reason(&error)));
        let kind = fs::metadata(path).map_err(fail)?.file_type();
        let is_device = kind.is_block_device();
        if !is_device && !kind.is_file() {
            let path = path.display();
            return Err(Failure::new(format!(
                "{path}: not a block device or regular file"
            )));
        }

        let mut options = OpenOptions::new();
        options.read(true).write(access == Access::Write);
        if is_device && access != Access::Read {
            options.custom_flags(OFlags::EXCL.bits() as i32);
        }
        let mut file = options.open(path).map_err(|error| {
            if is_device && error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) {
                let path = path.display();
                return Failure::new(format!(
                    "{path}: in use (mounted, swap, or part of another device)"
                ));
            }
            fail(error)
        })?;
        if access == Access::Write {
            // udev does not probe a device that is locked like this.
            let _ = flock(&file, FlockOperation::NonBlockingLockExclusive);
        }
        let size = file.seek(SeekFrom::End(0)).map_err(fail)?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            size,
            is_device,
            access,
        })
    }

    /// The loop device that is attached to this image file, if one is.
    pub fn loop_device(&self) -> Option<String> {
        if self.is_device {
            return None;
        }
        let own = self.file.metadata().ok()?;
        for entry in fs::read_dir("/sys/block").ok()?.flatten() {
            let backing = entry.path().join("loop/backing_file");
            let Ok(path) = fs::read_to_string(backing) else {
                continue;
            };
            let Ok(other) = fs::metadata(path.trim_end_matches('\n')) else {
                continue;
            };
            if (other.dev(), other.ino()) == (own.dev(), own.ino()) {
                return Some(format!("/dev/{}", entry.file_name().to_string_lossy()));
            }
        }
        None
    }

    /// Refuses an image file to which a loop device is attached.
    pub fn refuse_loop(&self) -> Result<(), Failure> {
        match self.loop_device() {
            Some(dev) => {
                let path = self.path.display();
                Err(Failure::new(format!("{path}: in use by {dev}")))
            }
            None => Ok(()),
        }
    }

    /// Size in whole blocks.
    pub fn blocks(&self) -> u64 {
        self.size / BLOCK_BYTES as u64
    }

    /// Refuses an image file whose loop device is mounted or otherwise held.
    pub fn refuse_busy_loop(&self) -> Result<(), Failure> {
        let Some(dev) = self.loop_device() else {
            return Ok(());
        };
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::EXCL.bits() as i32);
        match options.open(&dev) {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                let path = self.path.display();
                Err(Failure::new(format!(
                    "{path}: in use by {dev}, which is in use"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The device of the facade over this file, for ring 1.
    pub fn device(&self) -> Result<Device, Failure> {
        let file = self
            .file
            .try_clone()
            .map_err(|error| Failure::io(self.path.display(), &error))?;
        let read_only = self.access != Access::Write;
        Ok(Device::file(file, self.blocks(), read_only))
    }
}
