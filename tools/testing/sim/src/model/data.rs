// SPDX-License-Identifier: GPL-2.0

//! The content of a file through its history, sector by sector.
//!
//! Data is not logged. What is on the disk of a sector is what it was in the page cache at the moment
//! of some writeback: the content after one of the operations on it. After an fsync it is that of the
//! last operation before it, or of a later one.

use super::{OpId, NEVER};
use crate::image::{BLOCK, SECTOR};
use std::sync::Arc;

/// A sector after an operation. [`None`]: behind the end of the file.
type Content = Option<Arc<[u8; SECTOR]>>;

/// Begin and end of a sync.
type Times = (u64, u64);

/// Bytes from .. to.
type Bytes = (u64, u64);

/// An operation on the content.
#[derive(Clone, Debug)]
struct Step {
    op: OpId,
    invoked: u64,
    returned: u64,
    size: u64,
    /// It is in the log with the inode, and with it what was in these bytes before is gone: a
    /// truncation (from its size on), a hole.
    cut: Option<Bytes>,
    /// It set the size, rather than that data came to be behind it.
    resized: bool,
    /// It has several transactions with this time: a crash in between shows a part of it.
    parts: bool,
    /// From this byte on content came from other places of the file.
    moved: Option<u64>,
}

impl Step {
    /// Whether all of it is there, if `recovered` is the last operation that is.
    fn is_there(&self, recovered: OpId) -> bool {
        self.op < recovered || (self.op == recovered && !self.parts)
    }
}

/// The history of a file's content.
#[derive(Clone)]
pub struct Data {
    steps: Vec<Step>,
    sectors: Vec<Vec<(usize, Content)>>,
    now: Vec<u8>,
    /// Blocks that were allocated without data: there the size does not wait for data, and what was
    /// not written is zeros.
    allocated: Vec<Bytes>,
}

/// A sync of some bytes of a file: fdatasync, fsync of a range, what O_DSYNC does.
#[derive(Clone, Copy, Debug)]
pub struct Ranged {
    /// Begin and end.
    pub times: Times,
    /// The bytes.
    pub bytes: Bytes,
    /// So long the file is at least: to the end of what had been written there. What is a hole has
    /// nothing that a size could lead to.
    pub size: u64,
}

/// What must be there: of what had returned by these ticks.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    /// All content.
    pub content: u64,
    /// The size.
    pub size: u64,
    /// Content and size of parts.
    pub ranges: Vec<Ranged>,
}

impl Promise {
    /// Content and size as of `tick`.
    pub fn of(tick: u64) -> Self {
        Self {
            content: tick,
            size: tick,
            ranges: Vec::new(),
        }
    }
}

/// The part of the history that a crash state may show.
#[derive(Clone, Debug)]
pub struct Window {
    /// The first step whose content may be there.
    first: usize,
    /// The last one.
    last: usize,
    /// Of these bytes no content is there that is older than this step: what was in them before was
    /// cut off, in what was recovered; or they were promised.
    newer: Vec<(usize, Bytes)>,
    /// Bytes that may be zeros: behind a cut that was not recovered, in its block; and behind an
    /// earlier end of the file, in its last block, where data and size go different ways.
    zeroed: Vec<Bytes>,
    /// Smallest and largest size.
    pub sizes: (u64, u64),
}

impl Window {
    /// The first step whose content may be at byte `at`.
    fn first_of(&self, at: u64) -> usize {
        let there = self.newer.iter().filter(|(_, (a, b))| *a <= at && at < *b);
        there.map(|(n, _)| *n).max().unwrap_or(0).max(self.first)
    }

    /// The same, if it is one for all bytes from .. to.
    fn first_of_all(&self, from: u64, to: u64) -> Option<usize> {
        let first = self.first_of(from);
        let ends = self.newer.iter().flat_map(|(_, (a, b))| [*a, *b]);
        let mut inside = ends.filter(|at| from < *at && *at < to);
        inside.all(|at| self.first_of(at) == first).then_some(first)
    }

