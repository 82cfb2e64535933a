# What of a container engine is on this machine: lines `KEY VALUE`. Reads only. Variables: DAEMON_JSON, RECORD (of our
# settings), PACKAGES (file: our packages), REGISTRY (host:port that has to be trusted, or empty).
for package in docker.io docker-ce docker-ee moby-engine podman-docker containerd containerd.io; do
    status=$(dpkg-query -W -f '${db:Status-Status} ${Version}' "$package" 2>/dev/null) || continue
    case $status in 'installed '*) echo "package $package ${status#installed }" ;; esac
done
[ ! -f "$PACKAGES" ] || sed 's/^/ours /' "$PACKAGES"
program=$(command -v docker 2>/dev/null)
[ -z "$program" ] || echo "program $(readlink -f "$program")"
# Debian's docker.io leaves its client to a package that it recommends from release 13 on; roles install no such ones.
[ -n "$program" ] || ! apt-cache show --no-all-versions docker.io 2>/dev/null | grep -Eq '^(Recommends|Depends):.*docker-cli' ||
    echo "client-apart docker-cli"
[ ! -e /snap/bin/docker ] || echo "snap yes"
for socket in /run/user/*/docker.sock; do [ ! -S "$socket" ] || echo "rootless $socket"; done
systemctl show docker.service -p LoadState -p ActiveState -p UnitFileState 2>/dev/null | sed 's/^\([A-Za-z]*\)=/unit-\1 /'
echo "socket $(systemctl show docker.socket -p ActiveState --value 2>/dev/null)"
for label in file record; do
    path=$DAEMON_JSON
    [ "$label" = file ] || path=$RECORD
    [ ! -f "$path" ] || echo "$label $(base64 -w0 <"$path")"
done
daemon=$(systemctl show docker.service -p MainPID --value 2>/dev/null)
if [ "${daemon:-0}" != 0 ] && [ -r "/proc/$daemon/cmdline" ]; then
    tr '\0' '\n' <"/proc/$daemon/cmdline" | tail -n +2 | sed 's/^/flag /'
fi
root=/var/lib/docker
if [ "${program##*/}" = docker ] && [ -S /run/docker.sock ] && version=$(timeout 20 docker version --format '{{.Server.Version}}' 2>/dev/null); then
    echo "version $version"
    # One question each: a docker command takes its time on a small machine.
    info=$(docker info --format 'root {{.DockerRootDir}}
live-restore {{.LiveRestoreEnabled}}
security {{json .SecurityOptions}}
swarm {{.Swarm.LocalNodeState}}
trusts {{range $name, $entry := .RegistryConfig.IndexConfigs}}{{if not $entry.Secure}}{{$name}} {{end}}{{end}}')
    printf '%s\n' "$info" | grep -v '^root '
    root=$(printf '%s\n' "$info" | sed -n 's/^root //p')
    all=$(docker ps -aq --no-trunc)
    # shellcheck disable=SC2086 # ids, one a word
    [ -z "$all" ] || docker inspect --format 'container {{.Id}} {{.Name}}{{if .State.Running}}
running {{.HostConfig.RestartPolicy.Name}} {{slice .Id 0 12}} {{.Name}}{{end}}' $all 2>/dev/null
    docker volume ls -q | sed 's/^/volume /'
    docker images -q --no-trunc --filter label=shoal.build=detector | sed 's/^/built /'
    docker images --no-trunc --format 'image {{.ID}} {{.Repository}}:{{.Tag}}'
elif [ -f "$DAEMON_JSON" ]; then
    # Where the engine would keep its data; not running, it cannot be asked.
    set_root=$(sed -n 's/.*"\(data-root\|graph\)"[[:space:]]*:[[:space:]]*"\([^"]*\)".*/\2/p' "$DAEMON_JSON" | head -n 1)
    root=${set_root:-$root}
fi
echo "root $root"
for folder in "$root" /var/lib/containerd; do
    [ -z "$(ls -A "$folder" 2>/dev/null)" ] || echo "data $folder"
done
[ ! -d "$root" ] || find "$root" -mindepth 1 -maxdepth 1 -printf 'entry %f\n'
if [ -d "$root/volumes" ]; then
    find "$root/volumes" -mindepth 1 -maxdepth 1 -type d -printf 'disk-volume %f\n'
fi
if [ -d "$root/containers" ]; then
    find "$root/containers" -mindepth 1 -maxdepth 1 -type d -printf 'disk-container %f\n'
fi
if [ -d "$root/image" ]; then
    find "$root/image" -path '*/imagedb/content/sha256/*' -type f -printf 'disk-image sha256:%f\n'
fi
# What an engine changes in the kernel at its start.
for name in net/ipv4/ip_forward net/ipv6/conf/all/forwarding net/ipv6/conf/default/forwarding \
    kernel/keys/root_maxkeys kernel/keys/root_maxbytes; do
    [ ! -r "/proc/sys/$name" ] || echo "sysctl $name $(cat "/proc/sys/$name")"
done
policy=$(iptables -S FORWARD 2>/dev/null | awk '$1 == "-P" { print $3 }')
echo "forward ${policy:-ACCEPT}"
