#!/bin/bash
# Print the path of an unpacked kernel source tree, fetching it if need be.
#
#   KSRC=DIR qemu/get-source.sh	use DIR
#   qemu/get-source.sh			the Debian package linux-source-$series
#
# The package comes from trixie-backports; a backports suite keeps only its
# newest version, so other suites are tried next, and at last the newest
# linux-source any of them has.  apt checks signatures as usual; it works in
# private directories, so the configuration of the system stays as it is.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"

KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg
SUITES="trixie-backports forky sid forky-backports trixie"
APT=$LATCHFS_CACHE/apt

# The URI of the host's own Debian archive, from a deb822 or a one-line entry.
# A security archive does not carry these suites.
debian_uri() {
	local f
	for f in /etc/apt/sources.list.d/*.sources; do
		[ -e "$f" ] || continue
		awk 'tolower($1) == "uris:" { for (i = 2; i <= NF; i++)
			if ($i ~ /\/debian\/?$/) { print $i; exit } }' "$f"
	done
	for f in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[ -e "$f" ] || continue
		awk '$1 == "deb" { for (i = 2; i <= NF; i++)
			if ($i ~ /\/debian\/?$/) { print $i; exit } }' "$f"
	done
	# mirror lists and other unusual entries: apt knows what it made of them
	apt-get indextargets --format '$(REPO_URI)' 2>/dev/null |
		grep -E '/debian/?$' || true
}

apt_private() {
	local tool=$1
	shift
	"$tool" -q \
		-o Dir::Etc::sourcelist=/dev/null \
		-o Dir::Etc::sourceparts="$APT/sources" \
		-o Dir::State::lists="$APT/lists" \
		-o Dir::State::status=/dev/null \
		-o Dir::Cache="$APT/cache" \
		-o APT::Sandbox::User=root \
		-o APT::Get::List-Cleanup=1 \
		"$@"
}

# suite_packages SUITE: names of the linux-source packages SUITE has
suite_packages() {
	local uri=$1 suite=$2
	rm -rf "$APT/sources" "$APT/lists"
	mkdir -p "$APT/sources" "$APT/lists/partial" "$APT/cache/archives/partial"
	cat >"$APT/sources/latchfs.sources" <<-END
		Types: deb
		URIs: $uri
		Suites: $suite
		Components: main
		Signed-By: $KEYRING
	END
	apt_private apt-get update >"$APT/update.log" 2>&1 || return 1
	apt_private apt-cache pkgnames linux-source- |
		grep -E '^linux-source-[0-9]+\.[0-9]+$' | sort -V
}

take_package() {
	local pkg=$1 deb tarball work=$APT/unpack
	rm -rf "$work" "$APT"/*.deb
	mkdir -p "$work"
	(cd "$APT" && apt_private apt-get download "$pkg" >"$APT/download.log" 2>&1) ||
		die "cannot download $pkg: $(tail -n 1 "$APT/download.log")"
	deb=$(ls "$APT"/"${pkg}"_*.deb)
	dpkg-deb -x "$deb" "$work"
	tarball=$(ls "$work"/usr/src/linux-source-*.tar.*)
	say "kernel source: unpacking $(basename "$deb")"
	mkdir "$work/tree"
	tar -xf "$tarball" -C "$work/tree" --strip-components=1
	rm -rf "$deb"
	install_tree "$work/tree"
	rm -rf "$work"
}

install_tree() {
	local tree=$1 version dest
	version=$(make -s --no-print-directory -C "$tree" kernelversion)
	dest=$LATCHFS_CACHE/src/linux-$version
	mkdir -p "$LATCHFS_CACHE/src"
	if [ ! -d "$dest" ]; then
		mv "$tree" "$dest"
	fi
	ln -sfn "linux-$version" "$LATCHFS_CACHE/src/current"
}

fetch() {
	local uri suite pkgs newest='' newest_suite=''
	# a second process may have been here while this one waited for the lock
	[ ! -e "$LATCHFS_CACHE/src/current/Makefile" ] || return 0
	[ -e "$KEYRING" ] || die "no $KEYRING: not a Debian system? Give an unpacked kernel source with KSRC=DIR"
	mkdir -p "$APT"
	uri=$(debian_uri | sed -n 1p)
	[ -n "$uri" ] || die "no Debian archive in the apt configuration of this machine: give KSRC=DIR"
	for suite in $SUITES; do
		say "kernel source: looking for linux-source-$LATCHFS_KERNEL_SERIES in $suite"
		pkgs=$(suite_packages "$uri" "$suite") || continue
		if grep -qx "linux-source-$LATCHFS_KERNEL_SERIES" <<<"$pkgs"; then
			take_package "linux-source-$LATCHFS_KERNEL_SERIES"
			return 0
		fi
		pkgs=$(tail -n 1 <<<"$pkgs")
		if [ -n "$pkgs" ] && [ "$(printf '%s\n' "$newest" "$pkgs" | sort -V | tail -n 1)" != "$newest" ]; then
			newest=$pkgs newest_suite=$suite
		fi
	done
	[ -n "$newest" ] || die "no suite of the Debian archive could be read: $(tail -n 1 "$APT/update.log")"
	say "kernel source: WARNING: no suite has $LATCHFS_KERNEL_SERIES any more, taking $newest from $newest_suite"
	suite_packages "$uri" "$newest_suite" >/dev/null
	take_package "$newest"
}

if [ -n "${KSRC:-}" ]; then
	[ -e "$KSRC/Kbuild" ] || die "KSRC=$KSRC is not a kernel source tree"
	(cd "$KSRC" && pwd)
	exit 0
fi
locked source fetch >&2
readlink -f "$LATCHFS_CACHE/src/current"
