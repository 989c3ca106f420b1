// SPDX-License-Identifier: GPL-2.0

//! The check as a whole: its state and the order of its passes.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use latchfs_engine::{
    engine::recovery::Recovered,
    format::{
        header::reseal, verify_block, Block, BlockHeader, BlockKind, BlockRange, Context, Defect,
        DiskBlock, Extent, Lsn, Owner, Superblock,
    },
};
use latchfs_host::{Device, Errno};
use latchfs_tool::Overlay;

use crate::claims::Claims;
use crate::path;
use crate::problem::{FileId, Problem};
use crate::progress::Progress;
use crate::replay;
use crate::superblock::{self, Fatal};
use crate::table::Table;

/// How to check.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Give up after this many problems: what follows would be noise.
    pub limit: usize,
    /// Show progress on stderr.
    pub progress: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limit: 10_000,
            progress: false,
        }
    }
}

/// What was found, for the last line of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Inodes in use.
    pub inodes: u64,
    /// Directories among them.
    pub directories: u64,
    /// Orphans among them; normal after a crash.
    pub orphans: u64,
    /// Blocks in use, static metadata excluded.
    pub used_blocks: u64,
    /// Blocks of the file system, static metadata excluded.
    pub blocks: u64,
}

/// The result of a check.
#[derive(Debug)]
pub struct Report {
    /// What is wrong, in the order it was found.
    pub problems: Vec<Problem>,
    /// The same for people, with paths.
    pub messages: Vec<String>,
    /// Whether the check gave up because there were too many problems.
    pub gave_up: bool,
    /// The superblock that was used, after replay.
    pub superblock: Superblock,
    /// What was replayed before the check, if anything was.
    pub recovered: Option<Recovered>,
    /// Totals.
    pub stats: Stats,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Too many problems.
pub(crate) struct GaveUp;

/// Result of a pass.
pub(crate) type Pass<T = ()> = Result<T, GaveUp>;

/// A block in memory.
pub(crate) type Buf = latchfs_host::Block;

/// A block that was read.
pub(crate) enum Read {
    /// It passed its verifier.
    Good(Buf),
    /// Only its checksum is wrong; the content passes.
    Sound(Buf, Defect),
    /// It did not pass.
    Bad(Defect),
    /// It could not be read.
    Unreadable(Errno),
}

/// State of a check.
pub(crate) struct Checker<'a> {
    pub dev: &'a Device,
    pub context: Context,
    pub sb: Superblock,
    /// Whether the counts of the superblock are meant to be exact.
    pub counted: bool,
    pub claims: Claims,
    /// Blocks that were claimed more than once.
    pub shared: Vec<BlockRange>,
    /// Who claimed them when somebody else already had.
    pub late: Vec<(FileId, BlockRange)>,
    /// In the second walk: only report who else claims `shared`.
    pub observing: bool,
    pub table: Table,
    pub groups: Vec<Group>,
    /// Whether a directory could not be read whole: entries may be missing from the counts.
    pub torn_dirs: bool,
    pub progress: Progress,
    pub recovered: Option<Recovered>,
    /// Highest log position in any block that was used.
    pub newest: Cell<Lsn>,
    problems: Vec<Problem>,
    limit: usize,
    gave_up: bool,
}

/// What is known of an allocation group.
#[derive(Default)]
pub(crate) struct Group {
    /// Header, if it could be used.
    pub header: Option<Buf>,
    /// Blocks of the inode map, by index.
    pub map_blocks: BTreeMap<u32, DiskBlock>,
    /// Extents of the inode file, sorted.
    pub inode_file: Vec<Extent>,
    /// Whether all of inode file and inode map could be read: counts mean something.
    pub whole: bool,
    /// Counts from the map: slots, free slots, orphans.
    pub inodes: (u32, u32, u32),
    /// Map blocks that could not be used, by index.
    pub lost_maps: BTreeSet<u32>,
}

/// Checks the file system on `dev` as it is after its log has been replayed, which is done in
/// memory. `Err` means that there is no file system that could be checked. Reads only.
pub fn check(dev: &Device, options: &Options) -> Result<Report, Fatal> {
    let overlay = Overlay::device(dev);
    let replay = replay::replay(&overlay)?;
    let mut checker = examine(&overlay, options, replay.problems)?;
    checker.recovered = replay.recovered;
    Ok(checker.into_report())
}

