// SPDX-License-Identifier: GPL-2.0

//! Allocation groups as the rest of the engine sees them.

use crate::engine::{
    buf::BufRef,
    mount::Mount,
    Error,
    Result, //
};
use crate::format::{AgNumber, BlockKind, BlockRange, DiskBlock, Owner};
use crate::sys::Errno;

/// A group that exists. A number that was checked; costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ag {
    number: AgNumber,
    start: DiskBlock,
    header: DiskBlock,
    len: u32,
}

impl Ag {
    pub(super) fn new(m: &Mount, number: AgNumber) -> Result<Self> {
        let geometry = m.geo();
        let (Some(start), Some(header)) =
            (geometry.ag_start(number), geometry.header_block(number))
        else {
            return Err(Error::new(Errno::UCLEAN));
        };
        Ok(Self {
            number,
            start,
            header,
            len: geometry.ag_len(number),
        })
    }

    /// Its number.
    pub fn number(&self) -> AgNumber {
        self.number
    }

    /// Its blocks.
    pub fn range(&self) -> BlockRange {
        BlockRange::new(self.start, self.len)
    }

    /// A goal for things that belong to the group and to no place in it.
    pub fn goal(&self) -> DiskBlock {
        self.start
    }

    /// The buffer of its header. May sleep for I/O. Errors: as [`BufCache::read`].
    ///
    /// [`BufCache::read`]: crate::engine::buf::BufCache::read
    pub fn header(&self, m: &Mount) -> Result<BufRef> {
        m.buf()
            .read(self.header, BlockKind::AgHeader, Owner::ag(self.number))
    }
}
