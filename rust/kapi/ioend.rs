// SPDX-License-Identifier: GPL-2.0

//! Completion of writeback I/O.
//!
//! C header: `include/linux/iomap.h` (`struct iomap_ioend`).
//!
//! `bi_end_io` runs in interrupt context: it puts the ioend on the inode's list and queues the
//! inode's work on a workqueue of its own with a rescuer. The worker sorts and
//! merges what has gathered and calls the file system once for each contiguous range, then ends
//! the writeback of its folios. So a task that waits for writeback finds the transaction done.

use super::inode::Inode;
use super::inode::InodeCell;
use super::inode::Inodes;
use super::writeback::WritebackOps;
use crate::bindings;
use crate::sys::NofsScope;
use core::ptr;
use core::ptr::NonNull;
use kernel::error::Error;
use kernel::prelude::*;
use kernel::str::CStr;
use kernel::types::Opaque;

/// The finished ioends of an inode that wait for the worker. Part of the inode's slab object.
///
/// `lock` protects `list`; it is a leaf, taken with interrupts off, also in interrupt context.
pub(super) struct IoendQueue {
    lock: Opaque<bindings::spinlock_t>,
    list: Opaque<bindings::list_head>,
    work: Opaque<bindings::work_struct>,
}

impl IoendQueue {
    /// Initialises the queue at `this`, once for each slab object.
    ///
    /// # Safety
    ///
    /// `this` is the queue inside an [`InodeCell`] of `T`, and nobody uses it yet.
    pub(super) unsafe fn init<T: Inodes>(this: *mut Self) {
        // SAFETY: by the contract of this function.
        unsafe {
            bindings::ioends_init(
                Opaque::cast_into(ptr::addr_of!((*this).lock)),
                Opaque::cast_into(ptr::addr_of!((*this).list)),
                Opaque::cast_into(ptr::addr_of!((*this).work)),
                Some(worker::<T>),
            );
        }
    }
}

/// The workqueue that runs completions of one mount.
pub struct Workqueue(NonNull<bindings::workqueue_struct>);

// SAFETY: workqueues may be used by any task.
unsafe impl Send for Workqueue {}
// SAFETY: as above.
unsafe impl Sync for Workqueue {}

impl Workqueue {
    /// Makes the queue, with a rescuer. May sleep.
    pub fn new(id: &CStr) -> Result<Self> {
        // SAFETY: the string is terminated, C copies it.
        let wq = unsafe { bindings::ioend_workqueue(id.as_char_ptr()) };
        Ok(Self(NonNull::new(wq).ok_or(ENOMEM)?))
    }
}

impl Drop for Workqueue {
    fn drop(&mut self) {
        // SAFETY: the queue is ours; this waits for its work.
        unsafe { bindings::destroy_workqueue(self.0.as_ptr()) };
    }
}

/// `bi_end_io` of an ioend that needs a transaction. Any context.
pub(super) unsafe extern "C" fn end_bio<T: WritebackOps>(bio: *mut bindings::bio) {
    // SAFETY: the bio is part of an ioend of an inode of this file system. The folios under
    // writeback keep the inode until the worker has finished the ioend.
    unsafe {
        let ioend = bindings::ioend_from_bio(bio);
        let inode = (*ioend).io_inode;
        let queue = ptr::addr_of!((*inode.cast::<InodeCell<T>>()).ioends);
        let wq = T::completions(Inode::from_raw(inode).sb()).0.as_ptr();
        bindings::ioends_add(
            Opaque::cast_into(ptr::addr_of!((*queue).lock)),
            Opaque::cast_into(ptr::addr_of!((*queue).list)),
            ptr::addr_of_mut!((*ioend).io_list),
            wq,
            Opaque::cast_into(ptr::addr_of!((*queue).work)),
        );
    }
}

/// The inode's work: completes everything on its list.
unsafe extern "C" fn worker<T: Inodes>(work: *mut bindings::work_struct) {
    let _nofs = NofsScope::enter();
    let mut list = bindings::list_head::default();
    // SAFETY: `work` is the member of a queue in an inode whose folios are under writeback. After
    // the last ioend of the list is finished nothing here touches the inode: it may be gone.
    unsafe {
        let queue = kernel::container_of!(Opaque::cast_from(work), IoendQueue, work);
        bindings::ioends_take(
            Opaque::cast_into(ptr::addr_of!((*queue).lock)),
            Opaque::cast_into(ptr::addr_of!((*queue).list)),
            &mut list,
        );
        bindings::iomap_sort_ioends(&mut list);
        loop {
            let ioend = bindings::ioends_pop(&mut list);
            if ioend.is_null() {
                return;
            }
            bindings::iomap_ioend_try_merge(ioend, &mut list);
            complete::<T>(ioend);
        }
    }
}

/// Completes one ioend: the transaction, then the end of writeback of its folios.
///
/// # Safety
///
/// The caller owns `ioend` and those merged into it.
unsafe fn complete<T: Inodes>(ioend: *mut bindings::iomap_ioend) {
    // SAFETY: by the contract. The inode lives until iomap_finish_ioends() ends the writeback.
    unsafe {
        let error = bindings::bio_errno(ptr::addr_of_mut!((*ioend).io_bio));
        let inode = Inode::<T>::from_raw((*ioend).io_inode);
        let (pos, size) = ((*ioend).io_offset as u64, (*ioend).io_size as u64);
        let failed = (error != 0).then(|| Error::from_errno(error));
        let error = match T::ioend(inode, pos, size, failed) {
            Ok(()) => error,
            Err(e) => e.to_errno(),
        };
        let error = if crate::sys::mutant!(Seed001Error) {
            0
        } else {
            error
        };
        crate::sys::sync_point!("ordered.finished", inode.ino());
        bindings::iomap_finish_ioends(ioend, error);
    }
}