    fn zeroed(&self, from: u64, to: u64) -> bool {
        self.zeroed.iter().any(|(a, b)| *a < to && from < *b)
    }
}

impl Data {
    /// An empty file, made by `op`.
    pub fn new(op: OpId) -> Self {
        let step = Step {
            op,
            invoked: 0,
            returned: 0,
            size: 0,
            cut: None,
            resized: false,
            parts: false,
            moved: None,
        };
        Self {
            steps: vec![step],
            sectors: Vec::new(),
            now: Vec::new(),
            allocated: Vec::new(),
        }
    }

    /// The content as it should be read now.
    pub fn now(&self) -> &[u8] {
        &self.now
    }

    fn step(&mut self, op: OpId, times: Times) -> &mut Step {
        self.steps.push(Step {
            op,
            invoked: times.0,
            returned: times.1,
            size: self.now.len() as u64,
            cut: None,
            resized: false,
            parts: false,
            moved: None,
        });
        let last = self.steps.len() - 1;
        &mut self.steps[last]
    }

    /// Remembers what sectors `from ..= to` have become.
    fn remember(&mut self, from: usize, to: usize) {
        let step = self.steps.len() - 1;
        let count = to.div_ceil(SECTOR).max(self.sectors.len());
        self.sectors.resize(count, Vec::new());
        for n in from / SECTOR..to.div_ceil(SECTOR) {
            let start = n * SECTOR;
            let content = (start < self.now.len()).then(|| {
                let mut sector = [0; SECTOR];
                let end = self.now.len().min(start + SECTOR);
                sector[..end - start].copy_from_slice(&self.now[start..end]);
                Arc::new(sector)
            });
            self.sectors[n].push((step, content));
        }
    }

    /// A write, invoked and returned at `times`.
    pub fn write(&mut self, op: OpId, times: Times, pos: usize, bytes: &[u8]) {
        let old = self.now.len();
        let end = pos + bytes.len();
        if end > old {
            self.now.resize(end, 0);
        }
        self.now[pos..end].copy_from_slice(bytes);
        self.step(op, times);
        self.remember(old.min(pos), end);
    }

    /// A truncation.
    pub fn truncate(&mut self, op: OpId, times: Times, size: usize) {
        let old = self.now.len();
        self.now.resize(size, 0);
        let step = self.step(op, times);
        step.cut = Some((size as u64, NEVER));
        step.resized = true;
        self.remember(old.min(size), old.max(size));
        if size < old {
            let end = size.next_multiple_of(BLOCK) as u64;
            for (_, to) in &mut self.allocated {
                *to = end.min(*to);
            }
        }
    }

    /// fallocate(2): bytes `from .. to` become zeros, or are allocated, or both. The file grows if
    /// `size` is more.
    pub fn fallocate(
        &mut self,
        op: OpId,
        times: Times,
        (from, to): (usize, usize),
        zero: bool,
        allocates: bool,
        size: usize,
    ) {
        let old = self.now.len();
        if allocates {
            let (start, end) = (from / BLOCK * BLOCK, to.next_multiple_of(BLOCK));
            self.allocated.push((start as u64, end as u64));
        }
        self.now.resize(size.max(old), 0);
        let to = to.min(self.now.len());
        if zero && from < to {
            self.now[from..to].fill(0);
        }
        // Parts of blocks are zeroed as a write does it.
        let inside = (from.next_multiple_of(BLOCK), to / BLOCK * BLOCK);
        let cut = zero && inside.0 < inside.1;
        let step = self.step(op, times);
        step.cut = cut.then_some((inside.0 as u64, inside.1 as u64));
        step.resized = size > old;
        step.parts = true;
        self.remember(old.min(from), to.max(size));
    }

    /// The content becomes this from byte `from` on: blocks were taken out or put in.
    pub fn shift(&mut self, op: OpId, times: Times, from: usize, content: Vec<u8>) {
        let old = self.now.len();
        self.now = content;
        let step = self.step(op, times);
        step.cut = Some((from as u64, NEVER));
        step.resized = true;
        step.parts = true;
        step.moved = Some(from as u64);
        self.remember(from, old.max(self.now.len()));
    }

