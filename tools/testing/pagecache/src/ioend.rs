// SPDX-License-Identifier: GPL-2.0

//! ioends: bios of writeback, and what happens when they end.

use crate::{errno, folio::Folio, Errno, File, Result, PAGE};
use latchfs_engine::engine::file;
use latchfs_host::{mutant, sync_point, Block};
use std::sync::{atomic::Ordering, Arc};

/// `struct iomap_ioend`.
pub(crate) struct Ioend {
    /// `io_offset`
    pub(crate) pos: u64,
    /// `io_size`: cut at the end of the file.
    pub(crate) size: u64,
    /// Bytes of the bio.
    pub(crate) bytes: u64,
    /// Byte on the device.
    pub(crate) addr: u64,
    /// `IOMAP_IOEND_UNWRITTEN`
    pub(crate) unwritten: bool,
    /// The handler is the file system's; decided at submission.
    pub(crate) ours: bool,
    /// `bi_status` at submission.
    pub(crate) error: Option<Errno>,
    pub(crate) data: Vec<u8>,
    pub(crate) folios: Vec<(Arc<Folio>, u64)>,
}

/// When submitted ioends are carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ioends {
    /// At once.
    Now,
    /// When somebody waits for one of their folios, or asks ([`File::run_ioends`]), in an order
    /// that a seed decides.
    Later(u64),
}

impl File {
    /// Submits: from here on the device has it.
    pub(crate) fn submit(&self, mut ioend: Ioend, error: Option<Errno>) {
        let end = ioend.pos + ioend.size;
        ioend.ours = file::ioend_needs_completion(&self.inode, ioend.unwritten, end);
        ioend.error = error;
        match self.ioends {
            Ioends::Now => self.finish(ioend),
            Ioends::Later(_) => {
                self.queue.lock().push(ioend);
            }
        }
    }

    /// Carries out one queued ioend; `false` if there is none.
    pub(crate) fn run_one(&self) -> bool {
        let Some(ioend) = self.pick() else {
            return false;
        };
        self.finish(ioend);
        true
    }

    fn pick(&self) -> Option<Ioend> {
        let mut queue = self.queue.lock();
        if queue.is_empty() {
            return None;
        }
        let n = self.random() as usize % queue.len();
        Some(queue.remove(n))
    }

    /// Carries out all queued ioends, or only `most` of them.
    pub fn run_ioends(&self, most: usize) {
        for _ in 0..most {
            if !self.run_one() {
                break;
            }
        }
    }

    /// The bio: a copy of the data of the time of its submission goes to the device.
    fn write_device(&self, ioend: &Ioend) -> Result {
        if let Some(error) = ioend.error {
            return Err(error);
        }
        if self.fail.data_writes.load(Ordering::Relaxed) {
            return Err(Errno::IO);
        }
        let mut block = Block::try_zeroed()?;
        for (n, bytes) in ioend.data.chunks_exact(PAGE as usize).enumerate() {
            block.copy_from_slice(bytes);
            let at = ioend.addr / PAGE + n as u64;
            self.m.buf().device().write_block(at, &block)?;
        }
        Ok(())
    }

    /// `bi_end_io` and the worker behind it: completion first, then the end of folio writeback.
    fn finish(&self, ioend: Ioend) {
        assert_eq!(ioend.data.len() as u64, ioend.bytes);
        let mut error = self.write_device(&ioend).err();
        if ioend.ours {
            let done = file::ioend_complete(&self.m, &self.inode, ioend.pos, ioend.size, error);
            error = error.or(done.map_err(errno).err());
        }
        mutant!(Seed001Error => error = None);
        sync_point!("ordered.finished", self.ino());
        // mapping_set_error before writeback ends (M17).
        if let Some(error) = error {
            self.set_error(error);
        }
        for (folio, len) in ioend.folios {
            folio.finish_write(len);
        }
    }

    /// `folio_wait_writeback`: carries out what is queued, or waits for who does.
    pub(crate) fn wait_folio(&self, folio: &Folio) {
        while folio.is_writeback() {
            sync_point!("wb.waits", self.ino());
            if !self.run_one() {
                folio.wait_writeback();
            }
        }
    }
}
