// SPDX-License-Identifier: GPL-2.0

//! Inodes under construction.
//!
//! * [`UnhashedInode`]: a fresh inode for a create; nobody can find it. Dropped: freed.
//! * [`NewInode`]: hashed under its number, `I_NEW`; others who look it up wait. Dropped:
//!   `iget_failed`, so that nobody waits for ever.
//! * [`ReadyInode`]: complete, still `I_NEW`. Becomes an [`IRef`] or goes into a dentry.

use super::IRef;
use super::Inode;
use super::InodeCell;
use super::Inodes;
use crate::bindings;
use crate::kapi::file;
use crate::kapi::fs::FileSystem;
use crate::kapi::idmap::Idmap;
use crate::kapi::namei;
use crate::kapi::pagemap;
use crate::kapi::super_types::SuperBlock;
use crate::sys::Time;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ptr::NonNull;
use kernel::prelude::*;

/// The fields of a C inode that come from the file system.
pub struct InodeAttrs {
    /// Type and permissions.
    pub mode: u16,
    /// Owner, in the initial user namespace.
    pub uid: u32,
    /// Group, in the initial user namespace.
    pub gid: u32,
    /// Link count.
    pub nlink: u32,
    /// Size in bytes.
    pub size: u64,
    /// Space in sectors of 512 bytes.
    pub sectors: u64,
    /// Time of last access.
    pub atime: Time,
    /// Time of last modification.
    pub mtime: Time,
    /// Time of last change.
    pub ctime: Time,
    /// Version, as it was stored.
    pub version: u64,
    /// Generation, for file handles.
    pub generation: u32,
    /// Device number of a special file, as it is stored.
    pub rdev: u32,
    /// The `S_*` flags.
    pub flags: u32,
    /// Whether it has extended attributes; without any there is nothing to look for in the engine.
    pub xattrs: bool,
}

/// A fresh inode that is not hashed.
pub struct UnhashedInode<T: FileSystem>(NonNull<bindings::inode>, PhantomData<T>);

impl<T: FileSystem> UnhashedInode<T> {
    /// Allocates one. May sleep.
    pub fn new(sb: &SuperBlock<T>) -> Result<Self> {
        // SAFETY: the super block is valid and active.
        let inode = unsafe { bindings::new_inode(sb.as_ptr()) };
        Ok(Self(NonNull::new(inode).ok_or(ENOMEM)?, PhantomData))
    }

    /// Sets owner, group and mode of a new entry of `dir`, with the rules of the set-group-id bit
    /// and of the mount's id mapping. Returns them as numbers of the initial user namespace.
    pub fn init_owner(&self, idmap: &Idmap, dir: &Inode<T>, mode: u16) -> (u16, u32, u32) {
        let inode = self.0.as_ptr();
        // SAFETY: all objects are valid; the inode is ours.
        unsafe {
            bindings::inode_init_owner(idmap.as_ptr(), inode, dir.as_ptr(), mode);
            (
                (*inode).i_mode,
                bindings::i_uid_read(inode),
                bindings::i_gid_read(inode),
            )
        }
    }

    /// The C object, which has no private part yet.
    pub(in crate::kapi) fn as_ptr(&self) -> *mut bindings::inode {
        self.0.as_ptr()
    }

    /// The time of creation: now, with the precision of the file system.
    pub fn touch(&self) -> Time {
        let inode = self.0.as_ptr();
        // SAFETY: the inode is ours.
        crate::kapi::stat::from_timespec(&unsafe { bindings::inode_set_ctime_current(inode) })
    }

    /// Hashes the inode under `ino`. EUCLEAN if the number is in use: the caller took it from the
    /// map of free numbers, so map and memory disagree.
    ///
    /// Waits for an inode of this number that is being freed: no lock of the engine may be held.
    pub fn insert(self, ino: u64) -> Result<NewInode<T>> {
        let inode = self.0.as_ptr();
        // SAFETY: the inode is ours and not hashed.
        let err = unsafe {
            (*inode).i_ino = ino;
            bindings::insert_inode_locked(inode)
        };
        if err != 0 {
            pr_err!("inode {} was allocated but is in use\n", ino);
            return Err(EUCLEAN);
        }
        let this = ManuallyDrop::new(self);
        Ok(NewInode(this.0, PhantomData))
    }
}

impl<T: FileSystem> Drop for UnhashedInode<T> {
    fn drop(&mut self) {
        // SAFETY: the only reference is ours. It has no private part, which destroy_inode sees.
        unsafe { bindings::iput(self.0.as_ptr()) };
    }
}

/// A hashed inode with `I_NEW` set.
pub struct NewInode<T: FileSystem>(NonNull<bindings::inode>, PhantomData<T>);

/// Result of [`SuperBlock::iget`].
pub enum Iget<T: FileSystem> {
    /// The inode was in memory.
    Cached(IRef<T>),
    /// The caller has to complete it.
    New(NewInode<T>),
}

impl<T: FileSystem> SuperBlock<T> {
    /// The inode of number `ino`. Waits for one that is being set up or freed: no lock of the
    /// engine may be held. ENOMEM.
    pub fn iget(&self, ino: u64) -> Result<Iget<T>> {
        // SAFETY: the super block is valid.
        let inode = unsafe { bindings::iget_locked(self.as_ptr(), ino) };
        let inode = NonNull::new(inode).ok_or(ENOMEM)?;
        // SAFETY: iget_locked() returned a referenced inode of this file system.
        unsafe {
            if bindings::inode_state(inode.as_ptr()) & bindings::I_NEW != 0 {
                return Ok(Iget::New(NewInode(inode, PhantomData)));
            }
            Ok(Iget::Cached(IRef::from_raw(inode.as_ptr())))
        }
    }

