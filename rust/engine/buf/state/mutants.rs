// SPDX-License-Identifier: GPL-2.0

//! Steps of the buffer word without their protection: what btrfs's extent buffers did.
//!
//! Each looks at the word, decides, and then acts whatever the word has become. They are reached
//! only in builds with `--cfg latchfs_races`, when a test has chosen the mutant.

use super::*;

/// Gives a new buffer a generation that no other had lately: a handle to an older buffer of the same
/// block must not lead to it.
pub(super) fn born(state: &BufState) {
    let life = sys::sync_point::table::serial();
    // Far apart, as each may have many lives.
    let generation = (life << (GENERATION_SHIFT + 8)) & GENERATION;
    state.step(|w| Some((w & !GENERATION) | generation));
}

/// [`BufState::put`] with the decision and the count in two steps: the seed.
pub(super) fn put(state: &BufState) -> Option<DeadToken> {
    let seen = state.word.load(Ordering::Acquire);
    let last = seen & REFS == REF && seen & STALE != 0 && seen & BUSY == 0;
    if last {
        sys::sync_point!("eb.put.decided", state.key);
    }
    state.word.fetch_sub(REF, Ordering::AcqRel);
    if !last {
        return None;
    }
    let old = state.word.fetch_or(DEAD, Ordering::AcqRel);
    BufState::token(old, old | DEAD)
}

/// [`BufState::reclaim`] that kills what it saw clean, clean or not: `try_release_extent_buffer()`
/// against `set_extent_buffer_dirty()`.
pub(super) fn reclaim(state: &BufState) -> Reclaim {
    let seen = state.word.load(Ordering::Acquire);
    if seen & (REFS | BUSY | DEAD) != 0 {
        return Reclaim::Busy;
    }
    if seen & REFERENCED != 0 {
        state.word.fetch_and(!REFERENCED, Ordering::AcqRel);
        return Reclaim::Referenced;
    }
    sys::sync_point!("eb.reclaim.decided", state.key);
    let old = state.word.fetch_or(DEAD, Ordering::AcqRel);
    match BufState::token(old, old | DEAD) {
        Some(token) => Reclaim::Dead(token),
        None => Reclaim::Busy,
    }
}

/// [`BufState::start_writeback`] in two steps: between them the buffer is clean for everybody.
pub(super) fn start_writeback(state: &BufState) -> bool {
    let taken = state
        .step(|w| (w & DIRTY != 0 && w & (WRITEBACK | STALE | DEAD) == 0).then_some(w & !DIRTY));
    if taken.is_none() {
        return false;
    }
    sys::sync_point!("eb.wb.decided", state.key);
    state.word.fetch_or(WRITEBACK, Ordering::AcqRel);
    true
}
