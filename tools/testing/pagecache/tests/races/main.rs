// SPDX-License-Identifier: GPL-2.0

//! The races of the data path, seeds 001, 003 and 004: each interleaving forced by sync points, on
//! the real build and on its mutant (`Documentation/races.rst`). Threads of the machine over the
//! model of the page cache.
//!
//! Every reproducer ends, on the real build, with the observables: nothing delayed that is not dirty
//! (O4), nothing in flight (O5), all space back (O3), an image that fsck finds nothing in.

#[path = "../common/mod.rs"]
mod common;
mod cut;
#[allow(dead_code, reason = "shared with the engine, which uses more of it")]
#[path = "../../../../../rust/engine/testing/race_table.rs"]
mod race_table;
#[allow(dead_code, reason = "as above")]
#[path = "../../../../../rust/engine/testing/races.rs"]
mod races;
mod seed001;
mod seed003;
mod seed004;

/// What the sources that are shared with the engine know the facade by.
mod sys {
    pub(crate) use latchfs_host::*;
}

use common::{after_a_cut, fsck, POISON};
use latchfs_engine::{engine::extents::View, format::FileBlock};
use latchfs_pagecache::{File, Fs};
use races::Seen;
use std::panic::{catch_unwind, AssertUnwindSafe};

const PAGE: u64 = latchfs_pagecache::PAGE;
const KB: u64 = 1024;

/// A file system, and a file in it that is one hole of 64 KiB, with folios of one page.
struct Bench {
    fs: Fs,
    file: File,
    free: u64,
}

impl Bench {
    fn new() -> Self {
        let fs = Fs::new(8192, Some(POISON));
        let free = fs.available();
        let mut file = fs.create(b"file");
        file.folio_pages = 1;
        file.truncate(64 * KB).expect("truncate");
        Self { fs, file, free }
    }

    fn ino(&self) -> u64 {
        self.file.inode.ino.0
    }

    /// What the extent index knows of a block.
    fn view(&self, block: u64) -> Option<View> {
        let inner = self.file.inode.ilock.read();
        inner.index.lookup(FileBlock(block)).map(|p| p.view)
    }

    /// Blocks that are delayed, and in flight.
    fn counts(&self) -> (u64, u64) {
        let counts = self.file.inode.ilock.read().index.counts();
        (counts.delayed, counts.in_flight + counts.converting)
    }

    /// Free space, as the counter has it.
    fn available(&self) -> u64 {
        self.fs.m.alloc().available()
    }

    /// What is in the file when nothing of it is in memory.
    fn reread(&self, pos: u64, len: u64) -> Vec<u8> {
        self.file.write_and_wait(0, u64::MAX);
        self.file.reclaim(1);
        self.file.read(pos, len).unwrap_or_default()
    }

    /// The observables. What a mutant has done may make any of this fail, and that is damage.
    fn end(self, seen: &mut Seen) {
        let verdict = catch_unwind(AssertUnwindSafe(move || {
            self.file.write_and_wait(0, u64::MAX);
            let error = self.file.take_error();
            assert_eq!(error, Ok(()), "data could not be written");
            self.file.check();
            assert_eq!(
                self.counts(),
                (0, 0),
                "delayed or in flight when all is written"
            );
            let Bench { fs, file, free } = self;
            file.close();
            fs.unlink(b"file");
            assert_eq!(fs.available(), free, "space leaked");
            fsck(&fs);
        }));
        if let Err(e) = verdict {
            seen.must(false, &race_table::panic_text(&*e));
        }
    }
}
