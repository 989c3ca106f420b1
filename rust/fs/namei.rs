// SPDX-License-Identifier: GPL-2.0

//! Names.
//!
//! The VFS inode of a new file is allocated before the engine is asked, so that nothing can fail
//! once the name exists.

use super::error::Edge as _;
use super::inode;
use super::mount_of;
use super::xattr;
use super::Dentry;
use super::IRef;
use super::Inode;
use super::Latchfs;
use crate::bindings;
use crate::engine::error::Result as EngineResult;
use crate::engine::file;
use crate::engine::inode::InodeRef;
use crate::engine::namespace;
use crate::engine::namespace::NewInode;
use crate::engine::namespace::RenameArgs;
use crate::engine::namespace::RenameFlags;
use crate::engine::xattr::InitAttr;
use crate::engine::xattr::Name;
use crate::format::inode::FLAG_APPEND;
use crate::format::inode::FLAG_DIRSYNC;
use crate::format::inode::FLAG_IMMUTABLE;
use crate::format::xattr::AttrSpace;
use crate::kapi::acl;
use crate::kapi::acl::Acl;
use crate::kapi::acl::AclBytes;
use crate::kapi::acl::AclType;
use crate::kapi::idmap::Idmap;
use crate::kapi::inode::ReadyInode;
use crate::kapi::inode::UnhashedInode;
use crate::kapi::namei::DirOps;
use crate::kapi::namei::Rename;
use crate::kapi::xattr::SecurityXattr;
use crate::sys::Time;
use kernel::prelude::*;

/// Flags of a directory that new entries do not inherit.
const NOT_INHERITED: u64 = FLAG_IMMUTABLE | FLAG_APPEND;

/// The time of an operation on all of `inodes`: later than any time that stat(2) has shown for one
/// of them (multigrain timestamps), so that each change can be seen. They all get it as ctime.
fn touch(inodes: &[&Inode]) -> Time {
    let now = inodes
        .iter()
        .fold(Time::default(), |now, inode| now.max(inode.touch_ctime()));
    for inode in inodes {
        inode.set_ctime(now);
    }
    now
}

