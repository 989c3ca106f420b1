// SPDX-License-Identifier: GPL-2.0

//! Writeback of dirty folios through iomap.
//!
//! C header: `include/linux/iomap.h` (`struct iomap_writepage_ctx`).

use super::assume;
use super::fs::FileSystem;
use super::inode::Inode;
use super::ioend;
use super::ioend::Workqueue;
use super::iomap;
use super::iomap::Mapping;
use super::super_types::SuperBlock;
use crate::bindings;
use crate::sys::witness::LockedFolio;
use crate::sys::NofsScope;
use core::marker::PhantomData;
use kernel::error::Error;
use kernel::ffi::c_int;
use kernel::ffi::c_uint;
use kernel::prelude::*;

/// Writeback of a file. Called with the folio locked and its writeback bit set; `i_rwsem` and the
/// invalidate lock are not held and must not be taken. Allocations are NOFS.
pub trait WritebackOps: FileSystem {
    /// The queue for completions that need a transaction.
    fn completions(sb: &SuperBlock<Self>) -> &Workqueue;

    /// Where the bytes `pos..pos + len` go: the mapping starts at or before `pos`, and only the
    /// part of it in the range was changed for this call. A hole means that there is nothing to
    /// write.
    fn writeback_range(
        inode: &Inode<Self>,
        ctx: &mut Self::Writeback,
        folio: &LockedFolio<'_>,
        pos: u64,
        len: u64,
    ) -> Result<Mapping>;

    /// iomap could not take the range that [`WritebackOps::writeback_range`] just mapped.
    fn writeback_undo(
        inode: &Inode<Self>,
        ctx: &mut Self::Writeback,
        folio: &LockedFolio<'_>,
        pos: u64,
        len: u64,
    );

    /// iomap is about to forget the dirty state of the rest of the folio from `pos` on, because
    /// of an error.
    fn writeback_discard(inode: &Inode<Self>, folio: &LockedFolio<'_>, pos: u64);

    /// The I/O that was gathered in `ctx` is about to be submitted, or failed with an error
    /// before.
    fn writeback_submit(inode: &Inode<Self>, ctx: &mut Self::Writeback);

    /// Whether I/O that ends at byte `end` needs [`WritebackOps::ioend`]. Does not sleep.
    fn needs_ioend(inode: &Inode<Self>, unwritten: bool, end: u64) -> bool;

    /// Writeback of `pos..pos + size` is over, with this error. The error it returns is what the
    /// folios get.
    fn ioend(inode: &Inode<Self>, pos: u64, size: u64, error: Option<Error>) -> Result;
}

/// One pass of writeback: C's part first, then the file system's.
#[repr(C)]
struct Pass<T: FileSystem> {
    ctx: bindings::iomap_writepage_ctx,
    fs: T::Writeback,
}

struct WritebackTable<T>(PhantomData<T>);

impl<T: WritebackOps> WritebackTable<T> {
    const TABLE: bindings::iomap_writeback_ops = bindings::iomap_writeback_ops {
        writeback_range: Some(writeback_range::<T>),
        writeback_submit: Some(writeback_submit::<T>),
    };
}

pub(super) unsafe extern "C" fn writepages<T: WritebackOps>(
    mapping: *mut bindings::address_space,
    wbc: *mut bindings::writeback_control,
) -> c_int {
    let mut pass = Pass::<T> {
        ctx: bindings::iomap_writepage_ctx {
            // SAFETY: the mapping of an inode of this file system.
            inode: unsafe { (*mapping).host },
            wbc,
            ops: &WritebackTable::<T>::TABLE,
            // SAFETY: C wants the rest zeroed.
            ..unsafe { core::mem::zeroed() }
        },
        fs: T::Writeback::default(),
    };
    // SAFETY: the context is initialised; the callbacks find `pass` around it.
    unsafe { bindings::iomap_writepages(&mut pass.ctx) }
}

unsafe extern "C" fn writeback_range<T: WritebackOps>(
    wpc: *mut bindings::iomap_writepage_ctx,
    folio: *mut bindings::folio,
    pos: u64,
    len: c_uint,
    end_pos: u64,
) -> isize {
    let _nofs = NofsScope::enter();
    let pass = wpc.cast::<Pass<T>>();
    // SAFETY: iomap passes the context inside our pass, and a locked folio of its inode.
    let (inode, locked) = unsafe {
        let inode = Inode::<T>::from_raw((*wpc).inode);
        (inode, assume::locked_folio(inode, folio))
    };
    // SAFETY: nobody else uses the pass; the borrow ends before C is called again.
    let found = unsafe { T::writeback_range(inode, &mut (*pass).fs, &locked, pos, len.into()) };
    let mapping = match found {
        Ok(mapping) => mapping,
        Err(e) => {
            T::writeback_discard(inode, &locked, pos);
            return e.to_errno() as isize;
        }
    };
    crate::sys::sync_point!("wb.mapped", inode.ino());
    // SAFETY: the context is valid; this may call writeback_submit() below.
    let added = unsafe {
        iomap::fill(inode, &mut (*wpc).iomap, &mapping);
        bindings::iomap_add_to_ioend(wpc, folio, pos as i64, end_pos as i64, len)
    };
    if added < 0 {
        let mapped = mapping.offset.saturating_add(mapping.len);
        let len = u64::from(len).min(mapped.saturating_sub(pos));
        // SAFETY: as above.
        unsafe { T::writeback_undo(inode, &mut (*pass).fs, &locked, pos, len) };
        T::writeback_discard(inode, &locked, pos);
    }
    added
}

unsafe extern "C" fn writeback_submit<T: WritebackOps>(
    wpc: *mut bindings::iomap_writepage_ctx,
    error: c_int,
) -> c_int {
    let _nofs = NofsScope::enter();
    let pass = wpc.cast::<Pass<T>>();
    // SAFETY: iomap passes the context inside our pass; `wb_ctx` is the ioend it gathered.
    unsafe {
        let inode = Inode::<T>::from_raw((*wpc).inode);
        T::writeback_submit(inode, &mut (*pass).fs);
        let ioend = (*wpc).wb_ctx.cast::<bindings::iomap_ioend>();
        let unwritten = u32::from((*ioend).io_flags) & bindings::IOMAP_IOEND_UNWRITTEN != 0;
        let end = ((*ioend).io_offset as u64).saturating_add((*ioend).io_size as u64);
        if T::needs_ioend(inode, unwritten, end) {
            let bio = core::ptr::addr_of_mut!((*ioend).io_bio);
            (*bio).bi_end_io = Some(ioend::end_bio::<T>);
            bindings::bio_complete_here(bio);
        }
        bindings::iomap_ioend_writeback_submit(wpc, error)
    }
}
