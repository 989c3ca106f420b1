// SPDX-License-Identifier: GPL-2.0

//! iomap and writeback: each callback is one call into `engine::file`.

use super::error::Edge as _;
use super::mount_of;
use super::Inode;
use super::Latchfs;
use super::SuperBlock;
use crate::engine::file;
use crate::engine::file::Bmap;
use crate::engine::file::BmapKind;
use crate::engine::file::WbCtx;
use crate::kapi::ioend::Workqueue;
use crate::kapi::iomap::IomapOps;
use crate::kapi::iomap::Mapping;
use crate::kapi::iomap::MappingKind;
use crate::kapi::writeback::WritebackOps;
use crate::sys::witness::CleanRange;
use crate::sys::witness::InvalidateExcl;
use crate::sys::witness::LockedFolio;
use crate::sys::Errno;
use kernel::prelude::*;

impl From<Bmap> for Mapping {
    fn from(map: Bmap) -> Self {
        Self {
            kind: match map.kind {
                BmapKind::Hole => MappingKind::Hole,
                BmapKind::Delayed => MappingKind::Delayed,
                BmapKind::Mapped => MappingKind::Mapped,
                BmapKind::Unwritten => MappingKind::Unwritten,
            },
            addr: map.addr,
            offset: map.offset,
            len: map.len,
            new: map.new,
            dirty: map.dirty,
            seq: map.seq,
        }
    }
}

impl IomapOps for Latchfs {
    fn read(inode: &Inode, pos: u64, len: u64) -> Result<Mapping> {
        Ok(file::bmap_read(mount_of(inode), inode.data(), pos, len)
            .at(inode)?
            .into())
    }

    fn report(inode: &Inode, pos: u64, len: u64) -> Result<Mapping> {
        Ok(file::bmap_report(mount_of(inode), inode.data(), pos, len)
            .at(inode)?
            .into())
    }

    fn write_begin(inode: &Inode, pos: u64, len: u64, nowait: bool) -> Result<Mapping> {
        Ok(
            file::write_begin(mount_of(inode), inode.data(), pos, len, nowait)
                .at(inode)?
                .into(),
        )
    }

    fn write_end(inode: &Inode, pos: u64, len: u64, written: u64, new: bool) -> Option<(u64, u64)> {
        file::set_isize(inode.data(), inode.size());
        file::write_end(mount_of(inode), inode.data(), pos, len, written, new)
    }

    fn punch(inode: &Inode, lock: &InvalidateExcl<'_>, range: &CleanRange<'_>) {
        file::punch_delayed(mount_of(inode), inode.data(), lock, range);
    }

    fn zero_begin(inode: &Inode, pos: u64, len: u64) -> Result<Mapping> {
        Ok(file::zero_begin(mount_of(inode), inode.data(), pos, len)
            .at(inode)?
            .into())
    }

    fn mkwrite(inode: &Inode, folio: &LockedFolio<'_>, pos: u64, len: u64) -> Result<Mapping> {
        Ok(
            file::mkwrite_begin(mount_of(inode), inode.data(), folio, pos, len)
                .at(inode)?
                .into(),
        )
    }

    fn cookie(inode: &Inode) -> u64 {
        file::cookie(inode.data())
    }
}

impl WritebackOps for Latchfs {
    fn completions(sb: &SuperBlock) -> &Workqueue {
        &sb.data().completions
    }

    fn writeback_range(
        inode: &Inode,
        ctx: &mut WbCtx,
        folio: &LockedFolio<'_>,
        pos: u64,
        len: u64,
    ) -> Result<Mapping> {
        Ok(
            file::writeback_range(mount_of(inode), inode.data(), ctx, folio, pos, len)
                .at(inode)?
                .into(),
        )
    }

    fn writeback_undo(
        inode: &Inode,
        _ctx: &mut WbCtx,
        folio: &LockedFolio<'_>,
        pos: u64,
        len: u64,
    ) {
        file::writeback_undo(mount_of(inode), inode.data(), folio, pos, len);
    }

    fn writeback_discard(inode: &Inode, folio: &LockedFolio<'_>, pos: u64) {
        file::writeback_discard(mount_of(inode), inode.data(), folio, pos);
    }

    fn writeback_submit(inode: &Inode, ctx: &mut WbCtx) {
        file::writeback_submit(mount_of(inode), inode.data(), ctx);
    }

    fn needs_ioend(inode: &Inode, unwritten: bool, end: u64) -> bool {
        file::ioend_needs_completion(inode.data(), unwritten, end)
    }

    fn ioend(inode: &Inode, pos: u64, size: u64, error: Option<Error>) -> Result {
        let error = error.map(|e| Errno::from_raw(e.to_errno().wrapping_neg()));
        file::ioend_complete(mount_of(inode), inode.data(), pos, size, error).at(inode)
    }
}
