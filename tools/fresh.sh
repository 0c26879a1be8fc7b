# fresh.sh - ./dev fresh [VERB...]: the front doors on a system that has nothing.
#
# Sourced by dev. Clones HEAD (what is committed, nothing else) into a bare Debian 12 made by
# debootstrap, and runs ./dev demo and ./dev test there, or the verbs given. Needs root.
#
# Limits: the chroot is a fresh file system, not a fresh machine: kernel, CPUs, memory, /proc, /sys,
# /dev and the network are this machine's. It takes along what says how this machine reaches the
# network (resolver, hosts, certificates, proxy and pip settings, apt's first Debian mirror and its
# proxy), so it does not show that those can be done without. Evaluation data of $KERF_DATA are
# mounted read-only where they exist. No cache goes in: packages and the model are fetched anew.
#
# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=sh disable=SC2154

[ "$(id -u)" = 0 ] || fail "fresh needs root, for debootstrap and chroot"
for fresh_tool in debootstrap git mountpoint; do
    command -v "$fresh_tool" >/dev/null 2>&1 || fail "fresh needs $fresh_tool: apt-get install it"
done

# The first Debian archive among apt's sources, of the old form or the new.
fresh_find_mirror() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.list \
        /etc/apt/sources.list.d/*.sources 2>/dev/null |
        sed -n -e 's/^deb \(\[[^]]*\] *\)\{0,1\}\([a-z]*:[^ ]*\) .*/\2/p' \
            -e 's/^URIs: *\([^ ]*\).*/\1/p' |
        grep '/debian/\{0,1\}$' | head -n 1
}

# Files keep their names inside.
fresh_copy() {
    for fresh_path in "$@"; do
        if [ -f "$fresh_path" ]; then
            mkdir -p "$fresh_root$(dirname "$fresh_path")"
            cp -L "$fresh_path" "$fresh_root$fresh_path"
        fi
    done
}

# The names of variables that say how the network is reached.
fresh_network_variables() {
    env | sed -n 's/^\([A-Za-z_]*\)=.*/\1/p' | grep -i -x -E \
        '(http|https|ftp|all|no)_proxy|pip_(index_url|cert|default_timeout)|ssl_cert_file|curl_ca_bundle|hf_endpoint' ||
        true
}

fresh_cleanup() {
    for fresh_mount in data dev sys proc; do
        if mountpoint -q "$fresh_root/$fresh_mount"; then
            umount -R "$fresh_root/$fresh_mount" || umount -R -l "$fresh_root/$fresh_mount" || true
        fi
    done
    # Never delete through a mount that would not go away.
    if grep -q " $fresh_root/" /proc/mounts; then
        note "still mounted, left behind: $fresh_root"
    else
        rm -rf "$fresh_root"
    fi
}

fresh_make_system() {
    fresh_mirror=$(fresh_find_mirror)
    fresh_mirror=${fresh_mirror:-http://deb.debian.org/debian}
    note "bare Debian 12 from $fresh_mirror"
    debootstrap --variant=minbase bookworm "$fresh_root" "$fresh_mirror" >"$fresh_root.log" 2>&1 || {
        tail -n 20 "$fresh_root.log" >&2
        fail "debootstrap failed, see $fresh_root.log"
    }
    rm -f "$fresh_root.log"
    fresh_copy /etc/resolv.conf /etc/hosts /etc/pip.conf
    # shellcheck disable=SC2046 # no blanks in these names
    fresh_copy $(grep -l -i proxy /etc/apt/apt.conf.d/* 2>/dev/null || true)
    # What this machine trusts, as a local addition: installing ca-certificates keeps it.
    if [ -f /etc/ssl/certs/ca-certificates.crt ]; then
        mkdir -p "$fresh_root/usr/local/share/ca-certificates"
        cp -L /etc/ssl/certs/ca-certificates.crt \
            "$fresh_root/usr/local/share/ca-certificates/this-machine.crt"
    fi
}

fresh_mount_all() {
    mount -t proc proc "$fresh_root/proc"
    for fresh_mount in sys dev; do
        mount --rbind "/$fresh_mount" "$fresh_root/$fresh_mount"
        mount --make-rslave "$fresh_root/$fresh_mount"
    done
    mkdir -p "$fresh_root/data"
    fresh_data=${KERF_DATA:-$root/../shared/data}
    if [ -d "$fresh_data" ]; then
        mount --bind "$fresh_data" "$fresh_root/data"
        mount -o remount,bind,ro "$fresh_root/data"
    fi
}

# fresh_run COMMAND...: in the clone, with a clean environment.
fresh_run() {
    set -- chroot "$fresh_root" /bin/sh -c 'cd /root/kerf && exec "$@"' sh "$@"
    for fresh_name in $(fresh_network_variables); do
        eval "fresh_value=\$$fresh_name"
        case $fresh_name in
        *CERT* | *CA_BUNDLE*)
            # The package makes this one; any other file is brought along under its name.
            [ "$fresh_value" = /etc/ssl/certs/ca-certificates.crt ] || fresh_copy "$fresh_value"
            ;;
        esac
        set -- "$fresh_name=$fresh_value" "$@"
    done
    env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 KERF_DATA=/data \
        ${CI:+"CI=$CI"} "$@"
}

fresh_root=$(mktemp -d "${TMPDIR:-/tmp}/kerf-fresh-XXXXXX")
chmod 755 "$fresh_root" # apt drops its rights to download, and must get in
trap fresh_cleanup EXIT
trap 'exit 130' INT TERM

[ $# -gt 0 ] || set -- demo test
fresh_make_system
fresh_mount_all
[ -z "$(git status --porcelain --untracked-files=no)" ] ||
    note "uncommitted changes are not part of a fresh clone"
git clone -q --no-hardlinks "$root" "$fresh_root/root/kerf"

fresh_summary=
for fresh_verb in "$@"; do
    note "fresh: ./dev $fresh_verb"
    fresh_start=$(date +%s)
    fresh_run ./dev "$fresh_verb" || fail "./dev $fresh_verb failed on a bare system"
    fresh_summary="$fresh_summary, $fresh_verb $(($(date +%s) - fresh_start)) s"
done
note "fresh passed: ${fresh_summary#, }"