/// Makes an inode: `make` has the engine do it. `now` is the time of the operation on the
/// directory; without one it is that of the inode. The ACLs that it inherits and what the security
/// modules want are known before, and part of the transaction that makes the inode.
fn make(
    idmap: &Idmap,
    dir: &Inode,
    dentry: Option<&Dentry>,
    mode: u16,
    rdev: u32,
    now: Option<Time>,
    make: impl FnOnce(&NewInode, &[InitAttr<'_>]) -> EngineResult<InodeRef>,
) -> Result<ReadyInode<Latchfs>> {
    let sb = dir.sb();
    let acls = acl::inherit(dir, mode)?;
    let vfs = UnhashedInode::new(sb)?;
    let (mode, uid, gid) = vfs.init_owner(idmap, dir, acls.mode);
    let first = FirstAttrs {
        access: acls.access.as_ref().map(Acl::to_bytes).transpose()?,
        default: acls.default.as_ref().map(Acl::to_bytes).transpose()?,
        security: vfs.init_security(dir, dentry)?,
    };
    let attrs = first.list()?;
    let parent = dir.data().attrs();
    let mut flags = parent.flags & !NOT_INHERITED;
    if u32::from(mode) & bindings::S_IFMT != bindings::S_IFDIR {
        flags &= !FLAG_DIRSYNC;
    }
    let new = NewInode {
        mode,
        uid,
        gid,
        projid: parent.projid,
        rdev,
        flags,
        now: now.unwrap_or_else(|| vfs.touch()),
    };
    let inode = make(&new, &attrs).edge(sb)?;
    match vfs.insert(inode.ino.get()) {
        Ok(new) => {
            let ready = inode::complete(sb, new, inode)?;
            Acl::cache(ready.inode(), AclType::Access, acls.access.as_ref());
            Acl::cache(ready.inode(), AclType::Default, acls.default.as_ref());
            Ok(ready)
        }
        Err(e) => {
            namespace::inactivate_later(&sb.data().mount, inode);
            Err(e)
        }
    }
}

/// The attributes of a new inode.
struct FirstAttrs {
    access: Option<AclBytes>,
    default: Option<AclBytes>,
    security: KVec<SecurityXattr>,
}

impl FirstAttrs {
    /// As the engine wants them.
    fn list(&self) -> Result<KVec<InitAttr<'_>>> {
        let mut all = KVec::new();
        for (which, bytes) in [
            (AclType::Access, &self.access),
            (AclType::Default, &self.default),
        ] {
            if let Some(value) = bytes {
                let name = xattr::acl_name(which);
                all.push(InitAttr { name, value }, GFP_KERNEL)?;
            }
        }
        for attr in &self.security {
            let init = InitAttr {
                name: Name::new(AttrSpace::Security, &attr.name),
                value: &attr.value,
            };
            all.push(init, GFP_KERNEL)?;
        }
        Ok(all)
    }
}

/// Updates a VFS inode whose links or entries changed.
fn changed(inode: &Inode) {
    inode::refresh(inode);
    inode.inc_version();
}

/// Updates the VFS inode of a directory whose entries changed at `now`.
fn dir_changed(dir: &Inode, now: Time) {
    dir.set_mtime(now);
    changed(dir);
}

/// Makes an operation on a directory durable if the mount or the directory asks for it (`sync`,
/// `dirsync`).
fn sync_if_asked(dir: &Inode) -> Result {
    if dir.is_dirsync() {
        mount_of(dir).sync_log().at(dir)?;
    }
    Ok(())
}

impl DirOps for Latchfs {
    fn lookup(dir: &Inode, dentry: &Dentry) -> Result<Option<IRef>> {
        if dentry.name().len() > crate::format::limits::MAX_NAME {
            return Err(ENAMETOOLONG);
        }
        match namespace::lookup(mount_of(dir), dir.data(), dentry.name()).at(dir)? {
            Some(found) => Ok(Some(inode::iget(dir.sb(), found)?)),
            None => Ok(None),
        }
    }

    fn create(
        idmap: &Idmap,
        dir: &Inode,
        dentry: &Dentry,
        mode: u16,
        rdev: u32,
    ) -> Result<ReadyInode<Self>> {
        let now = touch(&[dir]);
        let new = make(
            idmap,
            dir,
            Some(dentry),
            mode,
            rdev,
            Some(now),
            |new, attrs| {
                let (m, name) = (mount_of(dir), dentry.name());
                namespace::create_with_attrs(m, dir.data(), name, new, attrs)
            },
        )?;
        dir_changed(dir, now);
        sync_if_asked(dir)?;
        Ok(new)
    }

    fn symlink(
        idmap: &Idmap,
        dir: &Inode,
        dentry: &Dentry,
        target: &[u8],
    ) -> Result<ReadyInode<Self>> {
        if target.len() > crate::format::limits::MAX_SYMLINK {
            return Err(ENAMETOOLONG);
        }
        let now = touch(&[dir]);
        let mode = bindings::S_IFLNK as u16 | 0o777;
        let new = make(
            idmap,
            dir,
            Some(dentry),
            mode,
            0,
            Some(now),
            |new, attrs| {
                let (m, name) = (mount_of(dir), dentry.name());
                namespace::symlink_with_attrs(m, dir.data(), name, new, target, attrs)
            },
        )?;
        dir_changed(dir, now);
        sync_if_asked(dir)?;
        Ok(new)
    }

    fn tmpfile(idmap: &Idmap, dir: &Inode, mode: u16) -> Result<ReadyInode<Self>> {
        make(idmap, dir, None, mode, 0, None, |new, attrs| {
            namespace::tmpfile_with_attrs(mount_of(dir), dir.data(), new, attrs)
        })
    }

    fn link(inode: &Inode, dir: &Inode, dentry: &Dentry) -> Result {
        let now = touch(&[dir, inode]);
        namespace::link(mount_of(dir), inode.data(), dir.data(), dentry.name(), now).at(dir)?;
        changed(inode);
        dir_changed(dir, now);
        sync_if_asked(dir)
    }

    fn unlink(dir: &Inode, dentry: &Dentry, inode: &Inode) -> Result {
        let now = touch(&[dir, inode]);
        namespace::unlink(mount_of(dir), dir.data(), dentry.name(), inode.data(), now).at(dir)?;
        changed(inode);
        dir_changed(dir, now);
        sync_if_asked(dir)
    }

    fn rmdir(dir: &Inode, dentry: &Dentry, inode: &Inode) -> Result {
        let now = touch(&[dir, inode]);
        namespace::rmdir(mount_of(dir), dir.data(), dentry.name(), inode.data(), now).at(dir)?;
        changed(inode);
        dir_changed(dir, now);
        sync_if_asked(dir)
    }

    fn rename(idmap: &Idmap, args: &Rename<'_, Self>) -> Result {
        let flags = rename_flags(args.flags)?;
        let (uid, gid) = whiteout_owner(idmap, args, flags)?;
        let (old_dir, new_dir) = (args.old_dir, args.new_dir);
        if args.target.is_some() && !flags.exchange {
            write_before_replacing(args.inode)?;
        }
        let now = match args.target {
            Some(target) => touch(&[old_dir, new_dir, args.inode, target]),
            None => touch(&[old_dir, new_dir, args.inode]),
        };
        namespace::rename(
            mount_of(old_dir),
            &RenameArgs {
                old_dir: old_dir.data(),
                old_name: args.old.name(),
                inode: args.inode.data(),
                new_dir: new_dir.data(),
                new_name: args.new.name(),
                target: args.target.map(Inode::data),
                flags,
                uid,
                gid,
                now,
            },
        )
        .at(old_dir)?;
        if let Some(target) = args.target {
            changed(target);
        }
        changed(args.inode);
        dir_changed(old_dir, now);
        dir_changed(new_dir, now);
        sync_if_asked(old_dir)
    }
}

/// The file is about to take the place of another one: its data first, so that no crash leaves an
/// empty file where there was a full one, as ext4 (`auto_da_alloc`) and btrfs do for programs that
/// do not fsync. Waits for the data, not for the device's cache or the log: the checkpoint that has
/// the rename sees to the first, and is not needed for the second. Before the transaction: `i_rwsem`
/// of both files and directories is held, nothing of the engine. Errors of the data are fsync's to
/// report; the rename goes on.
#[inline(never)]
fn write_before_replacing(inode: &Inode) -> Result {
    if !inode.is(bindings::S_IFREG) || !file::has_new_data(inode.data()) {
        return Ok(());
    }
    let upto = file::fsync_upto(inode.data(), u64::MAX);
    if inode.write_and_wait(0, u64::MAX).is_err() {
        return Ok(());
    }
    file::settle_size(mount_of(inode), inode.data(), upto).at(inode)
}

/// The flags of a rename. EINVAL for those we do not know; VFS has checked the combination.
fn rename_flags(flags: u32) -> Result<RenameFlags> {
    let known = bindings::RENAME_NOREPLACE | bindings::RENAME_EXCHANGE | bindings::RENAME_WHITEOUT;
    if flags & !known != 0 {
        return Err(EINVAL);
    }
    Ok(RenameFlags {
        no_replace: flags & bindings::RENAME_NOREPLACE != 0,
        exchange: flags & bindings::RENAME_EXCHANGE != 0,
        whiteout: flags & bindings::RENAME_WHITEOUT != 0,
    })
}

/// Owner and group of the whiteout that a rename leaves behind: those of any new entry.
fn whiteout_owner(
    idmap: &Idmap,
    args: &Rename<'_, Latchfs>,
    flags: RenameFlags,
) -> Result<(u32, u32)> {
    if !flags.whiteout {
        return Ok((0, 0));
    }
    let vfs = UnhashedInode::new(args.old_dir.sb())?;
    let mode = bindings::S_IFCHR as u16;
    let (_, uid, gid) = vfs.init_owner(idmap, args.old_dir, mode);
    Ok((uid, gid))
}
