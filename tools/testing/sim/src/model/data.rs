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

/// An operation on the content.
#[derive(Clone, Debug)]
struct Step {
    op: OpId,
    invoked: u64,
    returned: u64,
    size: u64,
    /// It cut the file off at its size (and, for one that grows the file, zeroed from there).
    truncated: bool,
}

/// The history of a file's content.
#[derive(Clone)]
pub struct Data {
    steps: Vec<Step>,
    sectors: Vec<Vec<(usize, Content)>>,
    now: Vec<u8>,
}

/// The part of the history that a crash state may show.
#[derive(Clone, Debug)]
pub struct Window {
    /// The first step whose content may be there.
    first: usize,
    /// The last one.
    last: usize,
    /// Ends of the file that were cut off in what was recovered: step and size.
    cuts: Vec<(usize, u64)>,
    /// Bytes that may be zeros: behind a cut that was not recovered, in its block; and behind an
    /// earlier end of the file, in its last block, where data and size go different ways.
    zeroed: Vec<(u64, u64)>,
    /// Smallest and largest size.
    pub sizes: (u64, u64),
}

impl Data {
    /// An empty file, made by `op`.
    pub fn new(op: OpId) -> Self {
        let step = Step {
            op,
            invoked: 0,
            returned: 0,
            size: 0,
            truncated: false,
        };
        Self {
            steps: vec![step],
            sectors: Vec::new(),
            now: Vec::new(),
        }
    }

    /// The content as it should be read now.
    pub fn now(&self) -> &[u8] {
        &self.now
    }

    fn step(&mut self, op: OpId, times: (u64, u64), truncated: bool) {
        self.steps.push(Step {
            op,
            invoked: times.0,
            returned: times.1,
            size: self.now.len() as u64,
            truncated,
        });
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
    pub fn write(&mut self, op: OpId, times: (u64, u64), pos: usize, bytes: &[u8]) {
        let old = self.now.len();
        let end = pos + bytes.len();
        if end > old {
            self.now.resize(end, 0);
        }
        self.now[pos..end].copy_from_slice(bytes);
        self.step(op, times, false);
        self.remember(old.min(pos), end);
    }

    /// A truncation.
    pub fn truncate(&mut self, op: OpId, times: (u64, u64), size: usize) {
        let old = self.now.len();
        self.now.resize(size, 0);
        self.step(op, times, true);
        self.remember(old.min(size), old.max(size));
    }

    /// Until when content is promised by these syncs (begin and end): one that meets a truncation
    /// promises nothing about the content. What was dirty may be gone from the page cache already
    /// while the file on the disk is still long.
    pub fn promised(&self, syncs: impl Iterator<Item = (u64, u64)>) -> u64 {
        self.undisturbed(syncs, |s| s.truncated)
    }

    /// The same for the size, by syncs of everything: they do not ask a file for its size, and a
    /// write into a hole meanwhile can hold it back until it is written.
    pub fn promised_size(&self, syncs: impl Iterator<Item = (u64, u64)>) -> u64 {
        self.undisturbed(syncs, |_| true)
    }

    fn undisturbed(
        &self,
        syncs: impl Iterator<Item = (u64, u64)>,
        disturbs: impl Fn(&Step) -> bool,
    ) -> u64 {
        let meets = |begin: u64, end: u64| {
            let mut steps = self.steps.iter().filter(|s| disturbs(s));
            steps.any(|s| s.invoked < end && s.returned > begin)
        };
        syncs
            .filter(|(begin, end)| !meets(*begin, *end))
            .map(|(begin, _)| begin)
            .max()
            .unwrap_or(0)
    }

    /// What may be there after a crash at `tick`, if the last operation on the inode that was
    /// recovered is `recovered`, and everything that had returned by `promised` must be there.
    pub fn window(&self, tick: u64, promised: u64, promised_size: u64, recovered: OpId) -> Window {
        let newest = |tick: u64| {
            let done = self.steps.iter().rposition(|s| s.returned <= tick);
            done.unwrap_or(0)
        };
        let first = newest(promised);
        let last = self
            .steps
            .iter()
            .rposition(|s| s.invoked < tick)
            .unwrap_or(0);
        let there = |s: &Step| s.truncated && s.op <= recovered;
        let cuts: Vec<(usize, u64)> = self
            .steps
            .iter()
            .enumerate()
            .filter(|(_, s)| there(s))
            .map(|(n, s)| (n, s.size))
            .collect();

        // A size that was logged after a truncation has that truncation with it.
        let missing = self
            .steps
            .iter()
            .position(|s| s.truncated && s.op > recovered);
        let last_size = missing.map_or(last, |n| last.min(n - 1));
        let cut = cuts.last().map_or(0, |(n, _)| *n);
        let first_size = newest(promised_size).max(cut).min(last_size);
        let sizes = self.steps[first_size..=last_size].iter().map(|s| s.size);
        let zeroed = self.steps[..=last]
            .iter()
            .enumerate()
            .filter(|(n, s)| *n >= first || (s.truncated && s.op > recovered))
            .map(|(_, s)| (s.size, s.size.next_multiple_of(BLOCK as u64)))
            .filter(|(from, to)| from < to)
            .collect();
        Window {
            first,
            last,
            cuts,
            zeroed,
            sizes: (sizes.clone().min().unwrap_or(0), sizes.max().unwrap_or(0)),
        }
    }

    /// Whether everything up to now is promised: nothing newer than `promised`.
    fn settled(&self, sector: usize, window: &Window) -> bool {
        let newest = self.sectors.get(sector).and_then(|s| s.last());
        newest.is_none_or(|(step, _)| *step <= window.first)
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
        let first_of = |at: u64| {
            let cut = window.cuts.iter().filter(|(_, size)| *size <= at);
            cut.map(|(n, _)| *n).max().unwrap_or(0).max(window.first)
        };
        let end = start + bytes.len() as u64;
        let zeroed = |from: u64, to: u64| window.zeroed.iter().any(|(a, b)| *a < to && from < *b);
        let whole = first_of(start);
        if whole == first_of(end - 1) && !zeros && !zeroed(start, end) {
            return possible(history, whole, window.last)
                .any(|content| content[..bytes.len()] == *bytes);
        }
        // The file was cut off inside of this sector: what is in front of the cut may be older, and
        // what is behind a cut that was not recovered may be zeroed. Or data was lost, and new data
        // came to where it had been.
        bytes.iter().enumerate().all(|(n, byte)| {
            let at = start + n as u64;
            // A write that failed leaves what was there, zeros or what had been cut off.
            let first = if zeros { 0 } else { first_of(at) };
            (*byte == 0 && (zeros || zeroed(at, at + 1)))
                || possible(history, first, window.last).any(|content| content[n] == *byte)
        })
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
