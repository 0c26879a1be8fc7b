# check.sh - ./dev check: everything that can be said about the code without the real model.
#
# Sourced by dev. Each step prints one line; what a failing step wrote follows it, and the others go
# on, so that one run shows all that is wrong. Builds are kept in build-check/ for the next time.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh

case ${1:-} in
'' | --fast) ;;
*) fail "check takes --fast or nothing, not '$1'" ;;
esac
check_failures=
check_log=build-check/log
mkdir -p build-check

# step NAME COMMAND [ARGUMENT...]
step() {
    step_name=$1
    shift
    step_start=$(date +%s)
    if ("$@") >"$check_log" 2>&1; then
        # The last line of a check that counts something says what it looked at.
        printf 'ok    %-14s %4d s  %s\n' "$step_name" $(($(date +%s) - step_start)) \
            "$(tail -n 1 "$check_log" | cut -c 1-60)"
    else
        printf 'FAIL  %-14s %4d s\n' "$step_name" $(($(date +%s) - step_start))
        tail -n 100 "$check_log" | sed 's/^/      /'
        check_failures="$check_failures $step_name"
    fi
}

# The files are found without git, which lists none in an archive or in another user's clone.
check_format() {
    find include src cli bench tests tools -name '*.[ch]' -exec \
        clang-format-14 --dry-run -Werror {} + && echo
}

# Most scripts of tools/oracle need packages that are not here, so they are read and not run.
check_scripts() {
    for script in dev .ci/run tools/*.sh tests/cli/*.sh; do
        sh -n "$script" || return 1
    done
    find bench tools tests -name '*.py' -exec python3 -c 'import ast, sys
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as file:
        ast.parse(file.read(), path)' {} + && echo
}

check_doc() {
    doxygen Doxyfile && rm -rf build-doc && echo
}

# Goes on after an error, to show all of them, and prints nothing else.
check_ninja() {
    ninja --quiet -C "$1" -j 2 -k 0
}

# configure_check NAME COMPILER [OPTION...]: a build that is made to be run once. Lines are enough
# for a trace, where variables take gcc a third of its time over the kernels, and gold links a
# hundred tests in a third of the time of ld.
configure_check() {
    check_build=build-check/$1
    check_linker=bfd
    # What gold links writes a file when TSan starts, which a limit on their size cuts: SIGBUS.
    if [ "$1" != tsan ] && command -v ld.gold >/dev/null; then
        check_linker=gold
    fi
    check_compiler=$2
    shift 2
    CC=$check_compiler CC_LD=$check_linker configure "$check_build" --buildtype=debugoptimized \
        -Ddebug=false -Dc_args=-g1 "$@"
}

build_gcc() {
    configure_check gcc gcc -Dwerror=true && check_ninja build-check/gcc && echo
}

# For its warnings: nothing of it is run.
build_clang() {
    configure_check clang clang-14 -Doptimization=1 -Dwerror=true &&
        check_ninja build-check/clang && echo
}

# An installation is what a user of the library gets: headers that find each other, a pkg-config file
# that is enough to build with, a library and a program that run, a manual page, a completion.
check_install() {
    install_prefix=$root/build-check/install
    rm -rf "$install_prefix"
    DESTDIR=$install_prefix meson install -C build-check/gcc --no-rebuild --quiet || return 1
    pkg_config_dir=$(dirname "$(find "$install_prefix" -name kerf.pc)")
    library_dir=$(dirname "$pkg_config_dir")
    PKG_CONFIG_PATH=$pkg_config_dir PKG_CONFIG_SYSROOT_DIR=$install_prefix
    export PKG_CONFIG_PATH PKG_CONFIG_SYSROOT_DIR
    # shellcheck disable=SC2046 # one word a flag
    gcc -std=c11 -Wall -Werror $(pkg-config --cflags kerf) tools/check_install.c \
        -o build-check/installed $(pkg-config --libs kerf) || return 1
    LD_LIBRARY_PATH=$library_dir build-check/installed || return 1
    LD_LIBRARY_PATH=$library_dir "$install_prefix/usr/local/bin/kerf" --version || return 1
    [ -s "$install_prefix/usr/local/share/man/man1/kerf.1" ] || return 1
    bash -n "$install_prefix/usr/local/share/bash-completion/completions/kerf"
}

# Asserts are on in these two builds. -O1 keeps the traces readable and the suite fast.
build_asan() {
    configure_check asan gcc -Doptimization=1 -Db_sanitize=address,undefined \
        -Db_lundef=false -Dwerror=false &&
        check_ninja build-check/asan && echo
}

build_tsan() {
    configure_check tsan gcc -Doptimization=1 -Db_sanitize=thread \
        -Db_lundef=false -Dwerror=false &&
        check_ninja build-check/tsan && echo
}

# The suite without the real model, which is too slow under a sanitizer; tiny random checkpoints
# stand for it.
suite_in() {
    unset KERF_TEST_MODEL
    suite_directory=$1
    shift
    run_suite "$suite_directory" --no-suite slow --timeout-multiplier 5 "$@"
}

suite_asan() {
    ASAN_OPTIONS=detect_stack_use_after_return=1:strict_string_checks=1 \
        UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 suite_in build-check/asan
}

# Kernels that lay a process out at random over more bits than gcc 12's runtime expects make it give
# up at the start; without randomization it runs everywhere.
suite_tsan() {
    tsan_wrapper=
    if setarch -R true 2>/dev/null; then
        tsan_wrapper="--wrapper=setarch -R"
    fi
    # Kernels and parsers know no threads; what calls them from several is in the other suites.
    TSAN_OPTIONS=halt_on_error=1 suite_in build-check/tsan --no-suite kernels --no-suite fuzz \
        --no-suite faults ${tsan_wrapper:+"$tsan_wrapper"}
}

# The kernels' own tests set the instruction set themselves; this is what stands on them.
suite_isa() {
    KERF_ISA=$1 suite_in build-check/gcc --suite unit
}

step "format" check_format
step "scripts" check_scripts
step "lint" python3 tools/lint.py
step "layers" python3 tools/layers.py
step "headers" python3 tools/headers.py
step "documentation" check_doc
step "gcc" build_gcc
step "install" check_install
step "symbols" python3 tools/symbols.py build-check/gcc/src/libkerf.so
if [ "${1:-}" != --fast ]; then
    step "clang" build_clang
    step "isa generic" suite_isa generic
    step "isa avx2" suite_isa avx2
    step "isa avxvnni" suite_isa avxvnni
    step "asan build" build_asan
    step "asan+ubsan" suite_asan
    step "tsan build" build_tsan
    step "tsan" suite_tsan
fi
[ -z "$check_failures" ] || fail "check failed:$check_failures"
note "check passed"
