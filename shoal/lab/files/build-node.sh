#!/bin/sh
# Runs in a container of the base image; what it leaves becomes the node image.
# SHOAL_PACKAGES are installed; SHOAL_DOWNLOADS are only fetched, so that roles install them without a network.
set -eu
export DEBIAN_FRONTEND=noninteractive
files=/shoal-build

# Public base images throw downloaded packages and lists away after each call.
rm -f /etc/apt/apt.conf.d/docker-* /etc/dpkg/dpkg.cfg.d/shoal-build
printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
chmod 755 /usr/sbin/policy-rc.d
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends -o Dpkg::Options::=--force-unsafe-io $SHOAL_PACKAGES
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends --download-only $SHOAL_DOWNLOADS
rm /usr/sbin/policy-rc.d

install -m 755 "$files/lab-init" /usr/local/sbin/lab-init
install -m 644 "$files/ssh-hostkeys.service" /etc/systemd/system/ssh-hostkeys.service
systemctl enable ssh.service ssh-hostkeys.service
# The apt timers would take the package lock in the middle of a deploy; the others have no terminal or disk here.
systemctl mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer dpkg-db-backup.timer \
    getty.target systemd-logind.service
mkdir -p /etc/systemd/journald.conf.d /etc/ssh/sshd_config.d
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n' >/etc/systemd/journald.conf.d/10-lab.conf
# One multiplexed connection carries a whole deploy.
printf 'MaxSessions 64\nMaxStartups 64\nUseDNS no\nPasswordAuthentication no\n' >/etc/ssh/sshd_config.d/10-lab.conf

printf 'LANG=C.UTF-8\n' >/etc/default/locale

useradd --create-home --shell /bin/bash --uid 1000 shoal
install -d -m 700 -o shoal -g shoal /home/shoal/.ssh
printf 'shoal ALL=(ALL) NOPASSWD: ALL\n' >/etc/sudoers.d/shoal
chmod 440 /etc/sudoers.d/shoal

# Each machine makes an identity of its own at its first boot.
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id
: >/etc/machine-id
# Nothing of the machine that built the image stays in it: sources, settings and credentials come at run time.
rm -rf "$files" /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/auth.conf.d/* /etc/apt/apt.conf.d/80shoal-host
rm -f /usr/local/share/ca-certificates/shoal-host-*
update-ca-certificates --fresh >/dev/null
rm -f /var/log/apt/* /var/log/dpkg.log /var/log/bootstrap.log
