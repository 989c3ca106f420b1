// SPDX-License-Identifier: GPL-2.0

//! Records to blocks and back, and what the decoder refuses.

use super::{block::*, decode::Decoder, encode::*, record::*, *};
use crate::format::{
    geometry::Geometry,
    units::{AgNumber, DiskBlock, Ino},
};
use zerocopy::little_endian::{I64, U64};

const EPOCH: u32 = 7;

fn context() -> Context {
    Context::new(0x1234_5678_9abc, Geometry::for_device(16384, None).unwrap())
}

fn start(context: &Context) -> Lsn {
    first_lsn(context.geometry.log().len)
}

fn commit(context: &Context) -> CommitBody {
    CommitBody {
        seq: U64::new(1),
        tail: U64::new(start(context).0),
        free_blocks: U64::new(10),
        inodes: U64::new(64),
        free_inodes: U64::new(60),
        orphans: U64::new(1),
        time: I64::new(5),
        ..CommitBody::default()
    }
}

/// A block that can be allocated.
fn free_block(context: &Context, n: u32) -> DiskBlock {
    let geometry = &context.geometry;
    let ag = AgNumber(0);
    let at = geometry.head_end(ag).saturating_add(n);
    geometry.disk_block(ag, at).unwrap()
}

/// One record of each kind, thrice, in blocks that are sealed as a checkpoint.
fn sample(context: &Context) -> std::vec::Vec<Block> {
    let mut blocks = std::vec![[0xff; BLOCK_SIZE]; 16];
    let mut encoder = Encoder::new(blocks.as_mut_slice());
    for n in 0..3_u8 {
        let at = free_block(context, u32::from(n) * 20);
        let chunks = [u32::MAX, 1, 0x8000_0001][usize::from(n)];
        let data = std::vec![n; chunks.count_ones() as usize * LOG_CHUNK];
        encoder
            .buf(at, BlockKind::Tree, Owner::inode(Ino(9)), chunks, &data)
            .unwrap();
        let mut core = [n; CORE_SIZE];
        core[..4].copy_from_slice(&77_u32.to_le_bytes());
        let literal = [n; 320];
        let literal = [None, Some(&literal[..0]), Some(&literal[..])][usize::from(n)];
        encoder
            .inode(at.saturating_add(1), Ino(9), &core, literal)
            .unwrap();
        encoder
            .cancel(BlockRange::new(at.saturating_add(2), 3))
            .unwrap();
        encoder
            .inode_init(
                at.saturating_add(8),
                Ino::new(AgNumber(0), u32::from(n) * 64),
            )
            .unwrap();
    }
    let n = encoder
        .finish(context, start(context), EPOCH, commit(context))
        .unwrap();
    blocks.truncate(n as usize);
    blocks
}

/// What the blocks say, a line for each record.
fn decode(context: &Context, blocks: &[Block]) -> Result<std::vec::Vec<String>, Defect> {
    let mut bytes = [0; MAX_RECORD];
    let mut decoder = Decoder::new(&mut bytes);
    let mut lines = std::vec::Vec::new();
    for block in blocks {
        let mut payload = LogBlock::of(block).bytes();
        while let Some(record) = decoder.next(&mut payload, context)? {
            lines.push(format!("{record:?}"));
        }
    }
    decoder.finish()?;
    Ok(lines)
}

#[test]
fn what_is_written_is_read() {
    let context = context();
    let blocks = sample(&context);
    assert_eq!(blocks.len(), 2);
    for (n, block) in blocks.iter().enumerate() {
        let lsn = start(&context).saturating_add((n * BLOCK_SIZE) as u64);
        LogBlock::verify(block, &context, lsn).unwrap();
        let this = LogBlock::of(block);
        assert_eq!(this.is_first(), n == 0);
        assert_eq!(this.is_last(), n == 1);
        assert_eq!(this.head.epoch.get(), EPOCH);
        assert!(LogBlock::verify(block, &context, next_block(lsn)).is_err());
    }
    let lines = decode(&context, &blocks).unwrap();
    assert_eq!(lines.len(), 13);
    assert!(lines[0].starts_with("Buf"), "{}", lines[0]);
    assert!(lines[5].contains("literal: Some([])"), "{}", lines[5]);
    assert!(lines[12].starts_with("Commit"), "{}", lines[12]);
}

