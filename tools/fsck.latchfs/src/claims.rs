// SPDX-License-Identifier: GPL-2.0

//! Which blocks are in use, as found by walking everything.
//!
//! A bitmap like the one on disk, but only for those parts of the device in which something was
//! found: memory follows what is used, not the size of the device.

use std::collections::BTreeMap;

use latchfs_engine::format::{
    bitmap::static_bits,
    limits::{BITMAP_BITS, BITMAP_BYTES},
    AgBlock, AgNumber, AgRange, BlockRange, DiskBlock, Geometry,
};

/// Bits of the blocks covered by one bitmap block.
type Part = Box<[u8; BITMAP_BYTES]>;

/// Blocks in use.
#[derive(Debug)]
pub struct Claims {
    geometry: Geometry,
    parts: BTreeMap<(u32, u32), Part>,
}

impl Claims {
    /// Nothing in use but static metadata.
    pub fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            parts: BTreeMap::new(),
        }
    }

    /// Marks `range` as used. Returns the runs that already were, or are outside.
    pub fn claim(&mut self, range: BlockRange) -> Vec<BlockRange> {
        let mut taken = Vec::new();
        let mut rest = range;
        while rest.len > 0 {
            let Some((ag, inside)) = self.geometry.locate(rest.start) else {
                taken.push(rest);
                break;
            };
            let (index, bit) = Geometry::bitmap_position(inside);
            let covered = self.geometry.bitmap_coverage(ag, index).len;
            let len = rest.len.min(covered - bit);
            self.claim_part((ag, index), bit, len, rest.start, &mut taken);
            rest = BlockRange::new(rest.start.saturating_add(u64::from(len)), rest.len - len);
        }
        taken
    }

    /// Marks `len` bits from `bit` of one part; `first` is the block of the first.
    fn claim_part(
        &mut self,
        (ag, index): (AgNumber, u32),
        bit: u32,
        len: u32,
        first: DiskBlock,
        taken: &mut Vec<BlockRange>,
    ) {
        let geometry = &self.geometry;
        let part = self
            .parts
            .entry((ag.0, index))
            .or_insert_with(|| fresh(geometry, ag, index));
        let mut n = 0;
        while n < len {
            let at = bit + n;
            let byte = &mut part[at as usize / 8];
            if at.is_multiple_of(8) && len - n >= 8 && *byte == 0 {
                *byte = 0xff;
                n += 8;
                continue;
            }
            let mask = 1 << (at % 8);
            if *byte & mask != 0 {
                let block = first.saturating_add(u64::from(n));
                match taken.last_mut() {
                    Some(run) if run.end() == block => run.len += 1,
                    _ => taken.push(BlockRange::new(block, 1)),
                }
            }
            *byte |= mask;
            n += 1;
        }
    }

    /// The bits of bitmap block `index` of group `ag`, those behind the end of the group included.
    pub fn part(&self, ag: AgNumber, index: u32) -> Part {
        match self.parts.get(&(ag.0, index)) {
            Some(part) => part.clone(),
            None => fresh(&self.geometry, ag, index),
        }
    }

    /// Whether anything but static metadata is in use in that part.
    pub fn has_part(&self, ag: AgNumber, index: u32) -> bool {
        self.parts.contains_key(&(ag.0, index))
    }

    /// The highest part of group `ag` in which something is in use.
    pub fn last_part(&self, ag: AgNumber) -> Option<u32> {
        self.parts
            .range((ag.0, 0)..=(ag.0, u32::MAX))
            .next_back()
            .map(|((_, index), _)| *index)
    }

    /// Number of blocks in use that are not static metadata.
    pub fn count(&self) -> u64 {
        self.parts
            .iter()
            .map(|((ag, index), part)| {
                let fresh = fresh(&self.geometry, AgNumber(*ag), *index);
                ones(part) - ones(&fresh)
            })
            .sum()
    }
}

fn ones(part: &[u8; BITMAP_BYTES]) -> u64 {
    part.iter().map(|byte| u64::from(byte.count_ones())).sum()
}

/// A part in which only static metadata, and what is behind the group, is used.
fn fresh(geometry: &Geometry, ag: AgNumber, index: u32) -> Part {
    let mut part = Box::new([0; BITMAP_BYTES]);
    let covered = geometry.bitmap_coverage(ag, index).len;
    let behind = (covered, BITMAP_BITS - covered);
    for (start, len) in static_bits(geometry, ag, index).chain([behind]) {
        for bit in start..start + len {
            part[bit as usize / 8] |= 1 << (bit % 8);
        }
    }
    part
}

/// The runs of bits in which `a` has ones and `b` has zeroes, as blocks of the device.
pub fn runs(
    geometry: &Geometry,
    ag: AgNumber,
    index: u32,
    a: &[u8; BITMAP_BYTES],
    b: &[u8; BITMAP_BYTES],
) -> Vec<BlockRange> {
    let coverage = geometry.bitmap_coverage(ag, index);
    let mut runs: Vec<AgRange> = Vec::new();
    for (n, (a, b)) in a.iter().zip(b).enumerate() {
        let diff = a & !b;
        if diff == 0 {
            continue;
        }
        for bit in (0..8).filter(|bit| diff & (1 << bit) != 0) {
            let at = AgBlock(coverage.start.0 + n as u32 * 8 + bit);
            match runs.last_mut() {
                Some(run) if run.end() == at => run.len += 1,
                _ => runs.push(AgRange::new(at, 1)),
            }
        }
    }
    runs.into_iter()
        .filter_map(|run| geometry.disk_range(ag, run))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims() {
        let geometry = Geometry::for_device(100_000, None).unwrap();
        let mut claims = Claims::new(geometry);
        assert_eq!(claims.count(), 0);
        let at = |start, len| BlockRange::new(DiskBlock(start), len);
        assert_eq!(claims.claim(at(60_000, 10)), []);
        assert_eq!(claims.claim(at(60_005, 10)), [at(60_005, 5)]);
        assert_eq!(claims.count(), 15);
        assert_eq!(claims.claim(at(0, 1)), [at(0, 1)], "static");
        assert_eq!(claims.claim(at(100_000, 1)), [at(100_000, 1)], "outside");

        let (ag, inside) = geometry.locate(DiskBlock(60_000)).unwrap();
        let (index, _) = Geometry::bitmap_position(inside);
        let used = claims.part(ag, index);
        let empty = fresh(&geometry, ag, index);
        assert_eq!(runs(&geometry, ag, index, &used, &empty), [at(60_000, 15)]);
        assert_eq!(runs(&geometry, ag, index, &empty, &used), []);
    }
}
