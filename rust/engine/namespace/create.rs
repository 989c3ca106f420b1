// SPDX-License-Identifier: GPL-2.0

//! New inodes: files, directories, devices, fifos, sockets, files without a name.

use super::{entry, NewInode};
use crate::{
    engine::{
        dir,
        error::{Error, Result},
        fork::{Fork, ForkFormat},
        ialloc::{self, InoClaim, MapDelta, MapOp},
        inode::{lock::NEST_NEW, Core, InodeInner, InodeRef, InodeWrite},
        mount::Mount,
        txn::{res, Txn, TxnRes},
        xattr::{initial_res, set_initial, InitAttr},
    },
    format::{dirent::FileType, inode::FLAG_ALL, units::Ino},
    sys::{self, Arc, Errno},
};

/// Makes the inode `new` with the name `name` in `dir`: a file, directory, device, fifo or socket
/// by its mode. Symlinks are made by [`symlink`](super::symlink()).
///
/// May claim a number in transactions of its own; then one transaction under the ILOCKs of the
/// directory and the new inode. Nothing may be held but i_rwsem. May sleep. EEXIST, ENOENT if the
/// directory was removed, ENOTDIR, EMLINK, ENAMETOOLONG, EINVAL, ENOSPC, EROFS, EIO, ENOMEM,
/// EUCLEAN, EBADMSG.
pub fn create(m: &Arc<Mount>, dir: &InodeRef, name: &[u8], new: &NewInode) -> Result<InodeRef> {
    create_with_attrs(m, dir, name, new, &[])
}

