// SPDX-License-Identifier: GPL-2.0

//! ioctl(2): stopping the file system, trimming it, its label.

use super::error::Edge as _;
use super::Latchfs;
use super::SuperBlock;
use crate::engine::mount::ShutdownHow;
use crate::format::units::BLOCK_SIZE;
use crate::kapi::ioctl;
use crate::kapi::ioctl::IoctlOps;
use crate::kapi::ioctl::Shutdown;
use crate::kapi::ioctl::TrimRange;
use kernel::prelude::*;

impl IoctlOps for Latchfs {
    /// As `xfs_fs_goingdown()`: the answer is that it is down, whatever could not be written before.
    fn goingdown(sb: &SuperBlock, how: Shutdown) -> Result {
        let m = &sb.data().mount;
        match how {
            Shutdown::Default => {
                // Frozen, everything is in its place. A file system that cannot be frozen is left
                // alone.
                let _ = sb.with_frozen(|| {
                    let _ = m.shutdown_by_user(ShutdownHow::NoLogFlush);
                });
            }
            Shutdown::LogFlush if !m.read_only() => {
                let _ = m.shutdown_by_user(ShutdownHow::LogFlush);
            }
            Shutdown::LogFlush | Shutdown::NoLogFlush => {
                let _ = m.shutdown_by_user(ShutdownHow::NoLogFlush);
            }
        }
        Ok(())
    }

    fn trim(sb: &SuperBlock, range: &mut TrimRange) -> Result {
        let data = sb.data();
        if data.options.get().norecovery {
            return Err(EROFS);
        }
        if range.len < BLOCK_SIZE as u64 {
            return Err(EINVAL);
        }
        range.len = data
            .mount
            .trim(range.start, range.len, range.min, &ioctl::interrupted)
            .edge(sb)?;
        Ok(())
    }

    fn label(sb: &SuperBlock, out: &mut [u8; ioctl::LABEL_MAX]) -> Result {
        let label = sb.data().mount.label().edge(sb)?;
        if let Some(to) = out.get_mut(..label.len()) {
            to.copy_from_slice(&label);
        }
        Ok(())
    }

    fn set_label(sb: &SuperBlock, label: &[u8]) -> Result {
        sb.data().mount.set_label(label).edge(sb)?;
        sb.forget_read_device();
        Ok(())
    }
}
