// SPDX-License-Identifier: GPL-2.0

//! A disk that remembers what it was asked to do.

use crate::engine::testing::Fixture;
use crate::engine::{mount::MountOpts, Mount};
use crate::sys::{
    device::{Backend, MemDisk},
    Arc, Block, Device, SysResult, BLOCK_BYTES,
};
use std::sync::Mutex;
use std::vec::Vec;

/// One request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A block was written.
    Write(u64),
    /// The cache was flushed.
    Flush,
    /// Blocks of the log were written: first, number, PREFLUSH, FUA.
    Log(u64, usize, bool, bool),
    /// Blocks were discarded.
    Discard(u64, u64),
}

/// The disk.
pub(super) struct Tape {
    pub(super) disk: Arc<MemDisk>,
    events: Mutex<Vec<Event>>,
}

impl Tape {
    fn put(&self, event: Event) {
        self.events.lock().unwrap().push(event);
    }

    /// What was asked for since the last call.
    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap())
    }
}

impl Backend for Tape {
    fn blocks(&self) -> u64 {
        self.disk.blocks()
    }

    fn read(&self, block: u64, buf: &mut [u8; BLOCK_BYTES]) -> SysResult<()> {
        self.disk.read(block, buf)
    }

    fn write(&self, block: u64, buf: &[u8; BLOCK_BYTES]) -> SysResult<()> {
        self.put(Event::Write(block));
        self.disk.write(block, buf)
    }

    fn flush(&self) -> SysResult<()> {
        self.put(Event::Flush);
        self.disk.flush()
    }

    fn discard(&self, start: u64, len: u64) -> SysResult<()> {
        self.put(Event::Discard(start, len));
        self.disk.discard(start, len)
    }

    fn write_log(&self, start: u64, blocks: &[Block], pre: bool, fua: bool) -> SysResult<()> {
        self.put(Event::Log(start, blocks.len(), pre, fua));
        self.disk.write_log(start, blocks, pre, fua)
    }
}

/// A new file system on such a disk, mounted.
pub(super) fn taped(blocks: u64, opts: MountOpts) -> (Arc<Tape>, Arc<Mount>) {
    let disk = Fixture::disk(blocks, None);
    let tape = Arc::new(Tape {
        disk,
        events: Mutex::new(Vec::new()),
    });
    let m = Mount::open(Device::new(tape.clone(), false), opts).unwrap();
    tape.take();
    (tape, m)
}