    /// The inode of number `ino`, if somebody has it. Waits for one that is being set up or freed: no
    /// lock of the engine may be held.
    pub fn ilookup(&self, ino: u64) -> Option<IRef<T>> {
        // SAFETY: the super block is valid.
        let inode = unsafe { bindings::ilookup(self.as_ptr(), ino) };
        // SAFETY: ilookup() returned a referenced inode of this file system, which is complete.
        NonNull::new(inode).map(|inode| unsafe { IRef::from_raw(inode.as_ptr()) })
    }
}

impl<T: Inodes> NewInode<T> {
    /// Fills in the fields, chooses the operations by the type in `attrs.mode`, and puts the
    /// private part in place.
    ///
    /// `link`: the target of a symbolic link that is kept in memory.
    pub fn ready(
        self,
        attrs: &InodeAttrs,
        data: T::Inode,
        link: Option<&[u8]>,
    ) -> Result<ReadyInode<T>> {
        let inode = self.0.as_ptr();
        let link = match link {
            Some(link) => {
                // SAFETY: `link` is valid for its length.
                let copy = unsafe { bindings::kmemdup_nul(link.as_ptr().cast(), link.len()) };
                Some(NonNull::new(copy).ok_or(ENOMEM)?)
            }
            None => None,
        };
        self.fill(attrs);
        // SAFETY: `I_NEW` keeps everybody else away; the tables are static.
        unsafe {
            match u32::from(attrs.mode) & bindings::S_IFMT {
                bindings::S_IFREG => {
                    (*inode).i_op = namei::file_table::<T>();
                    (*inode).__bindgen_anon_3.i_fop = file::file_table::<T>();
                    (*(*inode).i_mapping).a_ops = pagemap::table::<T>();
                    bindings::mapping_init(inode);
                }
                bindings::S_IFDIR => {
                    (*inode).i_op = namei::dir_table::<T>();
                    (*inode).__bindgen_anon_3.i_fop = file::dir_table::<T>();
                }
                bindings::S_IFLNK => {
                    (*inode).i_op = namei::link_table::<T>(link.is_some());
                    if let Some(link) = link {
                        (*inode).__bindgen_anon_5.i_link = link.as_ptr();
                    }
                }
                _ => {
                    (*inode).i_op = namei::special_table::<T>();
                    let dev = bindings::new_decode_dev(attrs.rdev);
                    bindings::init_special_inode(inode, attrs.mode, dev);
                }
            }
            let cell = &*inode.cast::<InodeCell<T>>();
            (*cell.data.get()).write(data);
            cell.live.set(true);
        }
        let this = ManuallyDrop::new(self);
        Ok(ReadyInode(this.0, PhantomData))
    }

    fn fill(&self, attrs: &InodeAttrs) {
        let inode = self.0.as_ptr();
        // SAFETY: `I_NEW` keeps everybody else away.
        unsafe {
            (*inode).i_mode = attrs.mode;
            bindings::i_uid_write(inode, attrs.uid);
            bindings::i_gid_write(inode, attrs.gid);
            bindings::set_nlink(inode, attrs.nlink);
            bindings::i_size_write(inode, attrs.size as i64);
            (*inode).i_blocks = attrs.sectors;
            (*inode).i_atime_sec = attrs.atime.secs;
            (*inode).i_atime_nsec = attrs.atime.nanos;
            (*inode).i_mtime_sec = attrs.mtime.secs;
            (*inode).i_mtime_nsec = attrs.mtime.nanos;
            bindings::inode_set_ctime(inode, attrs.ctime.secs, attrs.ctime.nanos);
            (*inode).i_generation = attrs.generation;
            bindings::set_iversion_queried(inode, attrs.version);
            bindings::inode_set_flags(inode, attrs.flags, attrs.flags);
            if !attrs.xattrs {
                bindings::inode_has_no_xattr(inode);
                bindings::cache_no_acl(inode);
            }
        }
    }
}

impl<T: FileSystem> Drop for NewInode<T> {
    fn drop(&mut self) {
        // SAFETY: the inode has `I_NEW` and the reference is ours: waiters see a bad inode.
        unsafe { bindings::iget_failed(self.0.as_ptr()) };
    }
}

/// A complete inode that still has `I_NEW` set.
pub struct ReadyInode<T: FileSystem>(NonNull<bindings::inode>, PhantomData<T>);

impl<T: FileSystem> ReadyInode<T> {
    /// Clears `I_NEW`: others find the inode.
    pub fn unlock(self) -> IRef<T> {
        let inode = self.into_raw();
        // SAFETY: the inode is complete and the reference is ours.
        unsafe {
            bindings::unlock_new_inode(inode);
            IRef::from_raw(inode)
        }
    }

    /// Gives the inode, still `I_NEW`, and the reference to C.
    pub(in crate::kapi) fn into_raw(self) -> *mut bindings::inode {
        ManuallyDrop::new(self).0.as_ptr()
    }

    /// The inode itself.
    pub fn inode(&self) -> &Inode<T> {
        // SAFETY: the private part is in place, the reference is ours.
        unsafe { Inode::from_raw(self.0.as_ptr()) }
    }
}

impl<T: FileSystem> Drop for ReadyInode<T> {
    fn drop(&mut self) {
        // SAFETY: as for `unlock`; the inode is complete, so it may simply be forgotten.
        unsafe {
            bindings::unlock_new_inode(self.0.as_ptr());
            bindings::iput(self.0.as_ptr());
        }
    }
}
