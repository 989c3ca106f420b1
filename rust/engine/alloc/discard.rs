// SPDX-License-Identifier: GPL-2.0

//! Free blocks that are being discarded: claimed, with nobody's promise.

use super::*;

impl Alloc {
    /// [`Self::release`], but what becomes free is taken at once, to be discarded. Each run has to
    /// come back ([`Self::discarded`]).
    pub(crate) fn release_for_discard(&self) -> Result<sys::Vec<BlockRange>> {
        let mut out = sys::Vec::new();
        let mut runs = sys::Vec::new();
        for (number, ag) in self.geometry.ags().zip(self.ags.iter()) {
            if ag.busy.load(Ordering::Relaxed) == 0 {
                continue;
            }
            let mut group = ag.group.lock();
            group.release_claimed(&mut runs)?;
            while let Some(run) = runs.pop() {
                self.discarding
                    .fetch_add(u64::from(run.len), Ordering::AcqRel);
                out.must_push(self.disk(number, run)?);
            }
            ag.failed.store(NONE_FAILED, Ordering::Relaxed);
            if !group.has_busy() {
                ag.busy.store(0, Ordering::Relaxed);
            }
        }
        Ok(out)
    }

    /// Takes the first free run of at least `min` blocks between `from` and `end`, at most `most`
    /// of it, to be discarded. A pool of metadata blocks is not free space. May sleep for I/O.
    /// [`None`] if there is none.
    pub(crate) fn take_for_discard(
        &self,
        from: DiskBlock,
        end: DiskBlock,
        min: u32,
        most: u32,
    ) -> Result<Option<BlockRange>> {
        let Some((first, start)) = self.geometry.locate(from) else {
            return Ok(None);
        };
        for number in self.geometry.ags() {
            if number < first {
                continue;
            }
            let Some(ag) = self.ags.get(number.get() as usize) else {
                continue;
            };
            let start = if number == first { start } else { AgBlock(0) };
            let run = ag
                .group
                .lock()
                .take_run(&self.cache, start, min, most, &self.discarding)?;
            let Some(run) = run else { continue };
            let range = self.disk(number, run)?;
            if range.start >= end {
                self.discarded(range);
                return Ok(None);
            }
            let fits = end.get().saturating_sub(range.start.get());
            if u64::from(range.len) > fits {
                let keep = u32::try_from(fits).unwrap_or(range.len);
                let rest = BlockRange::new(range.start.saturating_add(fits), range.len - keep);
                self.discarded(rest);
                if keep < min {
                    self.discarded(BlockRange::new(range.start, keep));
                    return Ok(None);
                }
                return Ok(Some(BlockRange::new(range.start, keep)));
            }
            return Ok(Some(range));
        }
        Ok(None)
    }

    /// The discard of a run has ended: it is free.
    pub(crate) fn discarded(&self, range: BlockRange) {
        self.unclaim(range);
        self.discarding
            .fetch_sub(u64::from(range.len), Ordering::AcqRel);
    }
}