#[test]
fn sizes_are_those_of_the_records() {
    let context = context();
    let mut blocks = std::vec![[0; BLOCK_SIZE]; 4];
    for (size, chunks) in [(buf_record(1), 1), (buf_record(u32::MAX), u32::MAX)] {
        let mut encoder = Encoder::new(blocks.as_mut_slice());
        let data = std::vec![1; chunks.count_ones() as usize * LOG_CHUNK];
        let at = free_block(&context, 0);
        encoder
            .buf(at, BlockKind::Tree, Owner::inode(Ino(9)), chunks, &data)
            .unwrap();
        let n = encoder
            .finish(&context, start(&context), 1, commit(&context))
            .unwrap();
        assert_eq!(u64::from(n), blocks_for(size as u64));
        let last = LogBlock::of(&blocks[n as usize - 1]).head.used.get();
        let used = (n as usize - 1) * LOG_PAYLOAD + usize::from(last);
        assert_eq!(used, size + COMMIT_RECORD);
    }
    assert_eq!(inode_record(320), 512);
}

#[test]
fn no_room_is_told() {
    let context = context();
    let mut blocks = [[0; BLOCK_SIZE]; 1];
    let at = free_block(&context, 0);
    let mut encoder = Encoder::new(blocks.as_mut_slice());
    let whole = [0; BLOCK_SIZE];
    let owner = Owner::inode(Ino(9));
    assert_eq!(
        encoder.buf(at, BlockKind::Tree, owner, 1, &whole),
        Err(NoRoom),
        "not as much data as chunks"
    );
    assert_eq!(
        encoder.buf(at, BlockKind::Inodes, owner, u32::MAX, &whole),
        Err(NoRoom),
        "a kind that is not logged as a buffer"
    );
    assert_eq!(
        encoder.buf(at, BlockKind::Tree, owner, u32::MAX, &whole),
        Err(NoRoom)
    );
}

