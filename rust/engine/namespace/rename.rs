// SPDX-License-Identifier: GPL-2.0

//! Renames: plain, replacing, exchanging, leaving a whiteout.

use super::{create, entry, NewInode, RenameArgs};
use crate::{
    engine::{
        dir,
        error::{Error, Result},
        ialloc::{self, InoClaim, MapDelta, MapOp},
        inode::{
            lock::{lock_many, NEST_NEW},
            Inode, InodeInner, InodeRef, InodeWrite,
        },
        mount::Mount,
        txn::{res, Txn},
    },
    format::{dirent::FileType, units::Ino},
    sys::{Arc, Errno},
};

/// Mode of a whiteout: a character device without permissions, number 0:0.
const WHITEOUT_MODE: u16 = FileType::CharDevice.mode();

/// Renames as [`RenameArgs`] says. All names, link counts, ".." of a moved directory, the orphan
/// bit of what is replaced and the whiteout change in one transaction under the ILOCKs of all
/// inodes concerned.
///
/// The caller has made sure that no directory is moved into itself or below. Nothing may be held
/// but i_rwsem. May sleep. ENOENT if a name is not what the arguments say, EEXIST, ENOTEMPTY,
/// EISDIR, ENOTDIR, EMLINK, EINVAL, ENAMETOOLONG, ENOSPC, EROFS, EIO, ENOMEM, EUCLEAN, EBADMSG.
pub fn rename(m: &Arc<Mount>, args: &RenameArgs<'_>) -> Result {
    dir::check_name(args.old_name)?;
    dir::check_name(args.new_name)?;
    if args.flags.exchange {
        return exchange(m, args);
    }
    if args.flags.no_replace && args.target.is_some() {
        return Err(Error::new(Errno::EXIST));
    }
    if args.target.is_some_and(|t| t.same(args.inode)) {
        // Two names of one inode: nothing to do.
        return Ok(());
    }
    if args.flags.whiteout {
        let claim = ialloc::claim(m, args.old_dir.ino, false)?;
        let txn = entry::begin(m, res::RENAME_WHITEOUT, args.new_dir)?;
        return move_name(m, args, txn, Some(claim));
    }
    let txn = entry::begin(m, res::RENAME, args.new_dir)?;
    move_name(m, args, txn, None)
}

/// The ILOCKs of a rename.
struct Locked<'a> {
    old_dir: InodeWrite<'a>,
    /// `None` if it is the old one.
    new_dir: Option<InodeWrite<'a>>,
    inode: InodeWrite<'a>,
    target: Option<InodeWrite<'a>>,
}

impl<'a> Locked<'a> {
    /// Takes them and checks that names and inodes are what the arguments say.
    #[inline(never)]
    fn take(m: &Mount, args: &RenameArgs<'a>) -> Result<Self> {
        let target: Option<&'a Inode> = args.target.map(|t| &**t);
        let [old_dir, new_dir, inode, locked_target] = lock_many([
            Some(args.old_dir),
            Some(args.new_dir),
            Some(args.inode),
            target,
        ]);
        // A directory that is to be moved into itself, or replaced by something in it.
        let loops = || Error::new(Errno::INVAL);
        let this = Self {
            old_dir: old_dir.ok_or_else(loops)?,
            new_dir,
            inode: inode.ok_or_else(loops)?,
            target: locked_target,
        };
        if this.target.is_some() != target.is_some()
            || this.new_dir.is_some() == args.old_dir.same(args.new_dir)
        {
            return Err(loops());
        }

        this.old_dir.check_dir()?;
        this.new_dir().check_dir()?;
        this.inode.check_linked()?;
        let (old_ino, new_ino) = (args.old_dir.ino, args.new_dir.ino);
        entry::find_inode(m, old_ino, &this.old_dir, args.old_name, args.inode)?;
        match target {
            Some(t) => {
                entry::find_inode(m, new_ino, this.new_dir(), args.new_name, t)?;
            }
            None => entry::find_nothing(m, new_ino, this.new_dir(), args.new_name)?,
        }
        Ok(this)
    }

    fn new_dir(&self) -> &InodeInner {
        self.new_dir.as_deref().unwrap_or(&self.old_dir)
    }

    fn new_dir_mut(&mut self) -> &mut InodeInner {
        match &mut self.new_dir {
            Some(dir) => dir,
            None => &mut self.old_dir,
        }
    }

    /// Whether the name moves to another directory.
    fn crosses(&self) -> bool {
        self.new_dir.is_some()
    }

