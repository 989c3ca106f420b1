// SPDX-License-Identifier: GPL-2.0

//! Positions in a directory, as readdir(3) and telldir(3) know them.
//!
//! The position of an entry is its key, which has 63 bits. Callers with positions of 32 bits
//! (NFSv2 and v3 as the server sees fit, 32-bit programs) get the upper 31 bits of the hash, as
//! from ext4: positions of 32-bit programs are signed. Names whose hashes differ in the last bit
//! only, or not at all, then share a position, and it does not say where to go on. The open
//! directory remembers the key behind the last short position it gave out ([`Short`]):
//!
//! * reading on, whatever the size of the buffer, sees every name once;
//! * a seek to a position begins with the first of the names that share it, so some of them may
//!   come again, and none is left out;
//! * an NFS server opens the directory anew for each request, which is such a seek. More names of
//!   one short position than fit in a reply keep it from getting on (ext4 has the same limit). The
//!   hash is keyed, so nobody can make such names at will.
//!
//! Positions 0 and 1 are "." and "..".

/// First position that is not a dot entry.
const FIRST: u64 = 2;

/// Bits of a key that a short position lacks.
const SHIFT: u32 = 32;

/// The short position behind the last entry.
pub const SHORT_END: u64 = 0x7fff_ffff;

/// The position behind the last entry.
pub const END: u64 = i64::MAX as u64;

/// Positions of 32 bits in an open directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Short {
    /// The key behind the position that was given out last, 0 if the position is where a seek went.
    pub exact: u64,
}

impl Short {
    /// The short position of a key.
    fn shorten(key: u64) -> u64 {
        (key >> SHIFT).clamp(FIRST, SHORT_END - 1)
    }

    /// The key to go on from at `position`.
    pub fn key(&self, position: u64) -> u64 {
        if position >= SHORT_END {
            END
        } else if position < FIRST {
            position
        } else if self.exact != 0 && Self::shorten(self.exact) == position {
            self.exact
        } else if position == FIRST {
            // All that is before and was lifted to here.
            FIRST
        } else {
            position << SHIFT
        }
    }

    /// Moves to `key`, and gives the short position for it.
    pub fn move_to(&mut self, key: u64) -> u64 {
        if key >= END {
            self.exact = 0;
            return SHORT_END;
        }
        self.exact = key;
        Self::shorten(key)
    }
}

#[cfg(all(test, unit_tests))]
mod tests {
    use super::*;
    use crate::format::hash;

    #[test]
    fn dots_and_end_are_their_own() {
        let mut short = Short::default();
        assert_eq!(short.key(0), 0);
        assert_eq!(short.key(1), 1);
        assert_eq!(short.key(SHORT_END), END);
        assert_eq!(short.move_to(END), SHORT_END);
        assert_eq!(short.key(SHORT_END), END);
    }

    /// All keys there are: hashes 1 to 2^32 - 2.
    fn keys() -> impl Iterator<Item = u64> {
        let edges = [
            1,
            2,
            3,
            4,
            5,
            6,
            0x7fff_ffff,
            0x8000_0000,
            0xffff_fffd,
            0xffff_fffe,
        ];
        edges
            .into_iter()
            .flat_map(|hash| [0, 1, 7, hash::DISAMBIGUATOR_MAX].map(|dis| hash::key(hash, dis)))
    }

    #[test]
    fn reading_on_is_exact() {
        for key in keys() {
            let mut short = Short::default();
            let position = short.move_to(key);
            assert!((FIRST..SHORT_END).contains(&position), "{key:#x}");
            assert_eq!(short.key(position), key);
        }
    }

    #[test]
    fn a_seek_leaves_out_nothing() {
        for key in keys() {
            let position = Short::default().move_to(key);
            let begin = Short::default().key(position);
            assert!(begin <= key, "{key:#x}");
            // and does not begin with names of another position
            assert!(Short::shorten(begin) == position, "{key:#x}");
        }
    }

    #[test]
    fn positions_are_in_the_order_of_keys() {
        let mut last = 0;
        for key in keys() {
            let position = Short::default().move_to(key);
            assert!(position >= last, "{key:#x}");
            last = position;
        }
    }

    #[test]
    fn another_position_forgets() {
        let mut short = Short::default();
        let far = short.move_to(hash::key(0x9000_0000, 3));
        assert_eq!(short.key(far - 1), (far - 1) << SHIFT);
    }
}