    /// Until when content is promised by these syncs: one that meets a truncation promises nothing
    /// about the content. What was dirty may be gone from the page cache already while the file on
    /// the disk is still long.
    pub fn promised(&self, syncs: impl Iterator<Item = Times>) -> u64 {
        let quiet = syncs.filter(|times| self.is_quiet(*times, |s| s.cut.is_some()));
        quiet.map(|(begin, _)| begin).max().unwrap_or(0)
    }

    /// The same for syncs of parts.
    pub fn promised_ranges(&self, syncs: impl Iterator<Item = Ranged>) -> Vec<Ranged> {
        let quiet = |sync: &Ranged| self.is_quiet(sync.times, |s| s.cut.is_some() || s.resized);
        syncs.filter(quiet).collect()
    }

    /// The end of what has been written in bytes from .. to: 0 if that is nothing.
    pub fn end_of_data(&self, (from, to): Bytes) -> u64 {
        let end = to.min(self.now.len() as u64) as usize;
        let part = self.now.get(from as usize..end).unwrap_or_default();
        let last = part.iter().rposition(|b| *b != 0);
        last.map_or(0, |n| from + n as u64 + 1)
    }

    /// The same for the size, by syncs of everything: they do not ask a file for its size, and a
    /// write into a hole meanwhile can hold it back until it is written.
    pub fn promised_size(&self, syncs: impl Iterator<Item = Times>) -> u64 {
        let quiet = syncs.filter(|times| self.is_quiet(*times, |_| true));
        quiet.map(|(begin, _)| begin).max().unwrap_or(0)
    }

    fn is_quiet(&self, (begin, end): Times, disturbs: impl Fn(&Step) -> bool) -> bool {
        let mut steps = self.steps.iter().filter(|s| disturbs(s));
        !steps.any(|s| s.invoked < end && s.returned > begin)
    }

    /// The newest step that had returned at `tick`.
    fn newest(&self, tick: u64) -> usize {
        let done = self.steps.iter().rposition(|s| s.returned <= tick);
        done.unwrap_or(0)
    }

    /// What may be there after a crash at `tick`, if the last operation on the inode that was
    /// recovered is `recovered`, and what is promised must be there.
    pub fn window(&self, tick: u64, promise: &Promise, recovered: OpId) -> Window {
        let first = self.newest(promise.content);
        let last = self
            .steps
            .iter()
            .rposition(|s| s.invoked < tick)
            .unwrap_or(0);
        let cuts = self.steps.iter().enumerate().filter_map(|(n, s)| {
            let cut = s.cut.filter(|_| s.is_there(recovered))?;
            Some((n, cut))
        });
        let promised = promise.ranges.iter();
        let promised = promised.map(|r| (self.newest(r.times.0), r.bytes));
        // Of what was moved later, it is not known where it is now.
        let stays = |n: usize| {
            let later = self.steps.iter().enumerate().skip(n + 1);
            let moved = later.filter(|(_, s)| s.op <= recovered);
            moved.filter_map(|(_, s)| s.moved).min().unwrap_or(NEVER)
        };
        let clip = |(n, (from, to)): (usize, Bytes)| (n, (from, to.min(stays(n))));
        let newer = cuts.chain(promised).map(clip).collect();

        let missing = |s: &Step| {
            let (from, to) = s.cut.filter(|_| !s.is_there(recovered))?;
            let end = s.size.next_multiple_of(BLOCK as u64);
            match (s.parts, s.resized) {
                (false, _) => Some((s.size, end)),
                // Blocks are on their way from one place to another.
                (true, true) => Some((from, to)),
                (true, false) => None,
            }
        };
        let zeroed = self.steps[..=last].iter().filter_map(missing).collect();
        Window {
            first,
            last,
            newer,
            zeroed,
            sizes: self.sizes(last, promise, recovered),
        }
    }

