// SPDX-License-Identifier: GPL-2.0

//! The simulated disk: a volatile cache in front of a medium, requests that take their time, errors.
//!
//! Live, it is a disk that works (or fails as planned): reads see what was written. Everything that
//! was asked of it is in the [`Trace`]; what a power cut would have left is worked out from that
//! afterwards ([`crate::crash`]). In virtual threads requests take time: other threads run meanwhile,
//! and asynchronous ones end in an order of their own, in a thread of their own ([`SimDisk::serve`]).
//! For all others it is a disk that is done at once.

use crate::{
    image::{Bytes, Image, BLOCK, WHOLE},
    trace::{Trace, Write, WriteId},
};
use latchfs_host::{
    device::{Backend, Done, Queue},
    sim::{self, Rng},
    Block, Errno, SysResult,
};
use std::sync::{Arc, Mutex, MutexGuard};

/// Which requests fail. One in so many of each kind; 0: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Reads of any kind.
    pub reads: u64,
    /// Writes of metadata blocks in their places.
    pub metadata: u64,
    /// Writes of file data (and the superblock).
    pub data: u64,
    /// Writes of the log.
    pub log: u64,
    /// Flushes.
    pub flushes: u64,
    /// Writes fail with ENOSPC rather than EIO: a thin device without space.
    pub thin: bool,
    /// From this write on all fail; 0: never.
    pub dead_after: u64,
    /// What the tests of the simulator itself break.
    pub broken: Broken,
}

/// A disk that lies: the simulator has to notice what comes of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Broken {
    /// It does not.
    #[default]
    No,
    /// Forgets the flush before a write with PREFLUSH.
    NoPreflush,
    /// A write with FUA stays in the cache.
    NoFua,
    /// Flushes do nothing.
    NoFlush,
}

impl Faults {
    /// Whether any request can fail.
    pub fn any(&self) -> bool {
        self.reads + self.metadata + self.data + self.log + self.flushes + self.dead_after != 0
    }
}

enum Request {
    Read(u64, Done<Box<Bytes>>),
    Write(WriteId, Done<()>),
}

/// Which part of the engine a write is from: decides about faults.
#[derive(Clone, Copy)]
enum Class {
    Metadata,
    Data,
    Log,
}

struct State {
    image: Image,
    trace: Trace,
    rng: Rng,
    faults: Faults,
    /// Longest delay, in switches.
    slow: u64,
    queue: Vec<Request>,
    in_flight: Vec<WriteId>,
    classes: Vec<Class>,
    stop: bool,
    /// What no engine may do, and this one did.
    misuse: Option<String>,
}

/// The disk.
pub struct SimDisk {
    state: Mutex<State>,
    blocks: u64,
}

