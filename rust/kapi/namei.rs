// SPDX-License-Identifier: GPL-2.0

//! Inode operations: names, attributes, links.
//!
//! C headers: `include/linux/fs.h` (`struct inode_operations`), `include/linux/namei.h`.

use super::acl;
use super::assume;
use super::dcache::Dentry;
use super::fileattr::FileAttr;
use super::fs::FileSystem;
use super::idmap::Idmap;
use super::inode::IRef;
use super::inode::Inode;
use super::inode::InodeOps;
use super::inode::Inodes;
use super::inode::ReadyInode;
use super::stat::KStat;
use super::xattr;
use crate::bindings;
use crate::sys::witness::IolockExcl;
use core::marker::PhantomData;
use core::ptr;
use kernel::error::from_result;
use kernel::error::to_result;
use kernel::ffi::c_char;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::prelude::*;
use kernel::str::CStr;

/// Arguments of a rename.
pub struct Rename<'a, T: FileSystem> {
    /// The directory that loses the entry.
    pub old_dir: &'a Inode<T>,
    /// The entry.
    pub old: &'a Dentry<T>,
    /// What it names.
    pub inode: &'a Inode<T>,
    /// The directory that gets the entry.
    pub new_dir: &'a Inode<T>,
    /// The new entry.
    pub new: &'a Dentry<T>,
    /// What the new entry named before.
    pub target: Option<&'a Inode<T>>,
    /// `RENAME_*`.
    pub flags: u32,
}

/// Operations of directories. In all of them VFS holds the `i_rwsem` of the directory
/// ([`DirOps::lookup`]: shared), and in those that remove or link an inode the inode's, too. All
/// may sleep.
pub trait DirOps: FileSystem {
    /// The inode that `dentry`'s name stands for in `dir`.
    fn lookup(dir: &Inode<Self>, dentry: &Dentry<Self>) -> Result<Option<IRef<Self>>>;

    /// Makes a file, directory or special file, by the type in `mode`. `rdev` as it is stored.
    fn create(
        idmap: &Idmap,
        dir: &Inode<Self>,
        dentry: &Dentry<Self>,
        mode: u16,
        rdev: u32,
    ) -> Result<ReadyInode<Self>>;

    /// Makes a symbolic link.
    fn symlink(
        idmap: &Idmap,
        dir: &Inode<Self>,
        dentry: &Dentry<Self>,
        target: &[u8],
    ) -> Result<ReadyInode<Self>>;

    /// Makes a file without a name.
    fn tmpfile(idmap: &Idmap, dir: &Inode<Self>, mode: u16) -> Result<ReadyInode<Self>>;

    /// Gives `inode` one more name.
    fn link(inode: &Inode<Self>, dir: &Inode<Self>, dentry: &Dentry<Self>) -> Result;

    /// Removes the entry of a file.
    fn unlink(dir: &Inode<Self>, dentry: &Dentry<Self>, inode: &Inode<Self>) -> Result;

    /// Removes an empty directory.
    fn rmdir(dir: &Inode<Self>, dentry: &Dentry<Self>, inode: &Inode<Self>) -> Result;

    /// Renames. VFS holds the locks of both directories and of the inodes involved.
    fn rename(idmap: &Idmap, args: &Rename<'_, Self>) -> Result;
}

/// A change of attributes: `setattr`. VFS holds the inode's `i_rwsem` exclusively.
pub struct SetAttr<'a, T: FileSystem> {
    idmap: &'a Idmap,
    dentry: *mut bindings::dentry,
    inode: &'a Inode<T>,
    attr: *mut bindings::iattr,
}

impl<'a, T: FileSystem> SetAttr<'a, T> {
    /// The inode.
    pub fn inode(&self) -> &'a Inode<T> {
        self.inode
    }

    /// Whether any of the `ATTR_*` bits of `mask` is set.
    pub fn has(&self, mask: u32) -> bool {
        // SAFETY: the object is valid and ours.
        unsafe { (*self.attr).ia_valid & mask != 0 }
    }

    /// The new size, if one is asked for. VFS has checked that it is not negative.
    pub fn size(&self) -> Option<u64> {
        // SAFETY: the object is valid and ours.
        let size = unsafe { (*self.attr).ia_size };
        self.has(bindings::ATTR_SIZE).then_some(size as u64)
    }

    /// truncate(2), other than ftruncate(2), asks for a size only; a change of size sets both
    /// times all the same.
    pub fn touch_for_size(&mut self) {
        if self.has(bindings::ATTR_CTIME | bindings::ATTR_MTIME) {
            return;
        }
        // SAFETY: the objects are valid and ours.
        unsafe {
            let now = bindings::current_time(self.inode.as_ptr());
            (*self.attr).ia_ctime = now;
            (*self.attr).ia_mtime = now;
            (*self.attr).ia_valid |= bindings::ATTR_CTIME | bindings::ATTR_MTIME;
        }
    }

    /// Checks permissions and limits.
    pub fn prepare(&mut self) -> Result {
        // SAFETY: all objects are valid, `i_rwsem` is held.
        to_result(unsafe { bindings::setattr_prepare(self.idmap.as_ptr(), self.dentry, self.attr) })
    }

    /// Copies everything but the size into the C inode.
    pub fn copy(&self) {
        // SAFETY: all objects are valid, `i_rwsem` is held.
        unsafe {
            bindings::setattr_copy(self.idmap.as_ptr(), self.inode.as_ptr(), self.attr);
        }
    }

    /// The proof that `i_rwsem` is held exclusively.
    pub fn iolock(&self) -> IolockExcl<'_> {
        // SAFETY: VFS holds the lock during setattr.
        unsafe { assume::iolock_excl(self.inode) }
    }
}

