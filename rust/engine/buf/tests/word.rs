// SPDX-License-Identifier: GPL-2.0

//! Every step of the state word on its own.

use crate::engine::buf::state::*;

fn dead(r: Reclaim) -> bool {
    matches!(r, Reclaim::Dead(_))
}

#[test]
fn a_clean_unused_buffer_gets_a_second_chance_and_goes() {
    let s = BufState::new_uptodate();
    assert!(matches!(s.reclaim(), Reclaim::Busy));
    assert!(s.get());
    assert!(s.put().is_none());
    assert!(s.put().is_none());
    assert!(matches!(s.reclaim(), Reclaim::Referenced));
    assert!(dead(s.reclaim()));
    assert!(!s.get(), "a dead buffer is not found");
    assert!(matches!(s.reclaim(), Reclaim::Busy));
}

#[test]
fn the_last_put_of_a_stale_buffer_kills_it() {
    let s = BufState::new_uptodate();
    assert!(s.get());
    assert!(!s.mark_stale());
    assert!(s.put().is_none());
    assert!(s.put().is_some());
    assert!(s.load().is_dead());
}

#[test]
fn a_revived_buffer_lives() {
    let s = BufState::new_uptodate();
    let before = s.load().generation();
    s.mark_stale();
    assert!(s.set_dirty().is_none(), "a freed block is not made dirty");
    s.revive();
    assert_eq!(s.load().generation(), before + 1);
    assert_eq!(s.set_dirty(), Some(true));
    assert_eq!(s.set_dirty(), Some(false));
    assert!(s.put().is_none());
    assert!(!s.load().is_dead());
}

#[test]
fn dirty_and_writeback_keep_a_buffer_alive() {
    let s = BufState::new_uptodate();
    assert_eq!(s.set_dirty(), Some(true));
    assert!(s.put().is_none());
    assert!(matches!(s.reclaim(), Reclaim::Busy));
    assert!(s.start_writeback());
    assert!(!s.start_writeback(), "one write at a time");
    let w = s.load();
    assert!(w.is_writeback() && !w.is_dirty());
    assert!(matches!(s.reclaim(), Reclaim::Busy));
    assert!(s.end_writeback(true).is_none());
    assert!(matches!(s.reclaim(), Reclaim::Dead(_)));
}

#[test]
fn a_failed_write_leaves_the_buffer_dirty() {
    let s = BufState::new_uptodate();
    assert_eq!(s.set_dirty(), Some(true));
    assert!(s.start_writeback());
    assert!(s.end_writeback(false).is_none());
    assert!(s.load().is_dirty());
    assert!(s.start_writeback());
}

#[test]
fn a_freed_block_is_never_written() {
    // The retry of a failed write, or a writer with the buffer on its list, comes after the block
    // was freed and given to a file.
    let s = BufState::new_uptodate();
    assert_eq!(s.set_dirty(), Some(true));
    assert!(s.start_writeback());
    assert!(s.end_writeback(false).is_none());
    assert!(s.mark_stale(), "it was dirty");
    assert!(!s.start_writeback());
    assert!(s.put().is_some());
}

#[test]
fn a_read_that_fails_makes_the_buffer_go() {
    let s = BufState::new_reading();
    assert!(s.get(), "others wait for the same read");
    assert!(s.end_read(false).is_none());
    assert!(s.put().is_none());
    assert!(s.put().is_some());

    let s = BufState::new_reading();
    assert!(s.put().is_none(), "readahead: the read itself keeps it");
    assert!(matches!(s.reclaim(), Reclaim::Busy));
    assert!(s.end_read(false).is_some());

    let s = BufState::new_reading();
    assert!(s.put().is_none());
    assert!(s.end_read(true).is_none());
    assert!(s.load().is_uptodate());
}

#[test]
fn unmount_says_what_is_lost_and_what_is_held() {
    let s = BufState::new_uptodate();
    assert!(s.discard().is_none(), "in use");
    assert_eq!(s.set_dirty(), Some(true));
    assert!(s.put().is_none());
    let (_, lost) = s.discard().unwrap();
    assert!(lost);
    assert!(s.discard().is_none(), "once");
}

#[test]
fn messages_name_the_flags() {
    let s = BufState::new_uptodate();
    assert!(s.get());
    assert_eq!(
        format!("{:?}", s.load()),
        "refs=2 UPTODATE REFERENCED gen=0"
    );
}
