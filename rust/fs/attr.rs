// SPDX-License-Identifier: GPL-2.0

//! Attributes: stat, chmod, chown, utimes, truncate, chattr.

use super::error::Edge as _;
use super::inode;
use super::inode::push_attrs;
use super::mount_of;
use super::xattr;
use super::Inode;
use super::Latchfs;
use crate::bindings;
use crate::engine::file;
use crate::engine::namespace;
use crate::format::inode::FLAG_ALL;
use crate::format::inode::FLAG_APPEND;
use crate::format::inode::FLAG_IMMUTABLE;
use crate::format::inode::FLAG_NODUMP;
use crate::kapi::acl::Acl;
use crate::kapi::acl::AclType;
use crate::kapi::fileattr::FileAttr;
use crate::kapi::inode::InodeOps;
use crate::kapi::namei::SetAttr;
use crate::kapi::pagemap::InvalidateLock;
use crate::kapi::stat::KStat;
use crate::sys::witness::IolockExcl;
use kernel::prelude::*;

impl InodeOps for Latchfs {
    fn getattr(inode: &Inode, stat: &mut KStat) -> Result {
        if mount_of(inode).is_shutdown() {
            return Err(EIO);
        }
        let attrs = inode.data().attrs();
        stat.set_btime(attrs.btime);
        let mut blocks = attrs.blocks;
        if inode.is(bindings::S_IFREG) {
            blocks = blocks.saturating_add(file::delayed_blocks(inode.data()));
            let align = inode.sb().data().dio_align;
            stat.set_dio_align(align, align);
        }
        stat.set_blocks(blocks.saturating_mul(inode::SECTORS));
        stat.set_attributes(statx_attributes(attrs.flags), statx_attributes(FLAG_ALL));
        Ok(())
    }

    fn setattr(args: &mut SetAttr<'_, Self>) -> Result {
        let inode = args.inode();
        if mount_of(inode).is_shutdown() {
            return Err(EIO);
        }
        args.prepare()?;
        match args.size() {
            Some(size) => set_size(args, size)?,
            None => args.copy(),
        }
        inode.inc_version();
        let chmod = args.has(bindings::ATTR_MODE);
        store(inode, chmod).inspect_err(|_| take_back(inode))?;
        sync_if_asked(inode)
    }

    fn readlink(inode: &Inode, out: &mut KVec<u8>) -> Result {
        inode::read_target(inode.sb(), inode.data(), out)
    }

    fn fileattr_get(inode: &Inode) -> Result<(u32, u32)> {
        let attrs = inode.data().attrs();
        // CAST: the flags are those of FS_*_FL, which has 32 bits.
        Ok(((attrs.flags & FLAG_ALL) as u32, attrs.projid))
    }

    fn fileattr_set(inode: &Inode, fa: &FileAttr) -> Result {
        let flags = u64::from(fa.flags());
        if fa.has_fsx() || flags & !FLAG_ALL != 0 {
            return Err(EOPNOTSUPP);
        }
        let now = inode.touch_ctime();
        inode.inc_version();
        namespace::set_flags(mount_of(inode), inode.data(), flags, None, now).at(inode)?;
        inode.set_flags(inode::vfs_flags(flags), inode::S_MASK);
        sync_if_asked(inode)
    }

    fn sync_lazytime(inode: &Inode) {
        // Nobody to report to: the next fsync or sync tries again and does report.
        let _ = push_attrs(inode);
    }
}

/// Hands the new attributes over to the engine. An access ACL follows a change of the mode, in the
/// same transaction.
#[inline(never)]
fn store(inode: &Inode, chmod: bool) -> Result {
    let acl = if chmod {
        Acl::for_mode(inode, inode.mode())?
    } else {
        None
    };
    let Some(acl) = acl else {
        return push_attrs(inode);
    };
    let change = inode::unlogged(inode).unwrap_or_default();
    let name = xattr::acl_name(AclType::Access);
    let bytes = acl.to_bytes()?;
    crate::engine::xattr::set_acl(mount_of(inode), inode.data(), name, Some(&bytes), &change)
        .at(inode)?;
    Acl::cache(inode, AclType::Access, Some(&acl));
    inode::refresh(inode);
    Ok(())
}

/// Makes a change of attributes durable if the mount or the inode asks for it (`sync`, chattr +S).
fn sync_if_asked(inode: &Inode) -> Result {
    if inode.is_sync() {
        mount_of(inode).sync_log().at(inode)?;
    }
    Ok(())
}

/// The attributes of statx(2) for our flags.
fn statx_attributes(flags: u64) -> u64 {
    [
        (FLAG_IMMUTABLE, bindings::STATX_ATTR_IMMUTABLE),
        (FLAG_APPEND, bindings::STATX_ATTR_APPEND),
        (FLAG_NODUMP, bindings::STATX_ATTR_NODUMP),
    ]
    .iter()
    .filter(|(flag, _)| flags & flag != 0)
    .fold(0, |all, (_, attr)| all | u64::from(*attr))
}

/// The engine refused a change that the VFS inode has already: puts the old values back.
fn take_back(inode: &Inode) {
    let attrs = inode.data().attrs();
    inode.set_owner(attrs.mode, attrs.uid, attrs.gid);
    inode.set_times(attrs.atime, attrs.mtime, attrs.ctime);
}

/// truncate(2): changes the size, then the other attributes in the VFS inode.
///
/// `i_rwsem` is held by the VFS. The invalidate lock keeps faults out, from before the page cache
/// is cut until the blocks are gone; direct I/O is waited for.
#[inline(never)]
fn set_size(args: &mut SetAttr<'_, Latchfs>, size: u64) -> Result {
    let inode = args.inode();
    if size != inode.size() {
        args.touch_for_size();
    }
    if size < inode.size() {
        file::note_truncated(inode.data());
    }
    let inval = inode.invalidate_lock();
    inode.dio_wait();
    let iolock = args.iolock();
    resize(inode, &iolock, &inval, size, || args.copy())?;
    inode::refresh(inode);
    Ok(())
}

/// Changes the size of a file: page cache, VFS inode, engine. `copy` changes the other attributes of
/// the VFS inode when its size is the new one. Direct I/O has ended.
pub fn resize(
    inode: &Inode,
    iolock: &IolockExcl<'_>,
    inval: &InvalidateLock<'_, Latchfs>,
    size: u64,
    copy: impl FnOnce(),
) -> Result {
    let (m, r) = (mount_of(inode), inode.data());
    let plan = file::truncate_plan(m, r, size).at(inode)?;
    if let Some((pos, len)) = plan.zero {
        inode.zero_range(iolock, inval, pos, len)?;
    }
    if let Some((start, end)) = plan.flush {
        inode.write_and_wait(start, end.saturating_sub(1))?;
    }
    let inval_held = inval.witness();
    let cut = file::Cut::begin(m, r, iolock, &inval_held).at(inode)?;
    inode.truncate_setsize(iolock, inval, size);
    copy();
    file::truncate(m, r, iolock, &inval_held, cut, size, inode.mtime()).at(inode)
}
