# All that a deploy could change on a machine, one sorted line a thing. Logs, caches, and what the kernel counts are not.
export LC_ALL=C
dpkg-query -W -f 'package ${Package} ${Version} ${db:Status-Want} ${db:Status-Status}\n'
apt-mark showhold | sed 's/^/hold /'
apt-mark showauto | sed 's/^/automatic /'
dpkg-divert --list '*' | sed 's/^/diversion /'
update-alternatives --get-selections | sed 's/^/alternative /'
systemctl list-unit-files --no-legend --no-pager --type service,socket,mount,timer 2>/dev/null |
    awk '$1 !~ /^(run-|sys-|proc-|dev-|var-lib-docker)/ { print "unit-file", $1, $2 }'
systemctl list-units --all --no-legend --no-pager --plain --type service,socket,mount,timer 2>/dev/null |
    awk '$2 == "loaded" && $3 == "active" && $1 !~ /^(user@|user-|session-|run-user|systemd-(tmpfiles|timedated|hostnamed|localed)|apt-|dpkg-)/ && $4 != "exited" { print "active", $1, $4 }'
systemctl list-units --failed --no-legend --no-pager --plain 2>/dev/null | awk '{ print "failed", $1 }'
sed 's/^/passwd /' /etc/passwd
sed 's/^/group /' /etc/group
cut -d: -f1 /etc/shadow | sed 's/^/shadow /'
# Backup copies that the account tools keep are not settings, nor are apt's lists and dpkg's own state. What packages put
# under /usr is told by size and time: reading all of it takes long.
skipped() {
    for folder in proc sys dev run tmp var/tmp var/log var/cache var/lib/apt var/lib/dpkg var/lib/containerd \
        var/lib/docker var/lib/systemd/timers var/lib/systemd/random-seed usr/share/doc; do
        printf -- '-path /%s -o ' "$folder"
    done
    echo '-name __pycache__'
}
# shellcheck disable=SC2046 # words of an expression
find / -xdev \( $(skipped) -o -path /usr \) -prune -o -type f ! -name '*-' ! -path /etc/ld.so.cache ! -path /etc/shadow \
    ! -path /etc/gshadow ! -path /etc/subuid ! -path /etc/subgid ! -path '/var/lib/ucf/*' \
    -printf 'file %p %m %u:%g ' -exec sha256sum {} \; 2>/dev/null | sed 's/  .*//'
# shellcheck disable=SC2046
find /usr -xdev \( $(skipped) \) -prune -o -type f -printf 'file %p %m %u:%g %s %t\n'
# shellcheck disable=SC2046
find / -xdev \( $(skipped) \) -prune -o \( -type d -printf 'folder %p %m %u:%g\n' -o -type l -printf 'link %p %l\n' \) 2>/dev/null
[ ! -d /var/lib/docker/volumes ] || find /var/lib/docker/volumes -type f -path '*/_data/*' -exec sha256sum {} \; | sed 's/^/volume-file /'
for folder in /var/lib/docker /var/lib/containerd; do
    [ -n "$(ls -A $folder 2>/dev/null)" ] && echo "holds-data $folder"
done
awk '$5 !~ /^\/(proc|sys|dev|run\/user|run\/credentials)/ { print "mount", $5, $6 }' /proc/self/mountinfo
! command -v nft >/dev/null || nft -s list ruleset 2>/dev/null | grep -E '^\s+(meta|ip|ip6|tcp|udp|ct|iif|oif|xt|counter|jump|drop|accept|reject)' |
    grep -vE 'DOCKER_(OUTPUT|POSTROUTING)|# handle' | sed 's/^\s*/nft /'
# Empty chains that let everything pass are no rules.
for table in filter nat mangle raw; do
    for tool in iptables ip6tables; do
        $tool -t $table -S 2>/dev/null | grep -vE -- '^-P [A-Z]+ ACCEPT$|DOCKER_(OUTPUT|POSTROUTING)' | sed "s/^/$tool $table /"
    done
done
ls /sys/class/net | sed 's/^/interface /'
sysctl -a 2>/dev/null | grep -E '^(net\.(ipv4|ipv6|bridge)|kernel\.keys\.root)' |
    grep -vE 'nf_conntrack_count|\.(stable_secret|neigh\.)|\.conf\.(eth|veth)|tcp_fastopen_key|route\.|igmp|fib_multipath' | sed 's/^/sysctl /'
hostname | sed 's/^/hostname /'
if docker info >/dev/null 2>&1; then
    docker ps -a --no-trunc --format 'container {{.ID}} {{.Names}} {{.Image}} {{.State}}'
    docker volume ls -q | sed 's/^/volume /'
    docker images -a --no-trunc --format 'image {{.ID}} {{.Repository}}:{{.Tag}}'
    docker network ls --format 'network {{.Name}}'
    docker info --format 'engine {{.LoggingDriver}} {{.LiveRestoreEnabled}} {{json .RegistryConfig.InsecureRegistryCIDRs}} {{range $name, $entry := .RegistryConfig.IndexConfigs}}{{$name}} {{end}}'
fi
for unit in docker docker-registry chrony; do
    systemctl show "$unit.service" -p MainPID --value 2>/dev/null | grep -vx 0 | sed "s/^/process $unit /"
done
true
