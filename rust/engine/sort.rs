// SPDX-License-Identifier: GPL-2.0

//! Sorting in place.
//!
//! The sorts of `core` keep a buffer of a kilobyte on the stack, of which the kernel has 16 KiB for
//! everything, and can panic over an inconsistent order. This is a heapsort: no memory, at most
//! `2 n log n` comparisons whatever the input, and with any order it ends.

/// Sorts by what `key` says, ascending; equal elements may change places.
pub fn sort_by_key<T, K: Ord>(v: &mut [T], key: impl Fn(&T) -> K) {
    let n = v.len();
    for root in (0..n / 2).rev() {
        sift_down(v, root, &key);
    }
    for end in (1..n).rev() {
        v.swap(0, end);
        let (heap, _) = v.split_at_mut(end);
        sift_down(heap, 0, &key);
    }
}

/// Makes the heap below `root` one again, of which only `root` may be too small.
fn sift_down<T, K: Ord>(heap: &mut [T], mut root: usize, key: &impl Fn(&T) -> K) {
    loop {
        let left = root.saturating_mul(2).saturating_add(1);
        let right = left.saturating_add(1);
        let Some(child) = heap.get(left).map(key) else {
            return;
        };
        let (at, child) = match heap.get(right).map(key) {
            Some(other) if other > child => (right, other),
            _ => (left, child),
        };
        match heap.get(root).map(key) {
            Some(parent) if parent < child => heap.swap(root, at),
            _ => return,
        }
        root = at;
    }
}

#[cfg(all(test, unit_tests))]
mod tests {
    use super::sort_by_key;

    #[test]
    fn sorts_like_the_standard_library() {
        let mut seed = 1u32;
        for n in 0..200usize {
            let mut v: Vec<u32> = (0..n)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    seed >> 27
                })
                .collect();
            let mut want = v.clone();
            want.sort_unstable();
            sort_by_key(&mut v, |x| *x);
            assert_eq!(v, want);
        }
    }

    #[test]
    fn sorted_and_reversed() {
        let mut v: Vec<i32> = (0..1000).collect();
        sort_by_key(&mut v, |x| *x);
        assert!(v.is_sorted());
        sort_by_key(&mut v, |x| -x);
        assert!(v.iter().rev().is_sorted());
    }
}
