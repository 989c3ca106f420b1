// SPDX-License-Identifier: GPL-2.0

//! From a number to the object.

use super::{
    cache::Found,
    fields::decode_forks,
    lock::NEST_NEW,
    Inode,
    InodeRef, //
};
use crate::{
    engine::{
        error::{Error, Result},
        ialloc::{self, Status},
        mount::Mount,
    },
    format::{
        defect::Defect,
        inode::InodeSlot,
        units::{DiskBlock, Ino},
    },
    sys::{self, Arc, Errno, NofsScope},
};

/// The inode `ino`. One that is unlinked but still open is found; ENOENT if the number is free,
/// cannot exist, or its last user has gone. EUCLEAN or EBADMSG if the slot is damaged, EIO, ENOMEM.
///
/// Takes the AG inode lock shared unless the inode is in memory; the caller holds at most ILOCKs.
/// May sleep.
pub fn iget(m: &Arc<Mount>, ino: Ino) -> Result<InodeRef> {
    find(m, ino)?.ok_or_else(|| Error::new(Errno::NOENT))
}

/// The inode of a file handle: `ino` in the life that has this generation. ESTALE if that is over.
/// The inode map is asked before the slot is read, because a freed chunk's blocks may be anything.
/// Locks and other errors as [`iget`].
pub fn iget_handle(m: &Arc<Mount>, ino: Ino, generation: u32) -> Result<InodeRef> {
    let stale = || Error::new(Errno::STALE);
    let inode = find(m, ino)?.ok_or_else(stale)?;
    {
        let inner = inode.ilock.read();
        if inner.core.generation != generation || inner.core.nlink == 0 {
            return Err(stale());
        }
    }
    Ok(inode)
}

/// The inode that an entry of directory `dir` points at: it must exist, or the directory is corrupt
/// (EUCLEAN). The caller holds the ILOCK of the directory, which keeps the entry. Otherwise as
/// [`iget`].
pub(crate) fn iget_entry(m: &Mount, dir: Ino, ino: Ino) -> Result<InodeRef> {
    find(m, ino)?.ok_or_else(|| {
        sys::pr_err!(
            "corruption in directory {}: an entry points at inode {}, which is free\n",
            dir,
            ino
        );
        Error::new(Errno::UCLEAN)
    })
}

/// Looks in memory, then in the inode map, then in the slot.
fn find(m: &Mount, ino: Ino) -> Result<Option<InodeRef>> {
    if !m.geo().check_ino(ino) {
        return Ok(None);
    }
    // Memory is needed under the AG inode lock, and the caller may hold an ILOCK.
    let _nofs = NofsScope::enter();
    let group = m.inodes.group(ino.ag())?;
    loop {
        match m.inodes.cache.find(ino) {
            Found::Object(inode) => return Ok(Some(inode)),
            Found::Unlinked => return Ok(None),
            Found::Loading => {
                m.inodes.cache.wait_loaded(ino);
                continue;
            }
            Found::Nothing => {}
        }

        let (load, block) = {
            // Under the lock the map cannot change, so a placeholder means a number in use.
            let inner = group.read(m)?;
            if ialloc::status(m, group, &inner, ino)? == Status::Free {
                return Ok(None);
            }
            match m.inodes.cache.begin_load(ino)? {
                Some(load) => (load, ialloc::inode_block(m, group, &inner, ino)?),
                None => {
                    sys::relax();
                    continue;
                }
            }
        };
        let inode = read_slot(m, ino, block)?;
        load.done(&inode);
        return Ok(Some(inode));
    }
}

/// Reads the slot of `ino` in `block` into a new object.
#[inline(never)]
fn read_slot(m: &Mount, ino: Ino, block: DiskBlock) -> Result<InodeRef> {
    let buf = ialloc::read_block(m, ino.ag(), block)?;
    let inode = Inode::alloc(ino)?;
    {
        // Nobody else knows the object.
        let mut inner = inode.ilock.write_nested(NEST_NEW);
        let bytes = buf.data();
        let slot = InodeSlot::of(&bytes, ino).ok_or_else(|| Error::new(Errno::UCLEAN))?;
        if let Err(defect) = slot.verify(m.context(), ino) {
            return Err(damaged(block, ino, defect));
        }
        if slot.is_free() {
            return Err(unallocated(block, ino));
        }
        let inner = &mut *inner;
        inner.core.decode(slot);
        decode_forks(inner, slot)?;
        inode.set_kind(&inner.core);
    }
    Ok(inode)
}

#[cold]
#[track_caller]
fn unallocated(block: DiskBlock, ino: Ino) -> Error {
    sys::pr_err!(
        "corruption in block {}: slot of inode {} is free, the inode map says it is not\n",
        block,
        ino
    );
    Error::new(Errno::UCLEAN)
}

#[cold]
#[track_caller]
fn damaged(block: DiskBlock, ino: Ino, defect: Defect) -> Error {
    sys::pr_err!(
        "corruption in block {}: slot of inode {}: {}\n",
        block,
        ino,
        defect
    );
    Error::new(if defect.is_checksum() {
        Errno::BADMSG
    } else {
        Errno::UCLEAN
    })
}