    /// The smallest and the largest size that may be there, if step `last` is the last that may be.
    fn sizes(&self, last: usize, promise: &Promise, recovered: OpId) -> (u64, u64) {
        // A size that was logged after a truncation has that truncation with it.
        let missing = self
            .steps
            .iter()
            .position(|s| s.resized && s.op > recovered);
        let last = missing.map_or(last, |n| last.min(n - 1));
        let set = |s: &Step| s.resized && s.is_there(recovered);
        let set = self.steps.iter().rposition(set).unwrap_or(0);
        let from = |tick: u64| self.newest(tick).max(set).min(last);
        let sizes = |first: usize| self.steps[first..=last].iter().map(|s| s.size);
        let first = from(promise.size);
        let mut least = sizes(first).min().unwrap_or(0);
        for range in &promise.ranges {
            let reached = sizes(from(range.times.0)).map(|size| size.min(range.size));
            let reached = reached.min();
            least = least.max(reached.unwrap_or(0));
        }
        (least, sizes(first).max().unwrap_or(0))
    }

    /// Whether everything up to now is promised: nothing newer than that.
    fn settled(&self, sector: usize, window: &Window) -> bool {
        let newest = self.sectors.get(sector).and_then(|s| s.last());
        let first = window.first_of((sector * SECTOR) as u64);
        newest.is_none_or(|(step, _)| *step <= first)
    }

    /// Checks `bytes`, which were read at the beginning of `sector`. `zeros`: data may have been
    /// lost, with an error, and then reads as zeros.
    pub fn allows(&self, sector: usize, bytes: &[u8], window: &Window, zeros: bool) -> bool {
        let zeros = zeros && !self.settled(sector, window);
        if zeros && bytes.iter().all(|b| *b == 0) {
            return true;
        }
        let Some(history) = self.sectors.get(sector) else {
            return false;
        };
        let start = (sector * SECTOR) as u64;
        let end = start + bytes.len() as u64;
        if let Some(first) = window.first_of_all(start, end) {
            if !zeros && !window.zeroed(start, end) {
                return possible(history, first, window.last)
                    .any(|content| content[..bytes.len()] == *bytes)
                    || (bytes.iter().all(|b| *b == 0) && self.unwritten(sector, first));
            }
        }
        // The file was cut off inside of this sector: what is in front of the cut may be older, and
        // what is behind a cut that was not recovered may be zeroed. Or data was lost, and new data
        // came to where it had been.
        bytes.iter().enumerate().all(|(n, byte)| {
            let at = start + n as u64;
            // A write that failed leaves what was there, zeros or what had been cut off.
            let first = if zeros { 0 } else { window.first_of(at) };
            (*byte == 0 && (zeros || window.zeroed(at, at + 1) || self.unwritten(sector, first)))
                || possible(history, first, window.last).any(|content| content[n] == *byte)
        })
    }

    /// Whether a sector was allocated and behind the end of the file at step `first`.
    fn unwritten(&self, sector: usize, first: usize) -> bool {
        let at = (sector * SECTOR) as u64;
        let allocated = self.allocated.iter().any(|(a, b)| *a <= at && at < *b);
        allocated && self.steps[first].size <= at
    }

    /// For people: which operations can have written what is in a sector.
    pub fn explain(&self, sector: usize) -> String {
        let Some(history) = self.sectors.get(sector) else {
            return "never written".to_string();
        };
        let of = |(step, content): &(usize, Content)| {
            let s = &self.steps[*step];
            let what = match content {
                None => "nothing".to_string(),
                Some(c) => format!("{:02x?}", &c[..4]),
            };
            let open = if s.returned == NEVER { " (open)" } else { "" };
            format!("op {}{open}: {what}", s.op)
        };
        history.iter().map(of).collect::<Vec<_>>().join(", ")
    }
}

/// Contents of a sector from the one that step `first` found on.
fn possible(
    history: &[(usize, Content)],
    first: usize,
    last: usize,
) -> impl Iterator<Item = &[u8; SECTOR]> {
    let from = history
        .iter()
        .rposition(|(step, _)| *step <= first)
        .unwrap_or(0);
    history[from..]
        .iter()
        .take_while(move |(step, _)| *step <= last)
        .filter_map(|(_, content)| content.as_deref())
}
