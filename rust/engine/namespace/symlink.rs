// SPDX-License-Identifier: GPL-2.0

//! Symbolic links.
//!
//! A target of up to 320 bytes is in the inode. A longer one is in one or two metadata blocks of
//! their own kind, so that it is checksummed, and there with the commit that makes the name.

use super::{create::create_with, NewInode};
use crate::{
    engine::{
        error::{Error, Result},
        fork::{Fork, ForkFormat},
        ialloc,
        inode::{InodeInner, InodeRef},
        mount::Mount,
        txn::{res, FreeKind, Txn},
        xattr::InitAttr,
    },
    format::{
        dirent::FileType,
        extent::{Extent, ExtentRecord},
        header::{BlockKind, Owner},
        limits::{LITERAL_SIZE, MAX_SYMLINK, SYMLINK_BYTES},
        symlink::SymlinkBlock,
        units::{BlockRange, DiskBlock, FileBlock, Ino},
    },
    sys::{Arc, Errno, NofsScope},
};
use core::mem::offset_of;
use zerocopy::IntoBytes as _;

/// Makes a symlink `name` in `dir` that points at `target`, 1 to 4095 bytes without NUL. Locks and
/// errors as [`create`](super::create()); also ENAMETOOLONG for the target.
pub fn symlink(
    m: &Arc<Mount>,
    dir: &InodeRef,
    name: &[u8],
    new: &NewInode,
    target: &[u8],
) -> Result<InodeRef> {
    symlink_with_attrs(m, dir, name, new, target, &[])
}

/// [`symlink`] with the attributes of [`create_with_attrs`](super::create_with_attrs()).
pub fn symlink_with_attrs(
    m: &Arc<Mount>,
    dir: &InodeRef,
    name: &[u8],
    new: &NewInode,
    target: &[u8],
    attrs: &[InitAttr<'_>],
) -> Result<InodeRef> {
    if target.len() > MAX_SYMLINK {
        return Err(Error::new(Errno::NAMETOOLONG));
    }
    if target.is_empty() || target.contains(&0) {
        return Err(Error::new(Errno::INVAL));
    }
    let new = NewInode {
        mode: FileType::Symlink.mode() | 0o777,
        ..*new
    };
    if target.len() <= LITERAL_SIZE {
        return create_with(m, dir, name, &new, attrs, res::CREATE, |_, _, inner| {
            inner.data = Fork::new(ForkFormat::InlineSymlink);
            inner.data.inline.must_extend_from_slice(target);
            inner.core.disk_size = target.len() as u64;
            Ok(())
        });
    }
    create_with(
        m,
        dir,
        name,
        &new,
        attrs,
        res::SYMLINK,
        |txn, ino, inner| write_target(m, txn, ino, inner, target),
    )
}

/// Puts a long target into blocks.
fn write_target(
    m: &Mount,
    txn: &mut Txn<'_>,
    ino: Ino,
    inner: &mut InodeInner,
    target: &[u8],
) -> Result {
    inner.data = Fork::new(ForkFormat::InlineExtents);
    let mut near = ialloc::goal_of(m, ino);
    for (index, part) in (0_u32..).zip(target.chunks(SYMLINK_BYTES)) {
        let buf = txn.new_meta(near, BlockKind::Symlink, Owner::inode(ino))?;
        txn.modify(&buf, |b| -> Result {
            b.write(offset_of!(SymlinkBlock, index), &index.to_le_bytes())?;
            let len = part.len() as u32;
            b.write(offset_of!(SymlinkBlock, len), &len.to_le_bytes())?;
            b.write(offset_of!(SymlinkBlock, target), part)
        })?;
        let extent = Extent {
            file: FileBlock(u64::from(index)),
            disk: buf.block(),
            len: 1,
            unwritten: false,
        };
        let record = extent.pack().ok_or_else(|| Error::new(Errno::UCLEAN))?;
        inner.data.inline.must_extend_from_slice(record.as_bytes());
        inner.data.root.blocks = inner.data.root.blocks.saturating_add(1);
        near = buf.block().saturating_add(1);
    }
    inner.core.disk_size = target.len() as u64;
    Ok(())
}

/// The blocks of a long target in order. EUCLEAN if the fork is not that of a symlink.
fn blocks(inner: &InodeInner) -> Result<impl Iterator<Item = DiskBlock> + '_> {
    let records = ExtentRecord::slice(&inner.data.inline)
        .filter(|_| inner.data.format == ForkFormat::InlineExtents)
        .ok_or_else(|| Error::new(Errno::UCLEAN))?;
    Ok(records.iter().flat_map(|r| {
        let extent = r.unpack();
        (0..u64::from(extent.len)).map(move |i| extent.disk.saturating_add(i))
    }))
}

/// Copies the target of symlink `inode` to the beginning of `out` and returns its length. Takes the
/// ILOCK shared. May sleep. EINVAL if it is no symlink, ERANGE if `out` is too short, EUCLEAN,
/// EBADMSG, EIO, ENOMEM.
pub fn readlink(m: &Arc<Mount>, inode: &InodeRef, out: &mut [u8]) -> Result<usize> {
    let _nofs = NofsScope::enter();
    let inner = inode.ilock.read();
    if inner.core.ftype() != Some(FileType::Symlink) {
        return Err(Error::new(Errno::INVAL));
    }
    let len = inner.core.disk_size as usize;
    let out = out.get_mut(..len).ok_or_else(|| Error::new(Errno::RANGE))?;

    if inner.data.format == ForkFormat::InlineSymlink {
        if inner.data.inline.len() != len {
            return Err(bad_target(inode.ino));
        }
        out.copy_from_slice(&inner.data.inline);
        return Ok(len);
    }
    let mut rest = out;
    for (index, block) in (0_u32..).zip(blocks(&inner)?) {
        let buf = m
            .buf()
            .read(block, BlockKind::Symlink, Owner::inode(inode.ino))?;
        let bytes = buf.data();
        let part = SymlinkBlock::of(&bytes);
        let from = part.bytes();
        if part.index.get() != index || from.len() != rest.len().min(SYMLINK_BYTES) {
            return Err(Error::corrupt(
                block.0,
                "index or length of a symlink's target",
            ));
        }
        let (to, next) = rest.split_at_mut(from.len());
        to.copy_from_slice(from);
        rest = next;
        if rest.is_empty() {
            break;
        }
    }
    if !rest.is_empty() {
        return Err(bad_target(inode.ino));
    }
    Ok(len)
}

#[track_caller]
fn bad_target(ino: Ino) -> Error {
    crate::sys::pr_err!(
        "corruption in inode {}: the symlink's target is not as long as its size\n",
        ino
    );
    Error::new(Errno::UCLEAN)
}

/// Frees the blocks of a long target, in the transaction that frees the inode.
pub(super) fn free_target(txn: &mut Txn<'_>, inner: &InodeInner) -> Result {
    if inner.data.format != ForkFormat::InlineExtents {
        return Ok(());
    }
    for block in blocks(inner)? {
        txn.free(BlockRange::new(block, 1), FreeKind::Meta)?;
    }
    Ok(())
}