/// The C tables of a file system's inodes, one for each kind.
struct InodeTables<T>(PhantomData<T>);

impl<T: Inodes> InodeTables<T> {
    /// What all kinds have.
    const COMMON: bindings::inode_operations = bindings::inode_operations {
        getattr: Some(getattr::<T>),
        setattr: Some(setattr::<T>),
        update_time: Some(update_time),
        sync_lazytime: Some(sync_lazytime::<T>),
        fileattr_get: Some(fileattr_get::<T>),
        fileattr_set: Some(fileattr_set::<T>),
        listxattr: Some(xattr::listxattr::<T>),
        // SAFETY: a table of function pointers: all zeroes are `None`.
        ..unsafe { core::mem::zeroed() }
    };

    /// What all but symbolic links have.
    const ACLS: bindings::inode_operations = bindings::inode_operations {
        get_inode_acl: Some(acl::get_inode_acl::<T>),
        set_acl: Some(acl::set_acl::<T>),
        ..Self::COMMON
    };

    const FILE: bindings::inode_operations = bindings::inode_operations {
        fiemap: Some(super::iomap::fiemap::<T>),
        ..Self::ACLS
    };

    const DIR: bindings::inode_operations = bindings::inode_operations {
        lookup: Some(lookup::<T>),
        create: Some(create::<T>),
        link: Some(link::<T>),
        unlink: Some(unlink::<T>),
        symlink: Some(symlink::<T>),
        mkdir: Some(mkdir::<T>),
        rmdir: Some(rmdir::<T>),
        mknod: Some(mknod::<T>),
        rename: Some(rename::<T>),
        tmpfile: Some(tmpfile::<T>),
        ..Self::ACLS
    };

    const FAST_LINK: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(bindings::simple_get_link),
        ..Self::COMMON
    };

    const LINK: bindings::inode_operations = bindings::inode_operations {
        get_link: Some(get_link::<T>),
        ..Self::COMMON
    };
}

pub(super) fn file_table<T: Inodes>() -> *const bindings::inode_operations {
    &InodeTables::<T>::FILE
}

pub(super) fn dir_table<T: Inodes>() -> *const bindings::inode_operations {
    &InodeTables::<T>::DIR
}

pub(super) fn link_table<T: Inodes>(fast: bool) -> *const bindings::inode_operations {
    if fast {
        &InodeTables::<T>::FAST_LINK
    } else {
        &InodeTables::<T>::LINK
    }
}

pub(super) fn special_table<T: Inodes>() -> *const bindings::inode_operations {
    &InodeTables::<T>::ACLS
}

/// Result of a callback that returns a dentry or an error pointer; null is success.
fn dentry_result(result: Result<*mut bindings::dentry>) -> *mut bindings::dentry {
    match result {
        Ok(dentry) => dentry,
        Err(e) => e.to_ptr(),
    }
}

unsafe extern "C" fn lookup<T: DirOps>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    _flags: c_uint,
) -> *mut bindings::dentry {
    // SAFETY: VFS holds `i_rwsem` of `dir` shared, both are of this file system.
    let found = unsafe { T::lookup(Inode::from_raw(dir), Dentry::from_raw(dentry)) };
    let inode = match found {
        Ok(Some(inode)) => inode.into_raw(),
        Ok(None) => ptr::null_mut(),
        Err(e) => return e.to_ptr(),
    };
    // SAFETY: d_splice_alias() takes over the reference.
    unsafe { bindings::d_splice_alias(inode, dentry) }
}

/// Attaches a new inode to its dentry.
///
/// # Safety
///
/// `dentry` is negative and in the directory whose `i_rwsem` is held.
unsafe fn instantiate<T: FileSystem>(dentry: *mut bindings::dentry, inode: ReadyInode<T>) {
    // SAFETY: by the contract; the reference goes to the dentry, `I_NEW` is cleared.
    unsafe { bindings::d_instantiate_new(dentry, inode.into_raw()) };
}

