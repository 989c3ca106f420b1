// SPDX-License-Identifier: GPL-2.0
/*
 * C functions that Rust can call, for macros and inline functions of the
 * kernel.  One file a topic under helpers/.  bindgen reads this file, so a
 * helper needs no declaration: latchfs_helper_foo() is bindings::foo().
 */
#include "bindings_helper.h"

#include "helpers/block.c"
#include "helpers/bulk.c"
#include "helpers/direct.c"
#include "helpers/falloc.c"
#include "helpers/ioctl.c"
#include "helpers/lock.c"
#include "helpers/mem.c"
#include "helpers/task.c"
#include "helpers/vfs.c"
#include "helpers/wait.c"
#include "helpers/work.c"
#include "helpers/xattr.c"

#ifdef __BINDGEN__
#include "helpers/layout.h"
#else
#include "layout_generated.h"
#endif
