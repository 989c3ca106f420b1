// SPDX-License-Identifier: GPL-2.0

//! The flush state, by itself.

use super::super::state::{Flush, FlushId, FlushState};
use crate::format::Lsn;
use crate::sys::Errno;

const A: FlushId = FlushId(1);
const B: FlushId = FlushId(2);

#[test]
fn at_most_one_image_is_in_flight() {
    let mut state = Flush::attached("buf");
    assert!(state.begin(Lsn(10), A));
    assert!(!state.begin(Lsn(11), B), "twice");
    assert!(state.is_flushing());
    assert_eq!(state.written(B), None, "token of another write");
    assert!(!state.failed(B, Errno::IO));
    assert_eq!(state.written(A), Some(Lsn(10)));
    assert_eq!(state.written(A), None, "twice");
    assert!(state.begin(Lsn(11), B));
}

#[test]
fn a_failed_image_is_written_again() {
    let mut state = Flush::attached("buf");
    assert!(state.begin(Lsn(10), A));
    assert!(state.failed(A, Errno::IO));
    assert!(state.is_failed());
    assert!(!state.failed(A, Errno::IO), "twice");
    assert!(state.begin(Lsn(20), B));
    assert_eq!(state.written(A), None, "of the lost one");
    assert_eq!(state.written(B), Some(Lsn(20)));
}

#[test]
fn every_state_has_the_buffer() {
    // Dropped exactly once, whatever the way.
    let buf = std::sync::Arc::new(());
    for way in 0..4 {
        let mut state = FlushState::Attached { buf: buf.clone() };
        if way > 0 {
            state = state.begin(Lsn(1), A).unwrap();
        }
        if way > 1 {
            state = state.failed(A, Errno::IO).unwrap();
        }
        assert_eq!(std::sync::Arc::strong_count(&buf), 2);
        match way {
            3 => drop(state.into_buf()),
            _ => drop(state),
        }
        assert_eq!(std::sync::Arc::strong_count(&buf), 1);
    }
}
