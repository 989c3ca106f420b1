// SPDX-License-Identifier: GPL-2.0

//! A set of small numbers with "the next one from here".
//!
//! Two levels of bit words: with the largest allocation group (half a million map blocks) a search
//! looks at some 130 words, with a usual one at three.

use crate::{
    engine::error::Result,
    sys::Vec, //
};

/// A set of numbers below a limit.
pub(crate) struct BitSet {
    /// Bit `n`: number `n` is in the set.
    leaf: Vec<u64>,
    /// Bit `n`: word `n` of `leaf` is not zero.
    top: Vec<u64>,
}

fn first_from(words: &[u64], from: usize) -> Option<usize> {
    let (word, bit) = (from / 64, from % 64);
    let masked = words.get(word)? & (!0_u64 << bit);
    if masked != 0 {
        return Some(word * 64 + masked.trailing_zeros() as usize);
    }
    for (n, w) in words.iter().enumerate().skip(word.saturating_add(1)) {
        if *w != 0 {
            return Some(n * 64 + w.trailing_zeros() as usize);
        }
    }
    None
}

impl BitSet {
    /// The empty set that allocates nothing and can have no member.
    pub(crate) const fn none() -> Self {
        Self {
            leaf: Vec::new(),
            top: Vec::new(),
        }
    }

    /// An empty set of numbers below `limit`. May sleep; ENOMEM.
    pub(crate) fn new(limit: u32) -> Result<Self> {
        let words = (limit as usize).div_ceil(64);
        let mut this = Self::none();
        this.leaf.try_resize(words, 0)?;
        this.top.try_resize(words.div_ceil(64), 0)?;
        Ok(this)
    }

    /// Adds `n`; numbers beyond the limit are ignored.
    pub(crate) fn set(&mut self, n: u32) {
        let word = n as usize / 64;
        if let Some(w) = self.leaf.get_mut(word) {
            *w |= 1 << (n % 64);
            if let Some(t) = self.top.get_mut(word / 64) {
                *t |= 1 << (word % 64);
            }
        }
    }

    /// Takes `n` out.
    pub(crate) fn clear(&mut self, n: u32) {
        let word = n as usize / 64;
        if let Some(w) = self.leaf.get_mut(word) {
            *w &= !(1 << (n % 64));
            if *w == 0 {
                if let Some(t) = self.top.get_mut(word / 64) {
                    *t &= !(1 << (word % 64));
                }
            }
        }
    }

    /// The smallest member from `from` on.
    pub(crate) fn next(&self, from: u32) -> Option<u32> {
        let (word, bit) = (from as usize / 64, from % 64);
        let here = self.leaf.get(word)? & (!0_u64 << bit);
        let found = if here != 0 {
            word * 64 + here.trailing_zeros() as usize
        } else {
            let word = first_from(&self.top, word.saturating_add(1))?;
            word * 64 + self.leaf.get(word)?.trailing_zeros() as usize
        };
        u32::try_from(found).ok()
    }

    /// The smallest member from `from` on, or else the smallest.
    pub(crate) fn next_wrapping(&self, from: u32) -> Option<u32> {
        self.next(from).or_else(|| self.next(0))
    }
}
