#!/bin/sh
# Mounts the data disk at /var/lib/shoal and its videos folder at /videos; formats it only where it is blank.
# Runs at every start of the machine and changes nothing the second time.
set -eu
disk=/dev/disk/by-id/google-shoal-data
state=/var/lib/shoal
videos=/videos

[ -e "$disk" ] || { echo "shoal: no data disk is attached" >&2; exit 1; }
# blkid ends with 2 where it finds nothing on the disk, and only then may it be formatted.
found=0
blkid -p "$disk" >/dev/null 2>&1 || found=$?
case $found in
0) ;;
2) mkfs.ext4 -q -m 0 -L shoal-data "$disk" ;;
*) echo "shoal: what is on the data disk cannot be told (blkid ended with $found); it is left alone" >&2; exit 1 ;;
esac

mkdir -p "$state" "$videos"
if ! mountpoint -q "$state"; then
    mount -o discard,nosuid,nodev "$disk" "$state"
fi
# A data disk that was made larger in the stack's settings grows here.
resize2fs "$disk" >/dev/null 2>&1 || true
mkdir -p "$state/videos"
if ! mountpoint -q "$videos"; then
    mount --bind "$state/videos" "$videos"
fi
