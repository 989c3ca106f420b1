// SPDX-License-Identifier: GPL-2.0

//! What happened at the disk, in order.
//!
//! The trace and the history of operations share one clock: each event and each begin and end of an
//! operation is a tick of its own. A crash "at tick t" is one right before the event of tick t, with
//! everything acknowledged that was acknowledged earlier.

use crate::image::Bytes;
use std::sync::Arc;

/// Number of a write in its trace.
pub type WriteId = usize;

/// One write request.
pub struct Write {
    /// First block.
    pub start: u64,
    /// The blocks.
    pub data: Vec<Arc<Bytes>>,
    /// What completed before its submission is flushed before it.
    pub preflush: bool,
    /// It is durable when it completes.
    pub fua: bool,
    /// For a write that failed: the sectors that got to the disk's cache all the same.
    pub failed: Option<Vec<u8>>,
}

impl Write {
    /// Whether it covers `block`.
    pub fn covers(&self, block: u64) -> bool {
        (self.start..self.start + self.data.len() as u64).contains(&block)
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A write was handed to the disk.
    Submit(WriteId),
    /// It ended; see [`Write::failed`].
    Complete(WriteId),
    /// A flush was handed to the disk.
    Flush(usize),
    /// It ended, well or not.
    Flushed(usize, bool),
}

/// Something that happened, and when.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    /// The tick.
    pub at: u64,
    /// What.
    pub kind: Kind,
}

/// All that happened.
#[derive(Default)]
pub struct Trace {
    /// In order.
    pub events: Vec<Event>,
    /// All writes.
    pub writes: Vec<Write>,
    flushes: usize,
    clock: u64,
}

impl Trace {
    /// Goes on after `tick`.
    pub fn start_clock(&mut self, tick: u64) {
        self.clock = tick;
    }

    /// The next tick.
    pub fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn event(&mut self, kind: Kind) {
        let at = self.tick();
        self.events.push(Event { at, kind });
    }

    /// A write is submitted.
    pub fn submit(&mut self, write: Write) -> WriteId {
        let id = self.writes.len();
        self.writes.push(write);
        self.event(Kind::Submit(id));
        id
    }

    /// It has ended; `failed` as in [`Write::failed`].
    pub fn complete(&mut self, id: WriteId, failed: Option<Vec<u8>>) {
        self.writes[id].failed = failed;
        self.event(Kind::Complete(id));
    }

    /// A flush is submitted.
    pub fn flush(&mut self) -> usize {
        let id = self.flushes;
        self.flushes += 1;
        self.event(Kind::Flush(id));
        id
    }

    /// It has ended.
    pub fn flushed(&mut self, id: usize, ok: bool) {
        self.event(Kind::Flushed(id, ok));
    }
}
