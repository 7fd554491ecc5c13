#!/usr/bin/env bash
# install-deps.sh PURPOSE... - install the Debian packages that a purpose needs and that are missing.
#
# SPDX-License-Identifier: MIT
#
# PURPOSE: cross-s390x, cross-i386, cross-armhf, cross-arm64 (scripts/cross.sh), build (library and tool), demo (scripts/demo.sh),
# test (scripts/test.sh), bindings (docs/bindings.md), packages (docs/packaging.md),
# quick (scripts/test.sh --quick), ci (.ci/run), fuzz (fuzz/README.md).
# Nothing is fetched, and no root is needed, when all is there. QCBM_NO_INSTALL=1 leaves the system alone.
set -euo pipefail

packages_of() {
    case "$1" in
        build) echo gcc libc6-dev meson ninja-build pkg-config python3 zlib1g-dev libxxhash-dev libzstd-dev \
            libjson-c-dev libseccomp-dev libssl-dev libnbd-dev ;;
        demo) echo qemu-utils libnbd-bin ;;
        # g++: the public headers must compile as C++.
        test) echo qemu-utils qemu-system-common libnbd-bin libcmocka-dev python3 strace g++ zsh fish virtnbdbackup \
            libvirt-clients thin-provisioning-tools nbdkit openssl slurmctld slurmd slurm-client munge postgresql sqlite3 parallel systemd \
            python3-yaml ;;
        # bindings: other languages, and their tests.
        bindings) echo python3-cffi python3-pytest python3-pip python3-setuptools python3-wheel mypy golang-go rustc cargo bindgen \
            valgrind qemu-utils ;;
        # packages: tarball, Debian packages and RPM, and a bare Debian to try them in.
        packages) echo debhelper dh-python python3-all python3-cffi python3-setuptools xz-utils git lintian rpm mmdebstrap ;;
        quick) echo libcmocka-dev python3 g++ ;;
        ci) echo clang lld clang-format libclang-rt-dev cppcheck shellcheck git ;;
        cross-s390x) echo gcc-s390x-linux-gnu libc6-dev-s390x-cross qemu-user-static ;;
        cross-i386) echo gcc-i686-linux-gnu libc6-dev-i386-cross qemu-user-static ;;
        cross-armhf) echo gcc-arm-linux-gnueabihf libc6-dev-armhf-cross qemu-user-static ;;
        cross-arm64) echo gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static ;;
        # llvm: llvm-cov and llvm-profdata. libFuzzer is in libclang-rt-dev.
        fuzz) echo clang llvm libclang-rt-dev afl++ qemu-utils ;;
        *)
            echo "install-deps.sh: no such purpose: $1 (see the head of this file)" >&2
            return 1
            ;;
    esac
}

is_installed() {
    # shellcheck disable=SC2016 # the ${...} is dpkg-query's
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        env DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null; then
        sudo env DEBIAN_FRONTEND=noninteractive "$@"
    else
        echo "install-deps.sh: neither root nor sudo; install by hand: ${missing[*]}" >&2
        return 1
    fi
}

[ $# -gt 0 ] || {
    echo "usage: install-deps.sh build|demo|test|bindings|packages|ci|fuzz ..." >&2
    exit 1
}

wanted=()
for purpose in "$@"; do
    list=$(packages_of "$purpose")
    read -r -a names <<<"$list"
    wanted+=("${names[@]}")
done

if [ "${QCBM_NO_INSTALL:-0}" != 0 ]; then
    exit 0
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "install-deps.sh: not a Debian system; what is needed is named there: ${wanted[*]}" >&2
    exit 0
fi

missing=()
for package in "${wanted[@]}"; do
    is_installed "$package" || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

# What apt and the packages' scripts say matters when it fails.
quietly() {
    local log status=0
    log=$(as_root "$@" </dev/null 2>&1) || status=$?
    [ "$status" -eq 0 ] || printf '%s\n' "$log" >&2
    return "$status"
}

echo "installing ${#missing[@]} packages and what they need: ${missing[*]}"
quietly apt-get -q -o DPkg::Lock::Timeout=300 update
quietly apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install "${missing[@]}"