impl SimDisk {
    /// A disk with this content.
    pub fn new(image: Image, seed: u64, slow: u64) -> Self {
        let blocks = image.blocks();
        Self {
            state: Mutex::new(State {
                image,
                trace: Trace::default(),
                rng: Rng::new(seed),
                faults: Faults::default(),
                slow,
                queue: Vec::new(),
                in_flight: Vec::new(),
                classes: Vec::new(),
                stop: false,
                misuse: None,
            }),
            blocks,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The next tick of the clock that events and operations share.
    pub fn tick(&self) -> u64 {
        self.lock().trace.tick()
    }

    /// The clock goes on where another one stopped.
    pub fn start_clock(&self, tick: u64) {
        self.lock().trace.start_clock(tick);
    }

    /// From now on requests fail like this.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// The content, as reads see it.
    pub fn image(&self) -> Image {
        self.lock().image.clone()
    }

    /// Takes the trace away. The disk begins a new one.
    pub fn take_trace(&self) -> Trace {
        std::mem::take(&mut self.lock().trace)
    }

    /// What the engine did wrong towards the disk.
    pub fn misuse(&self) -> Option<String> {
        self.lock().misuse.clone()
    }

    /// The disk's own thread: ends asynchronous requests until [`Self::stop`].
    pub fn serve(&self) {
        loop {
            self.delay();
            let mut state = self.lock();
            if state.queue.is_empty() {
                if state.stop {
                    return;
                }
                drop(state);
                sim::block(self.key(), None);
                continue;
            }
            let n = state.queue.len() as u64;
            let at = state.rng.below(n) as usize;
            let request = state.queue.swap_remove(at);
            drop(state);
            self.carry_out(request);
        }
    }

    /// Lets [`Self::serve`] end when nothing is left to do.
    pub fn stop(&self) {
        self.lock().stop = true;
        sim::wake(self.key());
    }

    fn key(&self) -> usize {
        self as *const Self as usize
    }

    fn carry_out(&self, request: Request) {
        match request {
            Request::Read(block, done) => {
                let mut data = Box::new([0; BLOCK]);
                let r = self.read_now(block, &mut data);
                done(r.map(|()| data));
            }
            Request::Write(id, done) => {
                let r = self.lock().complete(id);
                done(r);
            }
        }
    }

    fn enqueue(&self, request: Request) {
        if sim::is_virtual() {
            self.lock().queue.push(request);
            sim::wake(self.key());
        } else {
            self.carry_out(request);
        }
    }

    /// Others run for a while.
    fn delay(&self) {
        if !sim::is_virtual() {
            return;
        }
        let turns = {
            let mut state = self.lock();
            let slow = state.slow + 1;
            state.rng.below(slow)
        };
        for _ in 0..turns {
            sim::yield_now();
        }
    }

    fn read_now(&self, block: u64, to: &mut Bytes) -> SysResult<()> {
        let mut state = self.lock();
        let one_in = state.faults.reads;
        if state.hits(one_in) {
            return Err(Errno::IO);
        }
        state.image.read(block, to);
        Ok(())
    }

    fn write_and_wait(&self, write: Write, class: Class) -> SysResult<()> {
        let id = self.lock().submit(write, class);
        self.delay();
        let mut state = self.lock();
        state.complete(id)
    }
}

impl State {
    fn hits(&mut self, one_in: u64) -> bool {
        one_in != 0 && self.rng.one_in(one_in)
    }

    fn submit(&mut self, mut write: Write, class: Class) -> WriteId {
        match self.faults.broken {
            Broken::No => {}
            Broken::NoPreflush => write.preflush = false,
            Broken::NoFua => write.fua = false,
            Broken::NoFlush => {
                write.preflush = false;
                write.fua = false;
            }
        }
        for id in &self.in_flight {
            let other = &self.trace.writes[*id];
            let end = other.start + other.data.len() as u64;
            if write.start < end && other.start < write.start + write.data.len() as u64 {
                self.misuse.get_or_insert(format!(
                    "block {} is written while a write of {} to {} is in flight",
                    write.start, other.start, end
                ));
            }
        }
        let id = self.trace.submit(write);
        self.in_flight.push(id);
        self.classes.resize(id + 1, class);
        id
    }

    fn complete(&mut self, id: WriteId) -> SysResult<()> {
        self.in_flight.retain(|w| *w != id);
        let class = self.classes[id];
        let one_in = match class {
            Class::Metadata => self.faults.metadata,
            Class::Data => self.faults.data,
            Class::Log => self.faults.log,
        };
        let dead = self.faults.dead_after != 0 && id as u64 >= self.faults.dead_after;
        let fails = dead || self.hits(one_in);
        let (start, data) = {
            let write = &self.trace.writes[id];
            (write.start, write.data.clone())
        };
        let masks: Vec<u8> = if fails {
            // A write that fails may have got anywhere.
            let all = self.rng.one_in(4);
            let none = self.rng.one_in(2);
            data.iter()
                .map(|_| match (all, none) {
                    (true, _) => WHOLE,
                    (_, true) => 0,
                    _ => self.rng.next() as u8,
                })
                .collect()
        } else {
            vec![WHOLE; data.len()]
        };
        for (n, block) in data.iter().enumerate() {
            if masks[n] != 0 {
                self.image.write(start + n as u64, block, masks[n]);
            }
        }
        self.trace.complete(id, fails.then_some(masks));
        match (fails, self.faults.thin) {
            (false, _) => Ok(()),
            (true, true) => Err(Errno::NOSPC),
            (true, false) => Err(Errno::IO),
        }
    }
}

fn plain(block: u64, buf: &Bytes) -> Write {
    Write {
        start: block,
        data: vec![Arc::new(*buf)],
        preflush: false,
        fua: false,
        failed: None,
    }
}

impl Backend for SimDisk {
    fn blocks(&self) -> u64 {
        self.blocks
    }

    fn read(&self, block: u64, buf: &mut Bytes) -> SysResult<()> {
        self.delay();
        self.read_now(block, buf)
    }

    fn write(&self, block: u64, buf: &Bytes) -> SysResult<()> {
        self.write_and_wait(plain(block, buf), Class::Data)
    }

    fn write_log(&self, start: u64, blocks: &[Block], preflush: bool, fua: bool) -> SysResult<()> {
        let write = Write {
            start,
            data: blocks.iter().map(|b| Arc::new(**b)).collect(),
            preflush,
            fua,
            failed: None,
        };
        self.write_and_wait(write, Class::Log)
    }

    fn flush(&self) -> SysResult<()> {
        let id = self.lock().trace.flush();
        self.delay();
        let mut state = self.lock();
        let dead = state.faults.dead_after != 0
            && state.trace.writes.len() as u64 > state.faults.dead_after;
        let one_in = state.faults.flushes;
        let fails = dead || state.hits(one_in);
        let lies = state.faults.broken == Broken::NoFlush;
        state.trace.flushed(id, !fails && !lies);
        if fails {
            return Err(Errno::IO);
        }
        Ok(())
    }

    fn discard(&self, start: u64, len: u64) -> SysResult<()> {
        // What a discarded block reads as is the device's choice, and nobody else's.
        let block = Arc::new([0xdc; BLOCK]);
        let write = Write {
            start,
            data: std::iter::repeat_n(block, len as usize).collect(),
            preflush: false,
            fua: false,
            failed: None,
        };
        self.write_and_wait(write, Class::Data)
    }

    fn queue(&self) -> Option<&dyn Queue> {
        Some(self)
    }
}

impl Queue for SimDisk {
    fn start_read(&self, block: u64, done: Done<Box<Bytes>>) {
        self.enqueue(Request::Read(block, done));
    }

    fn start_write(&self, block: u64, buf: &Bytes, done: Done<()>) {
        let id = self.lock().submit(plain(block, buf), Class::Metadata);
        self.enqueue(Request::Write(id, done));
    }
}
