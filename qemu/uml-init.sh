# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# The first process of a user-mode Linux, for qemu/uml.sh: sourced by the script that
# is made there, with SHARES and DISKS set.  MODULES is where modules are.

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
ln -sfn /proc/self/fd /dev/fd
ln -sfn fd/0 /dev/stdin
ln -sfn fd/1 /dev/stdout
ln -sfn fd/2 /dev/stderr
mount -t tmpfs -o mode=0755 tmpfs /run
mount -t debugfs debugfs /sys/kernel/debug
mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
mount -t cgroup2 cgroup2 /sys/fs/cgroup

for layer in etc home tmp usr var; do
	mkdir -p "/run/layers/$layer/upper" "/run/layers/$layer/work"
	mount -t overlay overlay "/$layer" -o \
		"xino=off,lowerdir=/$layer,upperdir=/run/layers/$layer/upper,workdir=/run/layers/$layer/work"
done
if [ -n "${MODULES:-}" ]; then
	# a host without a kernel of its own has no such folder
	mkdir -p /lib/modules
	mount -t tmpfs tmpfs /lib/modules
	ln -s "$MODULES" "/lib/modules/$(uname -r)"
fi
hostname latchfs
ip link set lo up 2>/dev/null
for share in "${SHARES[@]}"; do
	mkdir -p "$share"
	mount -t hostfs -o "$share" hostfs "$share"
done

# before the disks: its links for them are waited for
mkdir -p /run/udev /run/lock
for udevd in /lib/systemd/systemd-udevd /usr/lib/systemd/systemd-udevd; do
	if [ -x "$udevd" ]; then
		"$udevd" --daemon
		break
	fi
done
udevadm trigger 2>/dev/null
udevadm settle 2>/dev/null

mkdir -p /run/disks /dev/disk
mount -t tmpfs -o size=100G tmpfs /run/disks
for disk in "${DISKS[@]}"; do
	truncate -s "${disk#*:}" "/run/disks/${disk%%:*}"
	ln -sfn "$(losetup -f --show "/run/disks/${disk%%:*}")" "/dev/disk/${disk%%:*}"
done

power_off() {
	echo o >/proc/sysrq-trigger
	sleep 60
}
