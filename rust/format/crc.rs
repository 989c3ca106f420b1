// SPDX-License-Identifier: GPL-2.0

//! Checksums.
//!
//! Every structure carries a CRC-32C (Castagnoli) over itself with the checksum field read as
//! zero. That of a block or inode slot is computed over the 8 bytes of the instance id followed by
//! the structure, so that a block of an earlier file system on the same device never passes, not
//! even one with the same uuid.

use super::units::Block;
use crate::sys;

/// Checksum state after the instance id; computed once per mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrcSeed(u32);

impl CrcSeed {
    /// The seed of the file system with this instance id.
    pub fn new(instance: u64) -> Self {
        Self(sys::crc32c(0, &instance.to_le_bytes()))
    }
}

/// CRC-32C of `head`, four zero bytes and `tail`, from `seed`.
fn around(seed: u32, head: &[u8], tail: &[u8]) -> u32 {
    sys::crc32c(sys::crc32c(sys::crc32c(seed, head), &[0; 4]), tail)
}

/// Checksum of a block whose checksum field is at byte 4.
pub fn block_crc(seed: CrcSeed, block: &Block) -> u32 {
    slot_crc(seed, block.as_slice())
}

/// Checksum of a structure whose checksum field is at byte 4: an inode slot, or a whole block.
///
/// A slice too short to have the field gives the checksum of what there is.
pub fn slot_crc(seed: CrcSeed, bytes: &[u8]) -> u32 {
    let (head, rest) = bytes.split_at_checked(4).unwrap_or((bytes, &[]));
    let (_, tail) = rest.split_at_checked(4).unwrap_or((rest, &[]));

    around(seed.0, head, tail)
}

/// Checksum of a superblock: unseeded (the instance id is inside), the field is at byte 8.
pub fn superblock_crc(bytes: &[u8]) -> u32 {
    let (head, rest) = bytes.split_at_checked(8).unwrap_or((bytes, &[]));
    let (_, tail) = rest.split_at_checked(4).unwrap_or((rest, &[]));

    around(0, head, tail)
}
