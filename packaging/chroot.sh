#!/usr/bin/env bash
# chroot.sh DEBS [BARE.tar] - the Debian packages in folder DEBS installed in a bare Debian 12, and the demo from them
#
# SPDX-License-Identifier: MIT
#
# As root. BARE.tar is a Debian with apt and nothing else; made by mmdebstrap, and kept under that name, if it is not there.
set -euo pipefail
# shellcheck source=packaging/lib.sh
. "$(dirname "$0")/lib.sh"
debs=$(cd "${1:?usage: chroot.sh DEBS [BARE.tar]}" && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/qcbm-chroot.XXXXXX")
bare=${2:-$work/bare.tar}
chroot=$work/root
# Nothing in it may outlive this: what is mounted goes first.
finish() {
    umount "$chroot/proc" 2>/dev/null || true
    umount "$chroot/dev" 2>/dev/null || true
    mountpoint -q "$chroot/dev" 2>/dev/null || rm -rf "$work"
}
trap finish EXIT

[ -f "$bare" ] || mmdebstrap --quiet --variant=apt bookworm "$bare" || die "mmdebstrap made no Debian"
mkdir "$chroot"
tar -C "$chroot" -xf "$bare" --exclude='./dev/*'
mount -t proc proc "$chroot/proc"
mount --bind /dev "$chroot/dev"
cp /etc/resolv.conf "$chroot/etc/" 2>/dev/null || true
cp -r /etc/apt/apt.conf.d/. "$chroot/etc/apt/apt.conf.d/" 2>/dev/null || true
mkdir "$chroot/debs" "$chroot/demo"
cp "$debs"/*.deb "$chroot/debs/"
cp -r "$root/scripts" "$root/examples" "$chroot/demo/"
in_it() {
    chroot "$chroot" env TMPDIR=/tmp DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 "$@"
}
quietly() {
    in_it "$@" >"$work/log" 2>&1 || die "$*: $(tail -n 30 "$work/log")"
}

quietly apt-get -q update
quietly sh -c 'apt-get -q -y --no-install-recommends install /debs/*.deb'
echo "installed: $(in_it dpkg-query -W libqcbm0 libqcbm-dev qcbm python3-qcbm | tr '\t\n' ' ,')"
quietly apt-get -q -y --no-install-recommends install qemu-utils libnbd-bin gcc libc6-dev pkg-config

for path in /usr/share/man/man1/qcbm-synth.1.gz /usr/share/man/man3/libqcbm-synth.3.gz /usr/share/doc/qcbm/docs/recipes.md.gz \
    /usr/share/bash-completion/completions/qcbm /usr/share/zsh/vendor-completions/_qcbm \
    /usr/share/fish/vendor_completions.d/qcbm.fish /usr/share/doc/libqcbm-dev/examples/synth_minimal.c; do
    [ -e "$chroot$path" ] || die "not installed: $path"
done
[ "$(in_it pkg-config --modversion libqcbm)" = "$version" ] || die "pkg-config does not know $version"
# shellcheck disable=SC2016 # expanded in there
quietly sh -c 'cd /demo && cc -o synth examples/synth_minimal.c $(pkg-config --cflags --libs libqcbm)'
[ "$(in_it python3 -c 'import qcbm; print(qcbm.__version__)')" = "$version" ] || die "Python has another version"
quietly python3 -c 'import qcbm; qcbm.nbd_lib().qcbm_nbd_ops()'
in_it env DEMO_INSTALLED=1 QCBM_NO_INSTALL=1 bash /demo/scripts/demo.sh
quietly apt-get -q -y purge libqcbm0 libqcbm-nbd0 libqcbm-dev qcbm python3-qcbm
left=$(find "$chroot/usr" -iname '*qcbm*')
[ -z "$left" ] || die "left behind by the purge: $left"
echo "chroot.sh: installed, tried and removed"