/// The common body of create, mknod and mkdir.
///
/// # Safety
///
/// The arguments are those of one of these callbacks.
unsafe fn make<T: DirOps>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: u16,
    dev: bindings::dev_t,
) -> Result {
    // SAFETY: VFS holds `i_rwsem` of `dir`, all objects are valid.
    unsafe {
        let rdev = bindings::new_encode_dev(dev);
        let (dir, entry) = (Inode::<T>::from_raw(dir), Dentry::from_raw(dentry));
        let inode = T::create(Idmap::from_raw(idmap), dir, entry, mode, rdev)?;
        instantiate(dentry, inode);
    }
    Ok(())
}

unsafe extern "C" fn create<T: DirOps>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
) -> c_int {
    let mode = mode | bindings::S_IFREG as u16;
    // SAFETY: these are the arguments of this callback.
    from_result(|| unsafe { make::<T>(idmap, dir, dentry, mode, 0) }.map(|()| 0))
}

unsafe extern "C" fn mknod<T: DirOps>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
    dev: bindings::dev_t,
) -> c_int {
    // SAFETY: these are the arguments of this callback.
    from_result(|| unsafe { make::<T>(idmap, dir, dentry, mode, dev) }.map(|()| 0))
}

unsafe extern "C" fn mkdir<T: DirOps>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    mode: bindings::umode_t,
) -> *mut bindings::dentry {
    let mode = mode | bindings::S_IFDIR as u16;
    // SAFETY: these are the arguments of this callback.
    dentry_result(unsafe { make::<T>(idmap, dir, dentry, mode, 0) }.map(|()| ptr::null_mut()))
}

unsafe extern "C" fn symlink<T: DirOps>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
    target: *const c_char,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS holds `i_rwsem` of `dir`, all objects are valid, `target` is terminated.
        unsafe {
            let inode = T::symlink(
                Idmap::from_raw(idmap),
                Inode::from_raw(dir),
                Dentry::from_raw(dentry),
                CStr::from_char_ptr(target).to_bytes(),
            )?;
            instantiate(dentry, inode);
        }
        Ok(0)
    })
}

unsafe extern "C" fn tmpfile<T: DirOps>(
    idmap: *mut bindings::mnt_idmap,
    dir: *mut bindings::inode,
    file: *mut bindings::file,
    mode: bindings::umode_t,
) -> c_int {
    let make = || -> Result {
        // SAFETY: VFS holds `i_rwsem` of `dir` shared or not at all, all objects are valid.
        unsafe {
            let inode = T::tmpfile(Idmap::from_raw(idmap), Inode::from_raw(dir), mode)?.into_raw();
            // d_tmpfile() counts the links down to 0 itself.
            bindings::set_nlink(inode, 1);
            bindings::d_tmpfile(file, inode);
            bindings::unlock_new_inode(inode);
        }
        Ok(())
    };
    let err = make().map_or_else(|e| e.to_errno(), |()| 0);
    // SAFETY: the file is being opened; with an error this only returns it.
    unsafe { bindings::finish_open_simple(file, err) }
}

unsafe extern "C" fn link<T: DirOps>(
    old: *mut bindings::dentry,
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS holds `i_rwsem` of `dir` and of the inode; all objects are valid.
        unsafe {
            let inode = Inode::<T>::from_raw((*old).d_inode);
            T::link(inode, Inode::from_raw(dir), Dentry::from_raw(dentry))?;
            bindings::d_instantiate(dentry, inode.get().into_raw());
        }
        Ok(0)
    })
}

unsafe extern "C" fn unlink<T: DirOps>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS holds `i_rwsem` of `dir` and of the inode; all objects are valid.
        let (dir, dentry) = unsafe { (Inode::from_raw(dir), Dentry::<T>::from_raw(dentry)) };
        T::unlink(dir, dentry, dentry.inode().ok_or(ENOENT)?)?;
        Ok(0)
    })
}

unsafe extern "C" fn rmdir<T: DirOps>(
    dir: *mut bindings::inode,
    dentry: *mut bindings::dentry,
) -> c_int {
    from_result(|| {
        // SAFETY: as for unlink().
        let (dir, dentry) = unsafe { (Inode::from_raw(dir), Dentry::<T>::from_raw(dentry)) };
        T::rmdir(dir, dentry, dentry.inode().ok_or(ENOENT)?)?;
        Ok(0)
    })
}

