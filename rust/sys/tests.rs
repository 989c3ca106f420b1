// SPDX-License-Identifier: GPL-2.0

//! The conformance cases as a KUnit suite, run when the module is loaded on a kernel with KUnit.

use kernel::prelude::*;

#[kunit_tests(latchfs_sys)]
mod cases {
    use crate::sys::lock::OVERHEADS;
    use crate::sys_conformance::CASES;

    #[test]
    fn conformance() {
        let mut failed = 0;
        for (name, case) in CASES {
            if let Err(why) = case() {
                crate::sys::pr_err!("facade case {}: {}", name, why);
                failed += 1;
            }
        }
        assert_eq!(failed, 0);
    }

    #[test]
    fn a_lock_is_the_c_lock_and_its_home() {
        for (name, rust, c) in OVERHEADS {
            if rust != c {
                crate::sys::pr_err!("{} has {} bytes, C {}", name, rust, c);
            }
            assert_eq!(rust, c);
        }
    }
}