/// [`check`] with the default options: for simulators and tests.
pub fn check_device(dev: &Device) -> Result<Report, Fatal> {
    check(dev, &Options::default())
}

/// Checks what is on the device, replayed or not, and keeps what was learned. `known` is what is
/// known to be wrong.
pub(crate) fn examine<'a>(
    dev: &'a Device,
    options: &Options,
    known: Vec<Problem>,
) -> Result<Checker<'a>, Fatal> {
    let opened = superblock::open(dev)?;
    let geometry = opened.context.geometry;
    let mut checker = Checker {
        dev,
        context: opened.context,
        sb: opened.superblock,
        counted: opened.problem.is_none() && opened.superblock.is_clean(),
        claims: Claims::new(geometry),
        shared: Vec::new(),
        late: Vec::new(),
        observing: false,
        table: Table::default(),
        groups: Vec::new(),
        torn_dirs: false,
        progress: Progress::new(options.progress),
        problems: opened.problem.into_iter().chain(known).collect(),
        recovered: None,
        newest: Cell::new(Lsn(0)),
        limit: options.limit.max(1),
        gave_up: false,
    };
    checker.gave_up = checker.run().is_err();
    checker.progress.clear();
    Ok(checker)
}

impl Checker<'_> {
    fn run(&mut self) -> Pass {
        self.check_copies()?;
        self.check_log()?;
        self.check_groups()?;
        self.check_maps()?;
        self.check_inodes()?;
        self.find_sharers()?;
        self.check_dirs()?;
        self.check_links()?;
        self.check_space()
    }

    /// Ends the check.
    pub fn into_report(mut self) -> Report {
        let messages = path::messages(&mut self);
        let stats = self.stats();
        Report {
            problems: self.problems,
            messages,
            gave_up: self.gave_up,
            superblock: self.sb,
            recovered: self.recovered,
            stats,
        }
    }

    /// Whether the check ended before its end.
    pub fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// Notes a problem.
    pub fn report(&mut self, problem: Problem) -> Pass {
        if self.problems.len() >= self.limit {
            return Err(GaveUp);
        }
        self.problems.push(problem);
        Ok(())
    }

    /// What was found so far.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Reads a block as it is.
    pub fn raw(&self, at: DiskBlock) -> Result<Buf, Errno> {
        let mut block = Buf::must_zeroed();
        self.dev.read_block(at.0, &mut block)?;
        Ok(block)
    }

    /// Reads a block and verifies it. One whose only fault is its checksum is used, too: a bad
    /// checksum over sound content is a smaller evil than a lost directory.
    pub fn read(&self, at: DiskBlock, kind: BlockKind, owner: Owner) -> Read {
        let mut block = match self.raw(at) {
            Ok(block) => block,
            Err(error) => return Read::Unreadable(error),
        };
        let verify = |block: &Block| verify_block(block, kind, &self.context, at, Some(owner));
        let Err(defect) = verify(&block) else {
            self.saw(BlockHeader::of(&block).lsn());
            return Read::Good(block);
        };
        if defect.is_checksum() {
            reseal(&mut block, &self.context);
            if verify(&block).is_ok() {
                return Read::Sound(block, defect);
            }
        }
        Read::Bad(defect)
    }

    /// Notes a log position that a block or slot has.
    pub fn saw(&self, lsn: Lsn) {
        self.newest.set(self.newest.get().max(lsn));
    }

    fn stats(&self) -> Stats {
        use crate::table::{ALLOCATED, ORPHAN, USABLE};

        let count = |flags| self.table.iter().filter(|(_, i)| i.is(flags)).count() as u64;
        Stats {
            inodes: count(ALLOCATED | USABLE),
            directories: self.table.dirs.len() as u64,
            orphans: count(ALLOCATED | ORPHAN),
            used_blocks: self.claims.count(),
            blocks: self.context.geometry.total_dynamic_blocks(),
        }
    }
}
