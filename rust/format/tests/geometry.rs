// SPDX-License-Identifier: GPL-2.0

//! Geometry: sizes over the whole range, conversions, refusal of inconsistent numbers.

use crate::format::{geometry::*, limits::*, *};

const MIB: u64 = 256;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

#[test]
fn defaults() {
    // device, blocks of a group, groups, blocks of the log
    for (blocks, ag_blocks, ag_count, log) in [
        (16 * MIB, 4096, 1, 1024),
        (63 * MIB, 4096, 4, 1024),
        (64 * MIB, 4096, 4, 1024),
        (GIB, 65536, 4, 8192),
        (4 * GIB, 258_048, 5, 16384),
        (16 * GIB, 258_048, 17, 32768),
        (TIB, 290_304, 925, 65536),
        (17 * TIB, 4_483_584, 1018, 65536),
    ] {
        let g = Geometry::for_device(blocks, None).unwrap();
        let got = (g.ag_blocks(), g.ag_count(), g.log().len);
        assert_eq!(got, (ag_blocks, ag_count, log), "{blocks}");
        assert!(g.ag_count() <= MKFS_MAX_AGS);
    }
    assert!(Geometry::for_device(MIN_BLOCKS - 1, None).is_none());
    assert!(Geometry::for_device(MAX_BLOCKS, None).is_some());
    assert!(Geometry::for_device(MAX_BLOCKS + 1, None).is_none());
}

/// Every size from the smallest on works, and the rest that is not used is short.
#[test]
fn every_small_size() {
    for blocks in MIN_BLOCKS..MIN_BLOCKS + 20_000 {
        let g = Geometry::for_device(blocks, None).unwrap();
        assert!(blocks - g.block_count() < u64::from(MIN_LAST_AG));
    }
}

#[test]
fn copies() {
    let with: Vec<u32> = (0..1024)
        .filter(|ag| has_superblock_copy(AgNumber(*ag)))
        .collect();
    assert_eq!(
        with,
        [1, 3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343, 625, 729]
    );
}

#[test]
fn round_trip() {
    let g = Geometry::for_device(100_000, Some(5000)).unwrap();
    for block in 0..g.block_count() {
        let (ag, inside) = g.locate(DiskBlock(block)).unwrap();
        assert_eq!(g.disk_block(ag, inside), Some(DiskBlock(block)));
    }
    assert_eq!(g.locate(DiskBlock(g.block_count())), None);
    assert_eq!(g.locate(DiskBlock(u64::MAX)), None);
    assert_eq!(g.disk_block(AgNumber(0), AgBlock(5000)), None);
    assert_eq!(g.disk_block(AgNumber(u32::MAX), AgBlock(0)), None);
    assert_eq!(g.ag_len(AgNumber(u32::MAX)), 0);
}

/// Static ranges, static bits and `check_range` say the same of every block.
#[test]
fn static_agrees() {
    for ag_blocks in [2048, 4096, 40_000] {
        let g = Geometry::for_device(100_000, Some(ag_blocks)).unwrap();
        for ag in g.ags() {
            let mut count = 0;
            for block in 0..g.ag_len(ag) {
                let (index, bit) = Geometry::bitmap_position(AgBlock(block));
                let is_static = g.is_static(ag, AgBlock(block));
                let by_bits = bitmap::static_bits(&g, ag, index)
                    .any(|(start, len)| bit >= start && bit - start < len);
                let at = g.disk_block(ag, AgBlock(block)).unwrap();
                assert_eq!(is_static, by_bits);
                assert_eq!(is_static, g.check_block(at, "x").is_err());
                count += u32::from(!is_static);
            }
            assert_eq!(count, g.dynamic_blocks(ag));
        }
    }
}

#[test]
fn ranges() {
    let g = Geometry::for_device(200_000, Some(100_000)).unwrap();
    let ok = |start, len| {
        g.check_range(BlockRange::new(DiskBlock(start), len), "x")
            .is_ok()
    };
    let first = u64::from(g.log().len) + g.log().start.0;
    let bits = u64::from(BITMAP_BITS);

    assert!(ok(first, 1));
    assert!(!ok(first - 1, 1));
    assert!(!ok(first, 0));
    assert!(ok(bits, BITMAP_BITS));
    assert!(!ok(bits, BITMAP_BITS + 1));
    assert!(!ok(bits - 1, 2), "crosses the coverage of a bitmap block");
    assert!(!ok(99_999, 2), "crosses a group");
    assert!(!ok(199_983, 2), "in the tail");
    assert!(ok(199_983, 1));
    assert!(!ok(u64::MAX, 1));
    assert!(!ok(u64::MAX, u32::MAX));
}

#[test]
fn refusals() {
    let g = Geometry::for_device(100_000, None).unwrap();
    let log = g.log();
    let new =
        |blocks, ag, count, start, len| Geometry::new(blocks, ag, count, DiskBlock(start), len);
    let (blocks, ag, count) = (g.block_count(), g.ag_blocks(), g.ag_count());

    assert_eq!(new(blocks, ag, count, log.start.0, log.len), Ok(g));
    for (field, result) in [
        ("block_count", new(0, ag, count, log.start.0, log.len)),
        (
            "block_count",
            new(u64::MAX, ag, count, log.start.0, log.len),
        ),
        ("ag_blocks", new(blocks, 0, count, log.start.0, log.len)),
        (
            "ag_blocks",
            new(blocks, u32::MAX, count, log.start.0, log.len),
        ),
        ("ag_count", new(blocks, ag, count + 1, log.start.0, log.len)),
        ("ag_count", new(blocks, ag, 0, log.start.0, log.len)),
        ("log_start", new(blocks, ag, count, 0, log.len)),
        ("log_start", new(blocks, ag, count, u64::MAX, log.len)),
        ("log_blocks", new(blocks, ag, count, log.start.0, 0)),
        ("log_blocks", new(blocks, ag, count, log.start.0, ag)),
        ("log_blocks", new(blocks, ag, count, log.start.0, u32::MAX)),
        (
            "block_count",
            new(u64::from(ag) * 3 + 1, ag, 4, log.start.0, log.len),
        ),
    ] {
        assert_eq!(result.unwrap_err().field, field);
    }
}
