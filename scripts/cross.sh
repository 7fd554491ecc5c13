#!/usr/bin/env bash
# cross.sh ARCHITECTURE [TEST...] - build for another machine with warnings as errors, and run the unit tests there.
#
# SPDX-License-Identifier: MIT
#
# ARCHITECTURE: s390x (most significant byte first), i386 or armhf (32 bits), arm64 (NEON). By hand, not in CI; on Debian.
# The tests run below qemu-user. The libraries of the other machine are fetched as packages and unpacked in
# build-ARCHITECTURE/sysroot;
# the system knows nothing of them. TEST: names of tests; default all unit tests but "sandbox", whose seccomp filter
# qemu-user does not know.
set -euo pipefail
cd "$(dirname "$0")/.."
top=$PWD

case "${1:-}" in
    s390x) triple=s390x-linux-gnu runner=qemu-s390x-static family=s390x endian=big ;;
    i386) triple=i686-linux-gnu runner=qemu-i386-static family=x86 endian=little ;;
    armhf) triple=arm-linux-gnueabihf runner=qemu-arm-static family=arm endian=little ;;
    arm64) triple=aarch64-linux-gnu runner=qemu-aarch64-static family=aarch64 endian=little ;;
    *)
        echo "usage: cross.sh s390x|i386|armhf|arm64 [TEST...]" >&2
        exit 1
        ;;
esac
arch=$1
shift
scripts/install-deps.sh build "cross-$arch"

build=$top/build-$arch
sysroot=$build/sysroot
meson=meson
[ ! -x /usr/bin/meson ] || meson=/usr/bin/meson

# With lists, state and cache of its own, apt needs no root and leaves the system's alone.
fetch() {
    local state=$build/apt
    local apt=(apt-get -q -o "Dir::State=$state" -o "Dir::State::status=$state/status" -o "Dir::Cache=$state/cache"
        -o "APT::Architecture=$arch" -o "APT::Architectures::=$arch" -o "APT::Sandbox::User=$(id -un)")
    rm -rf "$sysroot" "$state"
    mkdir -p "$sysroot" "$state/lists/partial" "$state/cache/archives/partial"
    : >"$state/status"
    "${apt[@]}" update || echo "cross.sh: not every list was fetched; going on with those that were"
    (cd "$state/cache" && "${apt[@]}" download zlib1g zlib1g-dev libzstd1 libzstd-dev libxxhash0 libxxhash-dev \
        libcmocka0 libcmocka-dev libjson-c5 libjson-c-dev)
    for package in "$state"/cache/*.deb; do
        dpkg -x "$package" "$sysroot"
    done
    touch "$sysroot/complete"
}
[ -e "$sysroot/complete" ] || fetch

libs=$(dirname "$(find "$sysroot/usr/lib" -name libcmocka.so)")
cat >"$build/cross.txt" <<CROSS
[binaries]
c = '$triple-gcc'
ar = '$triple-ar'
strip = '$triple-strip'
pkgconfig = 'pkg-config'
exe_wrapper = ['$runner', '-L', '/usr/$triple', '-E', 'LD_LIBRARY_PATH=$libs:/usr/$triple/lib']

[properties]
sys_root = '$sysroot'
pkg_config_libdir = '$libs/pkgconfig'

[built-in options]
c_args = ['-isystem', '$sysroot/usr/include']
c_link_args = ['-L$libs', '-Wl,-rpath-link,$libs']

[host_machine]
system = 'linux'
cpu_family = '$family'
cpu = '$family'
endian = '$endian'
CROSS

[ -f "$build/build/build.ninja" ] ||
    "$meson" setup --cross-file "$build/cross.txt" -Dtests=enabled -Dman=false -Dwerror=true "$build/build"
"$meson" compile -C "$build/build"

tests=("$@")
if [ ${#tests[@]} -eq 0 ]; then
    mapfile -t tests < <("$meson" test -C "$build/build" --suite unit --list 2>/dev/null |
        sed -n 's/^qcbm:unit \/ //p' | grep -vx sandbox)
fi
"$meson" test -C "$build/build" --no-rebuild --print-errorlogs --suite unit -t 10 "${tests[@]}"
