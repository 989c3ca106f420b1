/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Types whose fields the module uses and whose bindings come from the kernel
 * crate.  bindgen writes down what clang says of them; Rust asserts that the
 * kernel crate has the same (bindings.rs), and helpers.c that the C compiler
 * has.  Types with bindings of our own are checked field by field without
 * being named here.
 */
#define SIZE(type) \
	const size_t LATCHFS_SIZE_##type = sizeof(struct type)
#define OFFSET(type, field) \
	const size_t LATCHFS_OFFSET_##type##__##field = offsetof(struct type, field)

SIZE(address_space);
SIZE(address_space_operations);
SIZE(bio);
SIZE(block_device);
SIZE(dentry);
SIZE(file);
SIZE(file_operations);
SIZE(folio);
SIZE(inode);
SIZE(inode_operations);
SIZE(kiocb);
SIZE(kstat);
SIZE(kstatfs);
SIZE(mutex);
SIZE(rw_semaphore);
SIZE(super_block);
SIZE(super_operations);
SIZE(vm_area_struct);
SIZE(vm_fault);
SIZE(vm_operations_struct);
SIZE(work_struct);
SIZE(writeback_control);

OFFSET(inode, i_mapping);
OFFSET(inode, i_generation);
OFFSET(super_block, s_bdev_file);
OFFSET(super_block, s_fs_info);
OFFSET(super_block, s_time_max);