    /// Joins all of them to the transaction.
    fn join(&self, txn: &mut Txn<'_>, args: &RenameArgs<'_>) -> Result {
        txn.join_inode(args.old_dir)?;
        if self.crosses() {
            txn.join_inode(args.new_dir)?;
        }
        txn.join_inode(args.inode)?;
        match args.target {
            Some(target) => txn.join_inode(target),
            None => Ok(()),
        }
    }

    /// Logs all of them as they are now.
    fn log(&self, txn: &mut Txn<'_>, args: &RenameArgs<'_>) -> Result {
        txn.log_inode(args.old_dir, &self.old_dir)?;
        if let Some(dir) = &self.new_dir {
            txn.log_inode(args.new_dir, dir)?;
        }
        txn.log_core(args.inode, &self.inode)?;
        match (args.target, &self.target) {
            (Some(target), Some(inner)) => txn.log_core(target, inner),
            _ => Ok(()),
        }
    }

    /// Gives all inodes their new link counts and times, and a moved directory its parent.
    #[inline(never)]
    fn settle(
        &mut self,
        args: &RenameArgs<'_>,
        is_dir: bool,
        (old_links, new_links, target_links): (u32, u32, Option<u32>),
    ) {
        // In one directory only the new count is right.
        if self.crosses() {
            self.old_dir.core.nlink = old_links;
        }
        self.new_dir_mut().core.nlink = new_links;
        self.touch_dirs(args);
        if is_dir {
            self.inode.core.parent = args.new_dir.ino;
        }
        self.inode.core.touch(args.now, false);
        if let (Some(target), Some(inner), Some(links)) =
            (args.target, &mut self.target, target_links)
        {
            inner.core.nlink = links;
            inner.core.touch(args.now, false);
            target.set_links(links);
        }
    }

    /// Counts the change in both directories.
    fn touch_dirs(&mut self, args: &RenameArgs<'_>) {
        self.old_dir.core.touch(args.now, true);
        if let Some(dir) = &mut self.new_dir {
            dir.core.touch(args.now, true);
        }
    }
}

/// A link count that `gain`s and `lose`s one. EMLINK, EUCLEAN.
fn links(inode: &InodeRef, nlink: u32, gain: bool, lose: bool) -> Result<u32> {
    match (gain, lose) {
        (true, false) => entry::more_links(nlink),
        (false, true) => entry::fewer_links(inode, nlink),
        _ => Ok(nlink),
    }
}

#[inline(never)]
fn move_name(
    m: &Arc<Mount>,
    args: &RenameArgs<'_>,
    mut txn: Txn<'_>,
    whiteout: Option<InoClaim<'_>>,
) -> Result {
    // The new inode at the old name.
    let left = whiteout.as_ref().map(|claim| claim.object()).transpose()?;
    let mut l = Locked::take(m, args)?;
    let ftype = entry::ftype_of(&l.inode)?;
    let is_dir = l.inode.core.is_dir();
    let target_dir = l.target.as_ref().is_some_and(|t| t.core.is_dir());
    if let Some(target) = &l.target {
        match (is_dir, target_dir) {
            (true, false) => return Err(Error::new(Errno::NOTDIR)),
            (false, true) => return Err(Error::new(Errno::ISDIR)),
            (true, true) if !dir::is_empty(&target.data) => {
                return Err(Error::new(Errno::NOTEMPTY));
            }
            _ => {}
        }
    }

    // Link counts: a directory is a link of its parent.
    let leaves = is_dir && l.crosses();
    let new_links = links(args.new_dir, l.new_dir().core.nlink, leaves, target_dir)?;
    let old_links = links(args.old_dir, l.old_dir.core.nlink, false, leaves)?;
    let target_links = match (args.target, &l.target) {
        (Some(_), Some(_)) if target_dir => Some(0),
        (Some(target), Some(inner)) => Some(entry::fewer_links(target, inner.core.nlink)?),
        _ => None,
    };

    let mut delta = MapDelta::new(m);
    if let (Some(target), Some(0)) = (args.target, target_links) {
        delta.add(target.ino, MapOp::Orphan)?;
    }
    let mut w = None;
    if let (Some(claim), Some(inode)) = (&whiteout, &left) {
        w = Some(inode.ilock.write_nested(NEST_NEW));
        delta.add_claimed(claim, MapOp::Alloc)?;
        txn.join_inode(inode)?;
    }
    l.join(&mut txn, args)?;

    enter(m, &mut txn, args, &mut l, ftype)?;
    leave(m, &mut txn, args, &mut l, left.as_ref().map(|i| i.ino))?;

    l.settle(args, is_dir, (old_links, new_links, target_links));
    l.log(&mut txn, args)?;

    let done = match (whiteout, &left, w) {
        (Some(claim), Some(inode), Some(mut w)) => {
            let new = NewInode {
                mode: WHITEOUT_MODE,
                uid: args.uid,
                gid: args.gid,
                now: args.now,
                ..NewInode::default()
            };
            w.init(claim.ino, &new, 1);
            create::finish(txn, &mut delta, claim, inode, &w)
        }
        _ => {
            let locks = delta.apply(&mut txn)?;
            txn.commit()?;
            drop(locks);
            Ok(())
        }
    };
    done
}

