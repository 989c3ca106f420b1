// SPDX-License-Identifier: GPL-2.0

//! The volume label.

use super::Mount;
use crate::{
    engine::error::{Error, Result},
    format::{
        limits::LABEL_SIZE,
        superblock::Superblock,
        units::DiskBlock, //
    },
    sys::{Block, Errno},
};

impl Mount {
    /// The label, zero padded. Does not sleep.
    pub fn label(&self) -> Result<[u8; LABEL_SIZE]> {
        self.superblock(|sb| sb.label)
    }

    /// Changes the label: in the superblock, then in its copies. After a crash in between the copies
    /// have the old one, which fsck finds and corrects. Durable when it returns. May sleep; nothing
    /// may be held. EINVAL if it is longer than 64 bytes or has a NUL; EROFS, EIO.
    ///
    /// Compare `xfs_ioc_setlabel`.
    pub fn set_label(&self, label: &[u8]) -> Result {
        self.check_writable()?;
        let mut padded = [0; LABEL_SIZE];
        match padded.get_mut(..label.len()) {
            Some(to) if !label.contains(&0) => to.copy_from_slice(label),
            _ => return Err(Error::new(Errno::INVAL)),
        }
        self.write_super(|sb| sb.label = padded)?;
        self.buf().device().flush()?;

        let _turn = self.super_turn.lock();
        let mut block = Block::must_zeroed();
        for ag in self.geo().ags().skip(1) {
            if let Some(at) = self.geo().superblock_copy(ag) {
                self.put_copy(at, &mut block)?;
            }
        }
        Ok(self.buf().device().flush()?)
    }

    /// Writes a copy of the superblock as it is now.
    fn put_copy(&self, at: DiskBlock, block: &mut Block) -> Result {
        {
            let held = self.sb.lock();
            block.copy_from_slice(held.as_slice());
        }
        Superblock::of_mut(block.as_mut_slice())
            .ok_or(Error::new(Errno::UCLEAN))?
            .seal(at);
        Ok(self.buf().device().write_block(at.get(), block)?)
    }
}