/// [`create`] of an inode that has `attrs` from its first moment: ACLs from its directory, labels.
/// Also E2BIG if these are more than one transaction can have.
pub fn create_with_attrs(
    m: &Arc<Mount>,
    dir: &InodeRef,
    name: &[u8],
    new: &NewInode,
    attrs: &[InitAttr<'_>],
) -> Result<InodeRef> {
    let format = match FileType::from_mode(new.mode) {
        Some(FileType::Regular) => ForkFormat::InlineExtents,
        Some(FileType::Directory) => ForkFormat::InlineDir,
        Some(FileType::Symlink) | None => return Err(Error::new(Errno::INVAL)),
        Some(_) => ForkFormat::None,
    };
    create_with(m, dir, name, new, attrs, res::CREATE, |_, _, inner| {
        inner.data = Fork::new(format);
        Ok(())
    })
}

/// [`create`] for any kind: `fill` gives the new inode its data fork, in the transaction, after
/// everything that can fail without a trace.
pub(super) fn create_with(
    m: &Arc<Mount>,
    dir: &InodeRef,
    name: &[u8],
    new: &NewInode,
    attrs: &[InitAttr<'_>],
    res: TxnRes,
    fill: impl FnOnce(&mut Txn<'_>, Ino, &mut InodeInner) -> Result,
) -> Result<InodeRef> {
    dir::check_name(name)?;
    let res = res.and(initial_res(attrs)?);
    let is_dir = FileType::from_mode(new.mode) == Some(FileType::Directory);
    let claim = ialloc::claim(m, dir.ino, is_dir)?;
    let inode = claim.object()?;

    let mut txn = entry::begin(m, res, dir)?;
    let mut d = dir.ilock.write();
    d.check_dir()?;
    let dir_links = if is_dir {
        entry::more_links(d.core.nlink)?
    } else {
        d.core.nlink
    };
    let mut n = inode.ilock.write_nested(NEST_NEW);
    let mut delta = MapDelta::new(m);
    delta.add_claimed(&claim, MapOp::Alloc)?;
    txn.join_inode(dir)?;
    txn.join_inode(&inode)?;

    // From here on an error shuts the file system down, unless it is the directory's before it has
    // changed anything: EEXIST is.
    let ctx = entry::ctx(m, dir.ino);
    let ftype = FileType::from_mode(new.mode).ok_or_else(|| Error::new(Errno::INVAL))?;
    dir::insert(m, &mut txn, &mut d.data, &ctx, name, claim.ino, ftype)?;
    d.core.nlink = dir_links;
    d.core.disk_size = d.core.disk_size.saturating_add(entry::record_len(name));
    d.core.touch(new.now, true);

    n.init(claim.ino, new, if is_dir { 2 } else { 1 });
    if is_dir {
        n.core.parent = dir.ino;
    }
    fill(&mut txn, claim.ino, &mut n)?;
    set_initial(m, &mut txn, claim.ino, &mut n, attrs)?;
    txn.log_inode(dir, &d)?;
    finish(txn, &mut delta, claim, &inode, &n)?;
    drop(n);
    Ok(inode)
}

/// Makes an inode without a name, an orphan from birth: it vanishes with its last user or in a
/// crash, unless [`link`](super::link()) gives it a name. `dir` says where on disk it goes. Locks
/// and errors as [`create`].
pub fn tmpfile(m: &Arc<Mount>, dir: &InodeRef, new: &NewInode) -> Result<InodeRef> {
    tmpfile_with_attrs(m, dir, new, &[])
}

/// [`tmpfile`] with the attributes of [`create_with_attrs`].
pub fn tmpfile_with_attrs(
    m: &Arc<Mount>,
    dir: &InodeRef,
    new: &NewInode,
    attrs: &[InitAttr<'_>],
) -> Result<InodeRef> {
    if FileType::from_mode(new.mode) != Some(FileType::Regular) {
        return Err(Error::new(Errno::INVAL));
    }
    let res = res::TMPFILE.and(initial_res(attrs)?);
    let claim = ialloc::claim(m, dir.ino, false)?;
    let inode = claim.object()?;

    let mut txn = entry::begin(m, res, dir)?;
    let mut n = inode.ilock.write_nested(NEST_NEW);
    let mut delta = MapDelta::new(m);
    delta.add_claimed(&claim, MapOp::AllocOrphan)?;
    txn.join_inode(&inode)?;

    n.init(claim.ino, new, 0);
    n.data = Fork::new(ForkFormat::InlineExtents);
    set_initial(m, &mut txn, claim.ino, &mut n, attrs)?;
    finish(txn, &mut delta, claim, &inode, &n)?;
    drop(n);
    Ok(inode)
}

/// The end of the transaction that makes `inode`: map bits, commit, and everybody can find it.
#[inline(never)]
pub(super) fn finish(
    mut txn: Txn<'_>,
    delta: &mut MapDelta<'_>,
    claim: InoClaim<'_>,
    inode: &InodeRef,
    inner: &InodeWrite<'_>,
) -> Result {
    inode.set_kind(&inner.core);
    inode.file.set_tail_known();
    txn.mount().stats().count_create();
    txn.log_inode(inode, inner)?;
    let locks = delta.apply(&mut txn)?;
    txn.commit()?;
    // Still under the AG inode lock: a lookup that sees the bit finds the object, too.
    claim.publish(inode);
    drop(locks);
    Ok(())
}

impl InodeInner {
    /// Makes it a new inode with these attributes and nothing in its forks, whatever it was.
    #[inline(never)]
    pub(super) fn init(&mut self, ino: Ino, new: &NewInode, nlink: u32) {
        let before = self.core.generation;
        *self = Self::default();
        self.core = Core {
            generation: random_generation(ino, before),
            mode: new.mode,
            uid: new.uid,
            gid: new.gid,
            projid: new.projid,
            nlink,
            rdev: match FileType::from_mode(new.mode) {
                Some(FileType::CharDevice | FileType::BlockDevice) => new.rdev,
                _ => 0,
            },
            atime: new.now,
            mtime: new.now,
            ctime: new.now,
            btime: new.now,
            version: 1,
            flags: new.flags & FLAG_ALL,
            ..Core::default()
        };
    }
}

/// The generation of a new life of a number: random, so that handles of a life whose slot is gone
/// fail too (rules M3), never 0 and never that of the life before.
fn random_generation(ino: Ino, before: u32) -> u32 {
    loop {
        let random = sys::random_u64() ^ ino.0;
        let generation = (random ^ (random >> 32)) as u32;
        if generation != 0 && generation != before {
            return generation;
        }
    }
}