/// The new name becomes the inode.
#[inline(never)]
fn enter(
    m: &Mount,
    txn: &mut Txn<'_>,
    args: &RenameArgs<'_>,
    l: &mut Locked<'_>,
    ftype: FileType,
) -> Result {
    let ctx = entry::ctx(m, args.new_dir.ino);
    let ino = args.inode.ino;
    let replaces = l.target.is_some();
    let d = l.new_dir_mut();
    if replaces {
        dir::replace(m, txn, &mut d.data, &ctx, args.new_name, ino, ftype)?;
    } else {
        dir::insert(m, txn, &mut d.data, &ctx, args.new_name, ino, ftype)?;
        d.core.disk_size = d
            .core
            .disk_size
            .saturating_add(entry::record_len(args.new_name));
    }
    Ok(())
}

/// The old name goes, or becomes the whiteout.
#[inline(never)]
fn leave(
    m: &Mount,
    txn: &mut Txn<'_>,
    args: &RenameArgs<'_>,
    l: &mut Locked<'_>,
    whiteout: Option<Ino>,
) -> Result {
    let ctx = entry::ctx(m, args.old_dir.ino);
    let d = &mut *l.old_dir;
    match whiteout {
        Some(ino) => {
            let ftype = FileType::CharDevice;
            dir::replace(m, txn, &mut d.data, &ctx, args.old_name, ino, ftype)?;
        }
        None => {
            dir::remove(m, txn, &mut d.data, &ctx, args.old_name)?;
            d.core.disk_size = d
                .core
                .disk_size
                .saturating_sub(entry::record_len(args.old_name));
        }
    }
    Ok(())
}

#[inline(never)]
fn exchange(m: &Arc<Mount>, args: &RenameArgs<'_>) -> Result {
    let Some(target) = args.target else {
        return Err(Error::new(Errno::NOENT));
    };
    if target.same(args.inode) {
        return Ok(());
    }
    let mut txn = entry::begin(m, res::RENAME, args.new_dir)?;
    let mut l = Locked::take(m, args)?;
    let Some(t) = &l.target else {
        return Err(Error::new(Errno::NOENT));
    };
    t.check_linked()?;
    let (ftype, target_type) = (entry::ftype_of(&l.inode)?, entry::ftype_of(t)?);
    let (is_dir, target_dir) = (l.inode.core.is_dir(), t.core.is_dir());
    let (there, back) = (l.crosses() && is_dir, l.crosses() && target_dir);
    let new_links = links(args.new_dir, l.new_dir().core.nlink, there, back)?;
    let old_links = links(args.old_dir, l.old_dir.core.nlink, back, there)?;
    l.join(&mut txn, args)?;

    let ctx = entry::ctx(m, args.old_dir.ino);
    let d = &mut l.old_dir.data;
    dir::replace(m, &mut txn, d, &ctx, args.old_name, target.ino, target_type)?;
    let ctx = entry::ctx(m, args.new_dir.ino);
    let d = &mut l.new_dir_mut().data;
    dir::replace(m, &mut txn, d, &ctx, args.new_name, args.inode.ino, ftype)?;

    l.old_dir.core.nlink = old_links;
    l.new_dir_mut().core.nlink = new_links;
    l.touch_dirs(args);
    if is_dir {
        l.inode.core.parent = args.new_dir.ino;
    }
    l.inode.core.touch(args.now, false);
    if let Some(t) = &mut l.target {
        if target_dir {
            t.core.parent = args.old_dir.ino;
        }
        t.core.touch(args.now, false);
    }
    l.log(&mut txn, args)?;
    txn.commit()
}
