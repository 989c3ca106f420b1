// SPDX-License-Identifier: GPL-2.0

//! From the engine's inode to the VFS inode, and back.

use super::error::Edge as _;
use super::mount_of;
use super::IRef;
use super::Inode;
use super::Latchfs;
use super::SuperBlock;
use crate::bindings;
use crate::engine::inode::Attrs;
use crate::engine::inode::InodeRef;
use crate::engine::namespace;
use crate::engine::namespace::Change;
use crate::format::inode::FLAG_APPEND;
use crate::format::inode::FLAG_DIRSYNC;
use crate::format::inode::FLAG_IMMUTABLE;
use crate::format::inode::FLAG_NOATIME;
use crate::format::inode::FLAG_SYNC;
use crate::kapi::inode::Iget;
use crate::kapi::inode::InodeAttrs;
use crate::kapi::inode::NewInode;
use crate::kapi::inode::ReadyInode;
use kernel::prelude::*;

/// Sectors of 512 bytes in a block.
pub const SECTORS: u64 = 8;

/// Longest target of a symbolic link that is kept in memory with the inode.
const FAST_LINK: u64 = 320;

/// The `S_*` flags that our own flags stand for.
pub const S_MASK: u32 = bindings::S_SYNC
    | bindings::S_IMMUTABLE
    | bindings::S_APPEND
    | bindings::S_NOATIME
    | bindings::S_DIRSYNC;

/// The `S_*` flags of an inode with these `FLAG_*`.
pub fn vfs_flags(flags: u64) -> u32 {
    [
        (FLAG_SYNC, bindings::S_SYNC),
        (FLAG_IMMUTABLE, bindings::S_IMMUTABLE),
        (FLAG_APPEND, bindings::S_APPEND),
        (FLAG_NOATIME, bindings::S_NOATIME),
        (FLAG_DIRSYNC, bindings::S_DIRSYNC),
    ]
    .iter()
    .filter(|(flag, _)| flags & flag != 0)
    .fold(0, |all, (_, vfs)| all | vfs)
}

/// The fields of the VFS inode.
fn vfs_attrs(attrs: &Attrs) -> InodeAttrs {
    InodeAttrs {
        mode: attrs.mode,
        uid: attrs.uid,
        gid: attrs.gid,
        nlink: attrs.nlink,
        size: attrs.size,
        sectors: attrs.blocks.saturating_mul(SECTORS),
        atime: attrs.atime,
        mtime: attrs.mtime,
        ctime: attrs.ctime,
        version: attrs.version,
        generation: attrs.generation,
        rdev: attrs.rdev,
        flags: vfs_flags(attrs.flags),
        xattrs: attrs.xattrs,
    }
}

/// Completes a VFS inode for `inode`.
pub fn complete(
    sb: &SuperBlock,
    new: NewInode<Latchfs>,
    inode: InodeRef,
) -> Result<ReadyInode<Latchfs>> {
    let attrs = inode.attrs();
    let mut target = KVec::new();
    let is_link = u32::from(attrs.mode) & bindings::S_IFMT == bindings::S_IFLNK;
    if is_link && attrs.size <= FAST_LINK {
        read_target(sb, &inode, &mut target)?;
    }
    let link = (!target.is_empty()).then_some(target.as_slice());
    new.ready(&vfs_attrs(&attrs), inode, link)
}

/// The VFS inode of an inode of the engine.
///
/// No other inode can have the number: it stays taken for as long as the VFS knows an inode of it
/// (rules M1), and the reference that the caller brings keeps it, too.
pub fn iget(sb: &SuperBlock, inode: InodeRef) -> Result<IRef> {
    match sb.iget(inode.ino.get())? {
        Iget::Cached(found) => Ok(found),
        Iget::New(new) => Ok(complete(sb, new, inode)?.unlock()),
    }
}

/// Reads the target of a symbolic link.
pub fn read_target(sb: &SuperBlock, inode: &InodeRef, out: &mut KVec<u8>) -> Result {
    out.resize(crate::format::limits::MAX_SYMLINK, 0, GFP_KERNEL)?;
    let len = namespace::readlink(&sb.data().mount, inode, out.as_mut_slice()).edge(sb)?;
    out.truncate(len);
    if out.is_empty() || out.contains(&0) {
        return Err(EUCLEAN);
    }
    Ok(())
}

/// Copies into the VFS inode what an operation on names or attributes changed in the engine.
/// The times and the version are not copied: the VFS inode had them first.
pub fn refresh(inode: &Inode) {
    let attrs = inode.data().attrs();
    inode.set_nlink(attrs.nlink);
    inode.set_sectors(attrs.blocks.saturating_mul(SECTORS));
    if !inode.is(bindings::S_IFREG) {
        inode.set_size(attrs.size);
    }
}

/// Logs what differs between the VFS inode and the engine: mode, owner, times, version.
///
/// One transaction if anything does, else nothing. May sleep; no lock of the engine is held.
#[inline(never)]
pub fn push_attrs(inode: &Inode) -> Result {
    match unlogged(inode) {
        Some(change) => namespace::setattr(mount_of(inode), inode.data(), &change).at(inode),
        None => Ok(()),
    }
}

/// What differs between the VFS inode and the engine.
pub fn unlogged(inode: &Inode) -> Option<Change> {
    let attrs = inode.data().attrs();
    let differs = |new, old| (new != old).then_some(new);
    let (mode, uid, gid) = (inode.mode(), inode.uid(), inode.gid());
    let (atime, mtime, ctime) = (inode.atime(), inode.mtime(), inode.ctime());
    let version = inode.version();
    let change = Change {
        mode: (mode != attrs.mode).then_some(mode),
        uid: (uid != attrs.uid).then_some(uid),
        gid: (gid != attrs.gid).then_some(gid),
        projid: None,
        atime: differs(atime, attrs.atime),
        mtime: differs(mtime, attrs.mtime),
        ctime: differs(ctime, attrs.ctime),
        version: Some(version.max(attrs.version)),
    };
    let same = version <= attrs.version
        && (mode, uid, gid) == (attrs.mode, attrs.uid, attrs.gid)
        && (atime, mtime, ctime) == (attrs.atime, attrs.mtime, attrs.ctime);
    (!same).then_some(change)
}
