// SPDX-License-Identifier: GPL-2.0

//! What happens between the steps of an unmount.

use super::*;
use crate::engine::testing::Fixture;

/// As the pusher does, when it meets an error that is not tried again, before it is stopped: what is
/// lost then is not in the AIL any more when the unmount comes to look.
#[test]
fn a_shutdown_after_the_last_sync_is_an_error_of_the_unmount() {
    let f = Fixture::new(8192);
    let quiesced = Live(&f.m).quiesce();
    assert!(quiesced.verdict.is_ok());
    f.m.shutdown("the test says so");
    assert!(quiesced.push_out().free().is_err());
}
