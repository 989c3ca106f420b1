// SPDX-License-Identifier: GPL-2.0

//! Owned space: a promise of blocks, and concrete blocks.

use super::*;

/// A promise of some number of blocks, of no place in particular. Dropping it gives them back.
///
/// What a Delayed extent owns. Dropping does not sleep.
#[must_use = "a reservation that is dropped is given back"]
pub struct Reservation {
    alloc: Arc<Alloc>,
    blocks: u64,
}

/// A run of blocks, with the promise for them: nobody else can have them, and they are still free
/// in the bitmap. Dropping it gives them back; a transaction uses it up.
///
/// The run is inside one bitmap block, so it can be one extent record. Dropping may sleep (the
/// group's mutex): not under a spinlock, and under no content lock.
#[must_use = "a claim that is dropped is given back"]
pub struct Claim {
    alloc: Arc<Alloc>,
    range: BlockRange,
}

impl Alloc {
    /// Promises `n` blocks. May sleep. Errors: ENOSPC.
    pub fn reserve(self: &Arc<Self>, n: u64) -> Result<Reservation> {
        self.promise(n, false)?;
        Ok(Reservation {
            alloc: self.clone(),
            blocks: n,
        })
    }

    /// [`Self::reserve`], from the hidden pool when nothing else is left: for what must not fail
    /// on a full file system (writing into preallocated space, punching).
    pub fn reserve_pool(self: &Arc<Self>, n: u64) -> Result<Reservation> {
        self.promise(n, true)?;
        Ok(Reservation {
            alloc: self.clone(),
            blocks: n,
        })
    }

    /// Takes a run of at most `want` and at least `min` blocks, near `goal`. A run that begins
    /// right at a free `goal` may be short: it continues what is before it. May sleep for I/O.
    ///
    /// Errors: NOSPC if there is no such space, AGAIN if there will be after a checkpoint.
    pub fn claim(self: &Arc<Self>, goal: DiskBlock, want: u32, min: u32) -> Result<Claim> {
        let want = want.max(1);
        let min = min.clamp(1, want);
        let take = || self.space.take(u64::from(want), u64::from(min));
        let got = match take() {
            None if self.drop_windows() > 0 => take(),
            got => got,
        };
        let got = got.ok_or(Error::new(Errno::NOSPC))?;
        let want = u32::try_from(got).unwrap_or(want);
        match self.take(goal, want, min) {
            Ok(range) => {
                self.space.give(got.saturating_sub(u64::from(range.len)));
                Ok(Claim {
                    alloc: self.clone(),
                    range,
                })
            }
            Err(error) => {
                self.space.give(got);
                Err(error)
            }
        }
    }

    /// Turns (a part of) a promise into blocks: at most `want` of them, at least one, near `goal`.
    /// May sleep for I/O.
    ///
    /// Errors: AGAIN if only busy blocks are left ([`Mount::claim_reserved`] then makes a
    /// checkpoint). ENOSPC only if the bitmaps have fewer free blocks than the counters say.
    ///
    /// [`Mount::claim_reserved`]: crate::engine::Mount::claim_reserved
    pub fn claim_reserved(
        self: &Arc<Self>,
        from: &mut Reservation,
        goal: DiskBlock,
        want: u32,
    ) -> Result<Claim> {
        let want = u32::try_from(from.blocks).unwrap_or(u32::MAX).min(want);
        if want == 0 {
            return Err(Error::new(Errno::INVAL));
        }
        let range = self.take(goal, want, 1)?;
        from.blocks = from.blocks.saturating_sub(u64::from(range.len));
        Ok(Claim {
            alloc: self.clone(),
            range,
        })
    }

    /// Takes exactly `range`. May sleep for I/O. Errors: ENOSPC if not all of it is free.
    pub fn claim_exact(self: &Arc<Self>, range: BlockRange) -> Result<Claim> {
        let (ag, run) = self.locate(range)?;
        self.promise(u64::from(range.len), false)?;
        match self.group(ag)?.claim_exact(&self.cache, run) {
            Ok(true) => Ok(Claim {
                alloc: self.clone(),
                range,
            }),
            other => {
                self.unpromise(u64::from(range.len));
                Err(other.err().unwrap_or(Error::new(Errno::NOSPC)))
            }
        }
    }
}

impl Reservation {
    /// A reservation of nothing.
    pub fn empty(alloc: &Arc<Alloc>) -> Self {
        Self {
            alloc: alloc.clone(),
            blocks: 0,
        }
    }

    /// Number of blocks.
    pub fn blocks(&self) -> u64 {
        self.blocks
    }

    /// Moves up to `n` blocks into a reservation of their own.
    pub fn split(&mut self, n: u64) -> Reservation {
        let n = n.min(self.blocks);
        self.blocks -= n;
        Reservation {
            alloc: self.alloc.clone(),
            blocks: n,
        }
    }

    /// Takes the blocks of another one in.
    pub fn merge(&mut self, mut other: Reservation) {
        self.blocks = self
            .blocks
            .saturating_add(core::mem::take(&mut other.blocks));
    }

    /// Gives up to `n` blocks back.
    pub fn give_back(&mut self, n: u64) {
        drop(self.split(n));
    }

    /// Passes up to `n` blocks on to the caller, who now owes them.
    pub(crate) fn spend(&mut self, n: u64) -> u64 {
        let n = n.min(self.blocks);
        self.blocks -= n;
        n
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if self.blocks != 0 {
            self.alloc.unpromise(self.blocks);
        }
    }
}

impl Claim {
    /// The blocks.
    pub fn range(&self) -> BlockRange {
        self.range
    }

    /// Number of blocks.
    pub fn len(&self) -> u32 {
        self.range.len
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.range.len == 0
    }

    /// Takes up to `n` blocks off the front into a claim of their own.
    pub fn split_front(&mut self, n: u32) -> Claim {
        let n = n.min(self.range.len);
        let front = BlockRange::new(self.range.start, n);
        self.range = BlockRange::new(
            self.range.start.saturating_add(u64::from(n)),
            self.range.len - n,
        );
        Claim {
            alloc: self.alloc.clone(),
            range: front,
        }
    }

    /// Joins a claim that begins right behind this one; gives it back as error if it does not, or
    /// if the two could not be one extent.
    pub fn join(&mut self, mut next: Claim) -> core::result::Result<(), Claim> {
        let whole = BlockRange::new(
            self.range.start,
            self.range.len.saturating_add(next.range.len),
        );
        let fits = next.range.start == self.range.end()
            && self.alloc.geometry.check_range(whole, "claim").is_ok();
        if !fits {
            return Err(next);
        }
        next.range.len = 0;
        self.range = whole;
        Ok(())
    }

    /// A transaction has set the bits: the blocks have another owner now, the promise is spent.
    pub(crate) fn consume(mut self) -> Result<()> {
        let range = self.range;
        self.range.len = 0;
        if range.len == 0 {
            return Ok(());
        }
        self.alloc.used(range)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.range.len != 0 {
            self.alloc.unclaim(self.range);
            self.alloc.unpromise(u64::from(self.range.len));
        }
    }
}

impl core::fmt::Debug for Claim {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "claim {}+{}", self.range.start, self.range.len)
    }
}

impl core::fmt::Debug for Reservation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "reservation of {}", self.blocks)
    }
}
