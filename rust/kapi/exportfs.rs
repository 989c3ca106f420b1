// SPDX-License-Identifier: GPL-2.0

//! File handles: NFS, name_to_handle_at(2), fanotify.
//!
//! C header: `include/linux/exportfs.h`. Inode numbers have 64 bits, so the handles are ours: three
//! 32-bit words (number low, number high, generation), and three more for the parent.

use super::fs::FileSystem;
use super::inode::IRef;
use super::inode::Inode;
use super::super_types::SuperBlock;
use crate::bindings;
use core::marker::PhantomData;
use kernel::error::from_result;
use kernel::ffi::c_int;
use kernel::prelude::*;

const FILEID_INO64_GEN: c_int = 0x81;
const FILEID_INO64_GEN_PARENT: c_int = 0x82;
const FILEID_INVALID: c_int = 0xff;

/// Words of a handle without, and with a parent.
const WORDS: c_int = 3;
const WORDS_PARENT: c_int = 6;

/// Finding inodes without a name. All may sleep; no lock is held.
pub trait ExportOps: FileSystem {
    /// The inode of a handle. ESTALE if it does not exist any more.
    fn by_handle(sb: &SuperBlock<Self>, ino: u64, generation: u32) -> Result<IRef<Self>>;

    /// The directory that `dir` is in.
    fn parent(dir: &Inode<Self>) -> Result<IRef<Self>>;

    /// Makes the metadata of an inode durable for an NFS server.
    fn commit_metadata(inode: &Inode<Self>) -> Result;
}

pub(super) struct ExportTable<T>(PhantomData<T>);

impl<T: ExportOps> ExportTable<T> {
    pub(super) const TABLE: bindings::export_operations = bindings::export_operations {
        encode_fh: Some(encode_fh),
        fh_to_dentry: Some(fh_to_dentry::<T>),
        fh_to_parent: Some(fh_to_parent::<T>),
        get_parent: Some(get_parent::<T>),
        commit_metadata: Some(commit_metadata::<T>),
        // SAFETY: a table of function pointers and flags: all zeroes are "none".
        ..unsafe { core::mem::zeroed() }
    };
}

/// Number and generation of an inode as the words of a handle.
///
/// # Safety
///
/// `inode` is valid; `words` has room for three.
unsafe fn encode(inode: *mut bindings::inode, words: *mut u32) {
    // SAFETY: by the contract. CAST: the number is cut into its halves.
    unsafe {
        let ino = (*inode).i_ino;
        words.write(ino as u32);
        words.add(1).write((ino >> 32) as u32);
        words.add(2).write((*inode).i_generation);
    }
}

unsafe extern "C" fn encode_fh(
    inode: *mut bindings::inode,
    words: *mut u32,
    max_len: *mut c_int,
    parent: *mut bindings::inode,
) -> c_int {
    let (len, kind) = if parent.is_null() {
        (WORDS, FILEID_INO64_GEN)
    } else {
        (WORDS_PARENT, FILEID_INO64_GEN_PARENT)
    };
    // SAFETY: the caller's buffer has `*max_len` words, the inodes are valid.
    unsafe {
        if *max_len < len {
            *max_len = len;
            return FILEID_INVALID;
        }
        *max_len = len;
        encode(inode, words);
        if !parent.is_null() {
            encode(parent, words.add(3));
        }
    }
    kind
}

/// A dentry for the inode of the three words from `first` of a handle.
///
/// # Safety
///
/// `sb` is of file system `T`; `fid` has more than `first + 2` words.
unsafe fn decode<T: ExportOps>(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    first: usize,
) -> *mut bindings::dentry {
    // SAFETY: by the contract; handles come from user space and may be unaligned.
    let found = unsafe {
        let word = |n| fid.cast::<u32>().add(first).add(n).read_unaligned();
        let ino = u64::from(word(0)) | u64::from(word(1)) << 32;
        T::by_handle(SuperBlock::from_raw(sb), ino, word(2))
    };
    match found {
        // SAFETY: d_obtain_alias() takes over the reference.
        Ok(inode) => unsafe { bindings::d_obtain_alias(inode.into_raw()) },
        Err(e) => e.to_ptr(),
    }
}

unsafe extern "C" fn fh_to_dentry<T: ExportOps>(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    len: c_int,
    kind: c_int,
) -> *mut bindings::dentry {
    if len < WORDS || !matches!(kind, FILEID_INO64_GEN | FILEID_INO64_GEN_PARENT) {
        return core::ptr::null_mut();
    }
    // SAFETY: the handle has three words.
    unsafe { decode::<T>(sb, fid, 0) }
}

unsafe extern "C" fn fh_to_parent<T: ExportOps>(
    sb: *mut bindings::super_block,
    fid: *mut bindings::fid,
    len: c_int,
    kind: c_int,
) -> *mut bindings::dentry {
    if len < WORDS_PARENT || kind != FILEID_INO64_GEN_PARENT {
        return core::ptr::null_mut();
    }
    // SAFETY: the handle has six words.
    unsafe { decode::<T>(sb, fid, 3) }
}

unsafe extern "C" fn get_parent<T: ExportOps>(
    child: *mut bindings::dentry,
) -> *mut bindings::dentry {
    // SAFETY: the caller holds the dentry of a directory, with its inode.
    match T::parent(unsafe { Inode::from_raw((*child).d_inode) }) {
        // SAFETY: d_obtain_alias() takes over the reference.
        Ok(inode) => unsafe { bindings::d_obtain_alias(inode.into_raw()) },
        Err(e) => e.to_ptr(),
    }
}

unsafe extern "C" fn commit_metadata<T: ExportOps>(inode: *mut bindings::inode) -> c_int {
    from_result(|| {
        // SAFETY: the caller holds the inode.
        T::commit_metadata(unsafe { Inode::from_raw(inode) })?;
        Ok(0)
    })
}
