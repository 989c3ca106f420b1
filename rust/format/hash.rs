// SPDX-License-Identifier: GPL-2.0

//! Name hash and directory key.
//!
//! The hash is keyed with a random seed from the superblock, otherwise anyone can make a hundred
//! thousand names of one hash and turn each lookup into a scan. HalfSipHash-1-3 is the function
//! Linux uses for this on 32-bit machines (`hsiphash`); it is short, has no tables and needs no
//! 128-bit arithmetic.
//!
//! Key of an entry = readdir cookie: hash in bits 31..63, disambiguator in bits 0..31. Hashes 0 and
//! 2^32-1 are not used, so the cookies 0 and 1 (".", "..") and 2^63-1 (end) stay free.

/// Bits of the disambiguator.
pub const DISAMBIGUATOR_BITS: u32 = 31;
/// Largest disambiguator.
pub const DISAMBIGUATOR_MAX: u32 = (1 << DISAMBIGUATOR_BITS) - 1;
/// Smallest legal key.
pub const KEY_MIN: u64 = 1 << DISAMBIGUATOR_BITS;
/// Largest legal key.
pub const KEY_MAX: u64 = key(u32::MAX - 1, DISAMBIGUATOR_MAX);

/// State of HalfSipHash.
struct Half {
    v0: u32,
    v1: u32,
    v2: u32,
    v3: u32,
}

impl Half {
    fn new(key: u64) -> Self {
        let (k0, k1) = (key as u32, (key >> 32) as u32);
        Self {
            v0: k0,
            v1: k1,
            v2: 0x6c79_6765 ^ k0,
            v3: 0x7465_6462 ^ k1,
        }
    }

    fn round(&mut self) {
        self.v0 = self.v0.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(5) ^ self.v0;
        self.v0 = self.v0.rotate_left(16);
        self.v2 = self.v2.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(8) ^ self.v2;
        self.v0 = self.v0.wrapping_add(self.v3);
        self.v3 = self.v3.rotate_left(7) ^ self.v0;
        self.v2 = self.v2.wrapping_add(self.v1);
        self.v1 = self.v1.rotate_left(13) ^ self.v2;
        self.v2 = self.v2.rotate_left(16);
    }

    fn rounds(&mut self, n: u32) {
        for _ in 0..n {
            self.round();
        }
    }

    fn word(&mut self, word: u32, n: u32) {
        self.v3 ^= word;
        self.rounds(n);
        self.v0 ^= word;
    }
}

/// HalfSipHash with `C` rounds a word and `D` at the end, 32 bits of output.
fn half_sip<const C: u32, const D: u32>(key: u64, data: &[u8]) -> u32 {
    let mut state = Half::new(key);
    let mut words = data.chunks_exact(4);

    for word in words.by_ref() {
        let bytes = <[u8; 4]>::try_from(word).unwrap_or([0; 4]);
        state.word(u32::from_le_bytes(bytes), C);
    }

    let mut last = [0_u8; 4];
    for (to, from) in last.iter_mut().zip(words.remainder()) {
        *to = *from;
    }
    // The low byte of the length is the top byte of the last word.
    state.word(u32::from_le_bytes(last) | ((data.len() as u32) << 24), C);
    state.v2 ^= 0xff;
    state.rounds(D);
    state.v1 ^ state.v3
}

/// Hash of a name: never 0, never 2^32-1.
pub fn name_hash(seed: u64, name: &[u8]) -> u32 {
    match half_sip::<1, 3>(seed, name) {
        0 => 1,
        u32::MAX => u32::MAX - 1,
        hash => hash,
    }
}

/// The key of the entry with this hash and disambiguator.
#[inline]
pub const fn key(hash: u32, disambiguator: u32) -> u64 {
    ((hash as u64) << DISAMBIGUATOR_BITS) | (disambiguator & DISAMBIGUATOR_MAX) as u64
}

/// First key of a hash.
#[inline]
pub const fn first_key(hash: u32) -> u64 {
    key(hash, 0)
}

/// Last key of a hash.
#[inline]
pub const fn last_key(hash: u32) -> u64 {
    key(hash, DISAMBIGUATOR_MAX)
}

/// Hash part of a key.
#[inline]
pub const fn key_hash(key: u64) -> u32 {
    (key >> DISAMBIGUATOR_BITS) as u32
}

/// Disambiguator of a key.
#[inline]
pub const fn key_disambiguator(key: u64) -> u32 {
    (key as u32) & DISAMBIGUATOR_MAX
}

/// Whether a directory entry can have this key.
#[inline]
pub const fn key_is_legal(key: u64) -> bool {
    key >= KEY_MIN && key <= KEY_MAX
}

#[cfg(all(test, unit_tests))]
mod tests;
