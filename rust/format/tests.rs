// SPDX-License-Identifier: GPL-2.0

//! Tests of ring 0 as a whole.

mod corrupt;
mod fingerprint;
mod geometry;
mod make;

use super::crc::CrcSeed;

/// The facade's checksum is the one the format means.
#[test]
fn crc_check_value() {
    assert_eq!(crate::sys::crc32c(0, b"123456789"), 0xe306_9283);
    assert_ne!(CrcSeed::new(1), CrcSeed::new(2));
}