unsafe extern "C" fn rename<T: DirOps>(
    idmap: *mut bindings::mnt_idmap,
    old_dir: *mut bindings::inode,
    old: *mut bindings::dentry,
    new_dir: *mut bindings::inode,
    new: *mut bindings::dentry,
    flags: c_uint,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS holds the locks of both directories; all objects are valid.
        unsafe {
            let (old, new) = (Dentry::<T>::from_raw(old), Dentry::<T>::from_raw(new));
            let args = Rename {
                old_dir: Inode::from_raw(old_dir),
                old,
                inode: old.inode().ok_or(ENOENT)?,
                new_dir: Inode::from_raw(new_dir),
                new,
                target: new.inode(),
                flags,
            };
            T::rename(Idmap::from_raw(idmap), &args)?;
        }
        Ok(0)
    })
}

unsafe extern "C" fn getattr<T: InodeOps>(
    idmap: *mut bindings::mnt_idmap,
    path: *const bindings::path,
    stat: *mut bindings::kstat,
    request: u32,
    _flags: c_uint,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS passes valid objects; the path holds the inode.
        unsafe {
            let inode = (*(*path).dentry).d_inode;
            bindings::generic_fillattr(idmap, request, inode, stat);
            T::getattr(Inode::from_raw(inode), KStat::from_raw(stat))?;
        }
        Ok(0)
    })
}

unsafe extern "C" fn setattr<T: InodeOps>(
    idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    attr: *mut bindings::iattr,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS holds `i_rwsem` of the inode; all objects are valid.
        let mut args = unsafe {
            SetAttr::<T> {
                idmap: Idmap::from_raw(idmap),
                dentry,
                inode: Inode::from_raw((*dentry).d_inode),
                attr,
            }
        };
        T::setattr(&mut args)?;
        Ok(0)
    })
}

/// Times and version that the VFS changes stay in the inode, on every mount: fsync, sync, the
/// flusher and eviction log them through `write_inode` and `sync_lazytime`. So this never blocks,
/// and the caller's `IOCB_NOWAIT` need not be passed on.
unsafe extern "C" fn update_time(
    inode: *mut bindings::inode,
    kind: bindings::fs_update_time,
    _flags: c_uint,
) -> c_int {
    // SAFETY: VFS passes a valid inode.
    unsafe {
        let dirty = bindings::inode_update_time(inode, kind, 0);
        if dirty <= 0 {
            return dirty;
        }
        bindings::__mark_inode_dirty(inode, dirty);
    }
    0
}

unsafe extern "C" fn sync_lazytime<T: InodeOps>(inode: *mut bindings::inode) {
    // SAFETY: VFS passes an inode of this file system.
    T::sync_lazytime(unsafe { Inode::from_raw(inode) });
}

unsafe extern "C" fn fileattr_get<T: InodeOps>(
    dentry: *mut bindings::dentry,
    fa: *mut kernel::bindings::file_kattr,
) -> c_int {
    from_result(|| {
        // SAFETY: the caller holds the dentry; `fa` is its own. The kernel crate only knows the
        // name of the structure.
        let (inode, fa) = unsafe {
            (
                Inode::<T>::from_raw((*dentry).d_inode),
                FileAttr::from_raw(fa.cast()),
            )
        };
        let (flags, projid) = T::fileattr_get(inode)?;
        fa.fill(flags, projid);
        Ok(0)
    })
}

unsafe extern "C" fn fileattr_set<T: InodeOps>(
    _idmap: *mut bindings::mnt_idmap,
    dentry: *mut bindings::dentry,
    fa: *mut kernel::bindings::file_kattr,
) -> c_int {
    from_result(|| {
        // SAFETY: VFS holds `i_rwsem` of the inode; `fa` is its own.
        let (inode, fa) = unsafe {
            (
                Inode::<T>::from_raw((*dentry).d_inode),
                FileAttr::from_raw(fa.cast()),
            )
        };
        T::fileattr_set(inode, fa)?;
        Ok(0)
    })
}

unsafe extern "C" fn get_link<T: InodeOps>(
    dentry: *mut bindings::dentry,
    inode: *mut bindings::inode,
    done: *mut bindings::delayed_call,
) -> *const c_char {
    if dentry.is_null() {
        // RCU walk: it may not sleep.
        return ECHILD.to_ptr::<c_char>();
    }
    // SAFETY: VFS passes an inode of this file system.
    match read_link(unsafe { Inode::<T>::from_raw(inode) }) {
        // SAFETY: `done` is valid; VFS frees the link through it.
        Ok(link) => unsafe {
            bindings::set_delayed_kfree(done, link);
            link
        },
        Err(e) => e.to_ptr::<c_char>(),
    }
}

/// The target of a link as a terminated string made by kmalloc().
fn read_link<T: InodeOps>(inode: &Inode<T>) -> Result<*mut c_char> {
    let mut target = KVec::new();
    T::readlink(inode, &mut target)?;
    // SAFETY: the buffer is valid for its length.
    let link = unsafe { bindings::kmemdup_nul(target.as_ptr().cast(), target.len()) };
    if link.is_null() {
        return Err(ENOMEM);
    }
    Ok(link)
}
