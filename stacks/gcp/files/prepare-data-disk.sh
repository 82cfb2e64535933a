#!/bin/sh
# The data disk of a cloud node, as mount units: /var/lib/shoal, and its videos folder at /videos.
#
# The cloud's agent runs this late at every start. The first time it makes the units; from then on systemd mounts before
# whatever needs the folders (RequiresMountsFor), and this only keeps the units as they should be and lets a larger disk
# grow. With `wait` it is what the units wait for: it formats the disk where it is blank, and never one that holds
# something.
set -eu
disk=/dev/disk/by-id/google-shoal-data
state=/var/lib/shoal
videos=/videos
units=/etc/systemd/system
program=/usr/local/lib/shoal/data-disk
limit_s=300

wait_for_disk() {
    waited_s=0
    until [ -e "$disk" ]; do
        [ "$waited_s" -lt "$limit_s" ] || { echo "shoal: no data disk came within $limit_s s" >&2; exit 1; }
        sleep 1
        waited_s=$((waited_s + 1))
    done
    # blkid ends with 2 where it finds nothing on the disk, and only then may it be formatted.
    found=0
    blkid -p "$disk" >/dev/null 2>&1 || found=$?
    case $found in
    0) ;;
    2) mkfs.ext4 -q -m 0 -L shoal-data "$disk" ;;
    *) echo "shoal: what is on the data disk cannot be told (blkid ended with $found); it is left alone" >&2; exit 1 ;;
    esac
}

# Text on standard input, into the file; ends with 0 where it was another one before.
put() {
    new=$(cat)
    [ "$new" != "$(cat "$1" 2>/dev/null)" ] || return 1
    mkdir -p "$(dirname "$1")"
    printf '%s\n' "$new" >"$1.new"
    mv "$1.new" "$1"
}

case ${1:-} in
wait) wait_for_disk; exit 0 ;;
make-videos) mkdir -p "$state/videos" "$videos"; exit 0 ;;
esac

changed=
put "$program" <"$0" && changed=yes
chmod 755 "$program"
put "$units/shoal-data-disk.service" <<UNIT && changed=yes
[Unit]
Description=Waits for the data disk of this node; formats a blank one
DefaultDependencies=no
After=systemd-udevd.service
Before=shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
TimeoutStartSec=$((limit_s + 60))
ExecStart=$program wait
UNIT
put "$units/var-lib-shoal.mount" <<UNIT && changed=yes
[Unit]
Description=Run folders and videos of this node, on its data disk
DefaultDependencies=no
Requires=shoal-data-disk.service
After=shoal-data-disk.service
Before=umount.target
Conflicts=umount.target

[Mount]
What=$disk
Where=$state
Type=ext4
Options=discard,nosuid,nodev

[Install]
WantedBy=multi-user.target
UNIT
put "$units/shoal-videos-folder.service" <<UNIT && changed=yes
[Unit]
Description=The videos folder on the data disk
DefaultDependencies=no
RequiresMountsFor=$state
Before=shutdown.target
Conflicts=shutdown.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=$program make-videos
UNIT
put "$units/videos.mount" <<UNIT && changed=yes
[Unit]
Description=Videos of this node, on its data disk
DefaultDependencies=no
Requires=shoal-videos-folder.service
After=shoal-videos-folder.service
RequiresMountsFor=$state
Before=umount.target
Conflicts=umount.target

[Mount]
What=$state/videos
Where=$videos
Type=none
Options=bind

[Install]
WantedBy=multi-user.target
UNIT
# systemd gives a device 90 s otherwise, however long the unit above would wait.
put "$units/dev-disk-by\\x2did-google\\x2dshoal\\x2ddata.device.d/shoal.conf" <<UNIT && changed=yes
[Unit]
JobRunningTimeoutSec=$((limit_s + 60))
UNIT
# Containers of jobs see both folders: without them Docker would make them on the boot disk.
put "$units/docker.service.d/shoal-data-disk.conf" <<UNIT && changed=yes
[Unit]
RequiresMountsFor=$state $videos
UNIT
[ -z "$changed" ] || systemctl daemon-reload
systemctl enable --quiet var-lib-shoal.mount videos.mount
systemctl start var-lib-shoal.mount videos.mount
# A data disk that was made larger in the stack's settings grows here.
resize2fs "$disk" >/dev/null 2>&1 || true
