// SPDX-License-Identifier: GPL-2.0

use super::*;

/// The vectors of the reference implementation, key 00 01 .. 07, messages of 0, 1, 2, 3 bytes.
#[test]
fn reference_vectors() {
    let key = u64::from_le_bytes([0, 1, 2, 3, 4, 5, 6, 7]);
    let expect = [
        [0xa9, 0x35, 0x9f, 0x5b],
        [0x27, 0x47, 0x5a, 0xb8],
        [0xfa, 0x62, 0xa6, 0x03],
        [0x8a, 0xfe, 0xe7, 0x04],
    ];
    for (n, want) in expect.iter().enumerate() {
        let message: Vec<u8> = (0..n as u8).collect();
        assert_eq!(half_sip::<2, 4>(key, &message).to_le_bytes(), *want);
    }
}

#[test]
fn key_parts() {
    assert_eq!(key_hash(key(7, 9)), 7);
    assert_eq!(key_disambiguator(key(7, 9)), 9);
    assert!(key_is_legal(first_key(1)));
    assert!(key_is_legal(last_key(u32::MAX - 1)));
    assert!(!key_is_legal(last_key(0)));
    assert!(!key_is_legal(first_key(u32::MAX)));
    assert!(KEY_MAX < i64::MAX as u64);
    assert!(last_key(5) < first_key(6));
}

#[test]
fn seed_changes_hash() {
    let same = (0..64_u64)
        .filter(|seed| name_hash(*seed, b"name") == name_hash(64, b"name"))
        .count();
    assert_eq!(same, 0);
}

/// Values of this function are on the disk: they may never change.
#[test]
fn pinned() {
    assert_eq!(name_hash(0, b""), PIN[0]);
    assert_eq!(name_hash(0x0123_4567_89ab_cdef, b"latchfs"), PIN[1]);
    assert_eq!(name_hash(u64::MAX, &[0xff; 255]), PIN[2]);
}

const PIN: [u32; 3] = [0xb650bf13, 0xb3106a83, 0x0b9347cd];
