// SPDX-License-Identifier: GPL-2.0

//! File handles. A handle is number and generation; the generation is drawn at random each time a
//! number is used again, so a handle of a deleted file fails with ESTALE (rules M3), once nobody has
//! the file open any more.

use super::error::Edge as _;
use super::inode;
use super::inode::push_attrs;
use super::mount_of;
use super::IRef;
use super::Inode;
use super::Latchfs;
use super::SuperBlock;
use crate::engine;
use crate::engine::file;
use crate::engine::namespace;
use crate::format::units::Ino;
use crate::kapi::exportfs::ExportOps;
use kernel::prelude::*;

impl ExportOps for Latchfs {
    fn by_handle(sb: &SuperBlock, ino: u64, generation: u32) -> Result<IRef> {
        let m = &sb.data().mount;
        match engine::inode::iget_handle(m, Ino(ino), generation).edge(sb) {
            Ok(found) => inode::iget(sb, found),
            // Without a name, but perhaps somebody has it open. Only the VFS knows, and only an
            // inode that it has is safe from inodegc.
            Err(e) if e == ESTALE => sb
                .ilookup(ino)
                .filter(|inode| inode.generation() == generation)
                .ok_or(ESTALE),
            Err(e) => Err(e),
        }
    }

    fn parent(dir: &Inode) -> Result<IRef> {
        let found = namespace::parent(mount_of(dir), dir.data()).at(dir)?;
        inode::iget(dir.sb(), found)
    }

    fn commit_metadata(inode: &Inode) -> Result {
        push_attrs(inode)?;
        file::fsync_metadata(mount_of(inode), inode.data(), file::Upto::NONE, false).at(inode)
    }
}
