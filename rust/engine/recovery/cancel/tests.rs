// SPDX-License-Identifier: GPL-2.0

//! Tests of the cancel table.

use super::*;

#[test]
fn agrees_with_a_list_of_blocks() {
    let mut seed = 7_u64;
    let mut random = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % n
    };
    for round in 0..300 {
        let mut cancels = Cancels::default();
        let mut naive = [0_u64; 64];
        for _ in 0..round % 20 {
            let (start, len) = (random(50), 1 + random(12));
            let lsn = 1 + random(10);
            let range = BlockRange::new(DiskBlock(start), len as u32);
            cancels.add(range, Lsn(lsn)).unwrap();
            for block in start..(start + len).min(64) {
                naive[block as usize] = naive[block as usize].max(lsn);
            }
        }
        cancels.finish().unwrap();
        for (block, freed) in naive.iter().enumerate() {
            for lsn in 1..12 {
                let got = cancels.covers(DiskBlock(block as u64), Lsn(lsn));
                assert_eq!(got, *freed >= lsn, "block {block}, position {lsn}");
            }
        }
    }
}
