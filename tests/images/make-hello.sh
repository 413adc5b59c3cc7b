#!/usr/bin/env bash
# Makes tests/images/hello, the OCI image layout that README and the tests import. Needs umoci, gcc and binutils.
#
#   make-hello.sh [DESTINATION]     (default: hello, next to this script; an existing one is replaced)
#
# Two tags on different manifests, which share their first two layers:
#   v1      /bin/hello, a static binary that prints /etc/greeting | /etc: greeting, os-release, hello.conf
#   latest  the same | a new /etc/greeting, /etc/hello.conf removed (a whiteout)
#
# Times, owners, names and the order of files are fixed, so one machine makes the same digests each time. Not fixed:
# the binary follows the compiler's version, the bytes of a gzip layer follow umoci's version, and the image is of the
# machine's architecture (the one in the repository: gcc 14, umoci 0.4.7, amd64).
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
destination=${1:-$here/hello}

when=2026-01-01T00:00:00Z
case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) echo "make-hello.sh: no system calls for $(uname -m) in hello.c" >&2; exit 1 ;;
esac
rootless=()
[ "$(id -u)" = 0 ] || rootless=(--rootless)

work=$(mktemp -d)
trap 'chmod -R u+rwX "$work"; rm -rf "$work"' EXIT
umask 022
image=$work/hello
rootfs=$work/bundle/rootfs

repack() {
    # A folder's time changes with its entries, so times are set last.
    find "$rootfs" -exec touch --no-dereference --date=$when {} +
    umoci repack --refresh-bundle --image "$image:$1" --history.author=oci-store --history.created=$when \
        --history.created_by="umoci repack: $2" "$work/bundle"
}
configure() {
    umoci config --no-history --image "$image:$1" --created=$when --author=oci-store --os=linux \
        --architecture=$architecture --config.entrypoint=/bin/hello --config.workingdir=/ \
        --config.env=PATH=/bin --config.label=org.opencontainers.image.title=hello \
        --config.label=org.opencontainers.image.version="$1"
}

umoci init --layout "$image"
umoci new --image "$image:v1"
umoci unpack "${rootless[@]}" --image "$image:v1" "$work/bundle"

mkdir -p "$rootfs/bin"
(cd "$here" && gcc -static -nostdlib -ffreestanding -fno-pie -no-pie -fno-stack-protector -fcf-protection=none \
    -fno-asynchronous-unwind-tables -Os -s -Wall -Wextra -Werror -Wl,--build-id=none -Wl,-z,noseparate-code \
    -o "$rootfs/bin/hello" hello.c)
strip --remove-section=.comment --remove-section=.note.gnu.property "$rootfs/bin/hello"
repack v1 "the binary"

mkdir -p "$rootfs/etc"
echo 'Hello from an OCI image.' > "$rootfs/etc/greeting"
printf 'NAME=hello\nID=hello\nVERSION_ID=1\n' > "$rootfs/etc/os-release"
printf '# Nobody reads this file; latest removes it.\n' > "$rootfs/etc/hello.conf"
repack v1 "its files"

umoci tag --image "$image:v1" latest
configure v1
echo 'Hello from the latest OCI image.' > "$rootfs/etc/greeting"
rm "$rootfs/etc/hello.conf"
repack latest "a new greeting"
configure latest

umoci gc --layout "$image"       # the manifests and configs of the steps between
chmod -R u=rwX,go=rX "$image"
rm -rf "$destination"
mv "$image" "$destination"
