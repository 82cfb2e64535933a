# An image, a container without a restart policy and a volume of the owner's, without any registry.
set -e
export DEBIAN_FRONTEND=noninteractive
apt-get -y -qq install --no-install-recommends busybox-static >/dev/null 2>&1
mkdir -p /root/r/bin
cp /bin/busybox /root/r/bin/
tar -C /root/r -c . | docker import - owner/nvr:1 >/dev/null
docker volume create nvr >/dev/null
docker run -d --name nvr -v nvr:/data owner/nvr:1 /bin/busybox sh -c 'echo footage >/data/a.mp4; exec /bin/busybox sleep 100000' >/dev/null
