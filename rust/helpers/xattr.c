// SPDX-License-Identifier: GPL-2.0
/*
 * What rust/kapi/xattr.rs and rust/kapi/acl.rs need of C.  A kernel without
 * POSIX ACLs has none of their functions.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/mount.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <linux/security.h>
#include <linux/user_namespace.h>
#include <linux/xattr.h>

#ifdef CONFIG_FS_POSIX_ACL
const u32 LATCHFS_CONST_SB_POSIXACL = SB_POSIXACL;
#else
const u32 LATCHFS_CONST_SB_POSIXACL = 0;
#endif
const int LATCHFS_CONST_ACL_TYPE_ACCESS = ACL_TYPE_ACCESS;
const int LATCHFS_CONST_ACL_TYPE_DEFAULT = ACL_TYPE_DEFAULT;
const u32 LATCHFS_CONST_FS_IOC_GETFSLABEL = FS_IOC_GETFSLABEL;
const u32 LATCHFS_CONST_FS_IOC_SETFSLABEL = FS_IOC_SETFSLABEL;

int latchfs_helper_init_security(struct inode *inode, struct inode *dir,
				 const struct qstr *name,
				 int (*initxattrs)(struct inode *inode,
						   const struct xattr *xattrs,
						   void *fs_data),
				 void *fs_data)
{
	return security_inode_init_security(inode, dir, name, initxattrs,
					    fs_data);
}

int latchfs_helper_acl_create(struct inode *dir, umode_t *mode,
			      struct posix_acl **default_acl,
			      struct posix_acl **acl)
{
	return posix_acl_create(dir, mode, default_acl, acl);
}

#ifdef CONFIG_FS_POSIX_ACL
struct posix_acl *latchfs_helper_acl_from_xattr(const void *value, size_t size)
{
	return posix_acl_from_xattr(&init_user_ns, value, size);
}

void *latchfs_helper_acl_to_xattr(const struct posix_acl *acl, size_t *size)
{
	return posix_acl_to_xattr(&init_user_ns, acl, size, GFP_KERNEL);
}

void latchfs_helper_acl_release(struct posix_acl *acl)
{
	posix_acl_release(acl);
}

int latchfs_helper_acl_update_mode(struct mnt_idmap *idmap,
				   struct inode *inode, umode_t *mode,
				   struct posix_acl **acl)
{
	return posix_acl_update_mode(idmap, inode, mode, acl);
}

struct posix_acl *latchfs_helper_get_inode_acl(struct inode *inode, int type)
{
	return get_inode_acl(inode, type);
}

int latchfs_helper_acl_chmod(struct posix_acl **acl, umode_t mode)
{
	return __posix_acl_chmod(acl, GFP_KERNEL, mode);
}

void latchfs_helper_set_cached_acl(struct inode *inode, int type,
				   struct posix_acl *acl)
{
	set_cached_acl(inode, type, acl);
}
#else
struct posix_acl *latchfs_helper_acl_from_xattr(const void *value, size_t size)
{
	return NULL;
}

void *latchfs_helper_acl_to_xattr(const struct posix_acl *acl, size_t *size)
{
	return ERR_PTR(-EOPNOTSUPP);
}

void latchfs_helper_acl_release(struct posix_acl *acl)
{
}

int latchfs_helper_acl_update_mode(struct mnt_idmap *idmap,
				   struct inode *inode, umode_t *mode,
				   struct posix_acl **acl)
{
	return -EOPNOTSUPP;
}

struct posix_acl *latchfs_helper_get_inode_acl(struct inode *inode, int type)
{
	return NULL;
}

int latchfs_helper_acl_chmod(struct posix_acl **acl, umode_t mode)
{
	return -EOPNOTSUPP;
}

void latchfs_helper_set_cached_acl(struct inode *inode, int type,
				   struct posix_acl *acl)
{
}
#endif