/// Each field of each record, with a value that it cannot have.
#[test]
fn wrong_fields_are_named() {
    let context = context();
    let at = free_block(&context, 0);
    let one = |fill: &dyn Fn(&mut Encoder<'_, [Block]>)| {
        let mut blocks = std::vec![[0; BLOCK_SIZE]; 1];
        let mut encoder = Encoder::new(blocks.as_mut_slice());
        fill(&mut encoder);
        encoder
            .finish(&context, start(&context), 1, commit(&context))
            .unwrap();
        blocks
    };
    type Edit<'a> = (&'a str, usize, &'a [u8]);
    let buf = one(&|e| {
        let owner = Owner::inode(Ino(9));
        e.buf(at, BlockKind::Tree, owner, 1, &[0; 128]).unwrap();
    });
    let inode = one(&|e| {
        e.inode(at, Ino(9), &[0; CORE_SIZE], Some(&[0; 8])).unwrap();
    });
    let cancel = one(&|e| e.cancel(BlockRange::new(at, 1)).unwrap());
    let init = one(&|e| e.inode_init(at, Ino(64)).unwrap());
    let empty = one(&|_| ());
    let log = context.geometry.log().start.0.to_le_bytes();
    let cases: &[(&[Block], &[Edit<'_>])] = &[
        (
            &buf,
            &[
                ("kind", 0, &[6]),
                ("kind", 0, &[0]),
                ("flags", 2, &[1]),
                ("len", 4, &[0]),
                ("len", 4, &[161]),
                ("len", 4, &[0, 0, 1]),
                ("len", 4, &[168]),
                ("block", 8, &[0]),
                ("block", 8, &log),
                ("block", 8, &[0xff; 8]),
                ("block_kind", 16, &[0]),
                ("block_kind", 16, &[7]),
                ("block", 16, &[1]),
                ("block", 16, &[2]),
                ("owner", 16, &[3]),
                ("spare", 18, &[1]),
                ("chunks", 20, &[0]),
                ("len", 20, &[3]),
                ("owner", 24, &[0]),
                ("owner", 24, &[0xff; 8]),
            ],
        ),
        (
            &inode,
            &[
                ("block", 8, &log),
                ("ino", 16, &[0]),
                ("ino", 16, &[0xff; 8]),
                ("generation", 24, &[1]),
                ("fields", 28, &[0]),
                ("fields", 28, &[7]),
                ("literal", 28, &[1]),
                ("len", 28, &[2]),
                ("literal", 30, &[9]),
                ("literal", 30, &[0, 2]),
                ("len", 30, &[16]),
            ],
        ),
        (
            &cancel,
            &[
                ("block", 8, &log),
                ("block", 16, &[0]),
                ("block", 16, &[0xff; 4]),
                ("spare", 20, &[1]),
            ],
        ),
        (
            &init,
            &[
                ("block", 8, &log),
                ("count", 16, &[7]),
                ("ag", 20, &[4]),
                ("index", 24, &[1]),
                ("index", 24, &[0, 0, 0, 0xff]),
                ("spare", 28, &[1]),
            ],
        ),
        (
            &empty,
            &[
                ("block", 8, &[1]),
                ("seq", 16, &[0]),
                ("tail", 24, &[1]),
                ("tail", 24, &[0; 8]),
                ("free_blocks", 32, &[0xff; 8]),
                ("free_inodes", 40, &[0]),
                ("free_inodes", 48, &[0xff; 8]),
                ("free_inodes", 56, &[5]),
                ("records", 72, &[0]),
                ("records", 72, &[2]),
                ("spare", 76, &[1]),
            ],
        ),
    ];
    for (n, (blocks, edits)) in cases.iter().enumerate() {
        decode(&context, blocks).unwrap();
        for (m, (field, offset, bytes)) in edits.iter().enumerate() {
            let mut damaged = blocks.to_vec();
            let payload = &mut LogBlock::of_mut(&mut damaged[0]).payload;
            payload[*offset..*offset + bytes.len()].copy_from_slice(bytes);
            let defect = decode(&context, &damaged).unwrap_err();
            assert_eq!(defect.field, *field, "case {n}.{m}: {defect}");
        }
    }
}

#[test]
fn wrong_block_heads_are_named() {
    let context = context();
    let blocks = sample(&context);
    let lsn = start(&context);
    let seal = |block: &mut Block| {
        let crc = crate::format::crc::block_crc(context.seed, block);
        LogBlock::of_mut(block).head.crc.set(crc);
    };
    type Edit = fn(&mut LogBlockHead);
    let edits: &[(&str, Edit)] = &[
        ("magic", |h| h.magic.set(1)),
        ("lsn", |h| h.lsn.set(0)),
        ("start", |h| h.start.set(0)),
        ("start", |h| h.start.set(h.start.get() + 4096)),
        ("start", |h| h.start.set(h.start.get() + 1)),
        ("used", |h| h.used.set(4065)),
        ("used", |h| h.used.set(4056)),
        ("flags", |h| h.flags.set(0)),
        ("flags", |h| h.flags.set(LOG_FIRST | 4)),
    ];
    for (field, edit) in edits {
        let mut block = blocks[0];
        edit(&mut LogBlock::of_mut(&mut block).head);
        seal(&mut block);
        let defect = LogBlock::verify(&block, &context, lsn).unwrap_err();
        assert_eq!(defect.field, *field);
    }
    let mut block = blocks[1];
    let at = next_block(lsn);
    LogBlock::of_mut(&mut block).head.used.set(0);
    seal(&mut block);
    let defect = LogBlock::verify(&block, &context, at).unwrap_err();
    assert_eq!(defect.field, "used");
    let mut block = blocks[0];
    block[100] ^= 1;
    let defect = LogBlock::verify(&block, &context, lsn).unwrap_err();
    assert_eq!(defect.field, "crc");
}

/// Payloads that end in the middle, or do not end.
#[test]
fn what_is_behind_or_missing_is_noticed() {
    let context = context();
    let blocks = sample(&context);
    assert!(decode(&context, &blocks[..1]).is_err());
    assert!(decode(&context, &[]).is_err());
    let twice: std::vec::Vec<Block> = blocks.iter().chain(&blocks).copied().collect();
    assert_eq!(decode(&context, &twice).unwrap_err().field, "commit");
    let mut longer = blocks;
    let used = &mut LogBlock::of_mut(&mut longer[1]).head.used;
    used.set(used.get() + 8);
    assert_eq!(decode(&context, &longer).unwrap_err().field, "commit");
}

/// Any bytes: an error or records, no panic, and an end.
#[test]
fn hostile_payloads() {
    let context = context();
    let blocks = sample(&context);
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) as usize
    };
    let mut good = 0;
    for _ in 0..20_000 {
        let mut damaged = blocks.clone();
        for _ in 0..=random() % 4 {
            let block = random() % damaged.len();
            // Heads of records are more interesting than what is in them.
            let at = [random() % BLOCK_SIZE, 32 + random() % 64][random() % 2];
            damaged[block][at] = [0, 1, 0xff, random() as u8][random() % 4];
        }
        good += usize::from(decode(&context, &damaged).is_ok());
    }
    assert!(good > 100, "{good}");
}

#[test]
fn positions_wrap() {
    let log = BlockRange::new(DiskBlock(100), 11);
    let first = first_lsn(11);
    assert_eq!(first, Lsn(40960));
    assert_eq!(block_at(log, first), DiskBlock(101));
    assert_eq!(block_at(log, Lsn(40960 + 9 * 4096)), DiskBlock(110));
    assert_eq!(block_at(log, Lsn(40960 + 10 * 4096)), DiskBlock(101));
    assert_eq!(blocks_before_wrap(first, 11), 10);
    assert_eq!(blocks_before_wrap(Lsn(40960 + 9 * 4096), 11), 1);
    assert!(is_start(first, 11) && !is_start(Lsn(36864), 11) && !is_start(Lsn(40961), 11));
    // A geometry without a log does not divide by zero.
    assert_eq!(body_index(Lsn(4096), 1), 0);
    assert_eq!(body_index(Lsn(4096), 0), 0);
}
