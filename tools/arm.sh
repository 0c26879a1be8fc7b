# arm.sh - ./dev arm: the kernels of 64-bit Arm, in an emulator.
#
# Sourced by dev. Cross-compiles with gcc and runs the tests of units and kernels under qemu-user,
# the kernels' under each cap of KERF_ISA. Says nothing of speed.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

if ! dpkg --print-foreign-architectures | grep -qx arm64; then
    need_root "packages of arm64 are needed; as root: dpkg --add-architecture arm64"
    $as_root dpkg --add-architecture arm64
fi
cmd_deps arm
configure build-arm --buildtype=debugoptimized -Db_lto=false --cross-file tools/arm.ini
ninja_build build-arm
run_suite build-arm --suite unit --suite kernels --suite property --timeout-multiplier 20
