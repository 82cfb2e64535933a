# Runs on a machine before the first change, as the login user (PART=login) and as root (PART=root). It changes nothing.
# Prints one JSON object of texts, each bounded, between two marks; what they mean is judged on the control machine.
# Set in front: MARK, PART, LIMIT_S, FOLDERS, NAMES, CLIPS and CAMERAS (one a line), VIDEOS, PACKAGES, UNITS, WANTED
# (packages that a deploy installs) and ENGINE (those of an engine, where there is none).
export LC_ALL=C
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

text() { # name, at most so many bytes: standard input as one member of the object
    printf ',"%s":"' "$1"
    head -c "${2:-16384}" | tr -d '\000-\010\013-\037\177' |
        sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/	/\\t/g' -e 's/$/\\n/' | tr -d '\n'
    printf '"'
}
# A dead network file system or an engine that hangs must not hang the look.
within() { timeout -s KILL "$LIMIT_S" "$@" 2>&1 </dev/null; }
# A process that waits for such a file system may be one that the kernel does not let be killed, so what is to be asked of
# the folders of footage is asked behind the look's back first; one that hangs is left behind and ends when it can.
silent=
answers() { # path: whether the file system answers, whatever it says
    # Its own attributes may still be remembered; how full it is and what is in it has to be asked for.
    { stat -f -- "$1" && find "$1/" -mindepth 1 -maxdepth 1 -print -quit; } >/dev/null 2>&1 </dev/null &
    asked=$! tenths=0
    while [ -e "/proc/$asked" ] && [ "$(sed 's/.*) \(.\).*/\1/' "/proc/$asked/stat" 2>/dev/null)" != Z ]; do
        [ "$tenths" -lt "$((LIMIT_S * 10))" ] || return 1
        sleep 0.1
        tenths=$((tenths + 1))
    done
}
ask_footage() {
    for folder in "$@"; do
        [ -z "$folder" ] || answers "$folder" || silent="$silent
$folder
"
    done
}
is_silent() { case $silent in *"
$1
"*) ;; *) return 1 ;; esac }
have() { command -v "$1" >/dev/null 2>&1; }
# Passwords in a proxy's address are nobody's business here.
no_password() { sed 's#//[^/@]*@#//#g'; }

login_facts() {
    printf '"started":"%s"' "$(date +%s.%N)"
    id -un | text user
    id -u | text uid
    getent passwd "$(id -un)" | text passwd
    umask | text umask
    env | grep -i '^[a-z]*_proxy=' | no_password | text proxy
    sudo -n -l 2>/dev/null </dev/null | grep -i nopasswd | text sudo_allows
}

processes() { # pid, user, command's name, unit of every process of these names
    for place in /proc/[0-9]*; do
        read -r name 2>/dev/null <"$place/comm" || continue
        case " $1 " in *" $name "*) ;; *) continue ;; esac
        unit=$(sed -n 's#.*/##; $p' "$place/cgroup" 2>/dev/null)
        echo "${place#/proc/} $(stat -c %U "$place" 2>/dev/null) $name ${unit:--}"
    done
}

listeners() {
    if have ss; then
        ss -Hltnp
        for pid in $(ss -Hltnp | grep -o 'pid=[0-9]*' | cut -d= -f2 | sort -un | head -n 200); do
            echo "unit $pid $(sed -n 's#.*/##; $p' "/proc/$pid/cgroup" 2>/dev/null)"
        done
    else
        sed 's/^/proc4 /' /proc/net/tcp
        sed 's/^/proc6 /' /proc/net/tcp6 2>/dev/null
    fi
}

space() { # for each folder: device, free bytes, free inodes, type, what of it is there, and whether it can be written
    printf '%s\n' "$FOLDERS" | while IFS= read -r folder; do
        there=$folder
        if is_silent "$folder"; then there=/; fi
        while ! within test -e "$there"; do
            [ "$there" != / ] && [ -n "$there" ] || break
            case ${there%/*} in '') there=/ ;; *) there=${there%/*} ;; esac
        done
        writable=no
        if within test -w "$there"; then writable=yes; fi
        device=$(within stat -L -c %d "$there") || device=-
        state=$(within stat -f -c '%a %S %d %T' "$there") || state='- - - -'
        echo "$device $state $writable $folder $there"
    done
}

kernel() {
    modules=/lib/modules/$(uname -r)
    [ ! -d "$modules" ] || echo "modules there"
    [ ! -s /proc/modules ] || echo "modular yes"
    for name in overlay bridge veth br_netfilter nf_nat; do
        found=no
        if [ -d "/sys/module/$name" ] || grep -qsw "$name" /proc/filesystems; then
            found=loaded
        elif grep -qs "/$name\.ko" "$modules/modules.builtin"; then
            found=builtin
        elif grep -qs "/$name\.ko" "$modules/modules.dep"; then
            found=module
        fi
        echo "$name $found"
    done
    for name in pid net ipc mnt uts; do [ -e "/proc/self/ns/$name" ] || echo "namespace $name missing"; done
}

cgroups() {
    sed 's/^/v1 /' /proc/cgroups 2>/dev/null
    [ ! -e /sys/fs/cgroup/cgroup.controllers ] || sed 's/^/v2 /' /sys/fs/cgroup/cgroup.controllers
    grep -o '[a-z_]*cgroup[^ ]*' /proc/cmdline | sed 's/^/cmdline /'
    for file in /boot/firmware/cmdline.txt /boot/cmdline.txt; do [ ! -e "$file" ] || echo "file $file"; done
}

docker_facts() {
    client=$(command -v docker) || client=
    [ -n "$client" ] || client=$(ls /snap/bin/docker 2>/dev/null)
    {
        echo "client $client"
        [ -z "$client" ] || echo "package $(dpkg-query -S "$(readlink -f "$client")" 2>/dev/null | head -n 1)"
        [ -z "$client" ] || echo "link $(readlink -f "$client")"
        [ -z "$client" ] || echo "version $(within "$client" --version | head -n 1)"
        for path in /run/user/*/docker.sock; do [ ! -S "$path" ] || echo "rootless $path"; done
        for path in /var/lib/docker /var/lib/containerd; do
            [ ! -d "$path" ] || echo "data $path $(find "$path" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)"
        done
        [ ! -d /var/lib/docker/volumes ] ||
            echo "volumes $(find /var/lib/docker/volumes -mindepth 1 -maxdepth 1 -type d 2>/dev/null | wc -l)"
    } | text docker
    processes "dockerd containerd kubelet k3s k3s-server k3s-agent k0s microk8s rke2 podman rootlesskit nomad" |
        text engines
    head -c 65536 /etc/docker/daemon.json 2>/dev/null | text daemon_json 65536
    systemctl show docker.service docker.socket containerd.service -p Id -p LoadState -p ActiveState -p UnitFileState \
        2>/dev/null </dev/null | text docker_units
    systemctl show-environment 2>/dev/null </dev/null | grep -i '_proxy=' | no_password | text manager_proxy
    [ -n "$client" ] || return 0
    within "$client" info --format '{{json .}}' | no_password | text docker_info 131072
    ids=$(within "$client" ps -aq --no-trunc | grep -xE '[0-9a-f]{64}' | head -n 500)
    # shellcheck disable=SC2086  # one word for each container
    [ -z "$ids" ] || within "$client" inspect --format \
        '{{json .Name}} {{.State.Running}} {{.HostConfig.RestartPolicy.Name}} {{json .Config.Image}} {{json .Config.Labels}}' \
        $ids | text containers 262144
    within "$client" volume ls -q | head -n 1000 | text volumes 65536
}

firewall() {
    if have ufw; then within ufw status verbose | text ufw 32768; fi
    if have firewall-cmd; then
        { within firewall-cmd --state; within firewall-cmd --get-active-zones; within firewall-cmd --list-all; } | text firewalld
    fi
    if have nft; then within nft list ruleset | text nft 131072; fi
    if have iptables; then { within iptables -S INPUT; within iptables -S FORWARD | head -n 3; } | text iptables 32768; fi
}

# A disk that was pulled out, a server that is gone, a file system that its user keeps even from root: the path is there
# and cannot be read, and `test` says of it what it says of a path that does not exist.
away() { # path; leaves the reason in $words
    words=$(within stat -L -c %F -- "$1") && return 1
    words=${words##*: }
    case $words in 'No such file or directory' | 'Not a directory') return 1 ;; esac
}

videos() {
    kind=none
    if is_silent "$VIDEOS"; then
        kind=silent
    elif within test -d "$VIDEOS"; then
        kind=folder
    elif within test -e "$VIDEOS"; then
        kind=other
    elif [ -L "$VIDEOS" ]; then
        kind=broken
        echo "link $(readlink "$VIDEOS")"
    elif away "$VIDEOS"; then
        kind=broken
        echo "words $words"
    fi
    echo "kind $kind"
    awk -v place="$VIDEOS" '$5 == place || index(place "/", ($5 == "/" ? "" : $5) "/") == 1 {
        for (i = 7; i <= NF; i++) if ($i == "-") print "mount", $5, $6, $(i + 1), $(i + 2), $(i + 3)
    }' /proc/self/mountinfo
    printf '%s\n' "$CAMERAS" | while IFS= read -r folder; do
        [ -n "$folder" ] || continue
        if ! is_silent "$folder" && within test -d "$folder"; then
            echo "camera there $folder"
        elif is_silent "$folder" || away "$folder"; then
            echo "camera silent $folder"
        else
            echo "camera missing $folder"
        fi
    done
    [ "$kind" = folder ] || return 0
    if [ -L "$VIDEOS" ]; then echo "link $(readlink -f "$VIDEOS")"; fi
    echo "state $(within stat -L -c '%U %G %a' "$VIDEOS")"
    # A count of some is enough: a camera's folder may hold a million.
    within find -L "$VIDEOS" -type f -printf '%s\n' 2>/dev/null | head -n 20000 |
        awk '{ sum += $1 } END { printf "files %d %.0f\n", NR, sum }'
    printf '%s\n' "$CLIPS" | while IFS= read -r name; do
        [ -n "$name" ] || continue
        if facts=$(within stat -c '%s %Y' "$VIDEOS/$name"); then echo "clip $facts $name"; fi
    done
}

client_apart() { # from Debian 13 on the client of docker.io is a package that it recommends, and the role asks for it
    case " $ENGINE " in *' docker.io '*) ;; *) return 0 ;; esac
    within apt-cache show --no-all-versions docker.io | grep -Eq '^(Recommends|Depends):.*docker-cli' && echo docker-cli
}

simulation() { # what apt would do, by the package lists that are there
    all=$WANTED
    have docker || [ -e /snap/bin/docker ] || all="$all $ENGINE $(client_apart)"
    # shellcheck disable=SC2086  # one word for each package
    within apt-get -s -q install --no-install-recommends $all | grep -E '^(Inst|Remv|E:) '
}

ours() { # what an earlier deploy of shoal left
    for path in /var/lib/shoal/roles/*.packages; do [ ! -e "$path" ] || sed "s#^#${path##*/} #" "$path"; done
    for path in /etc/shoal/registry.yml /etc/systemd/system/docker-registry.service.d/shoal.conf \
        /var/lib/shoal/roles/docker.json /var/lib/shoal/videos.json /var/lib/shoal/image.json; do
        [ ! -e "$path" ] || echo "file $path"
    done
    grep -lsi shoal /etc/systemd/system/*.service 2>/dev/null | sed 's/^/unit /'
}

root_facts() {
    exec 2>/dev/null
    ask_footage "$VIDEOS"
    while IFS= read -r folder; do ask_footage "$folder"; done <<END
$CAMERAS
END
    printf '"uid":"%s"' "$(id -u)"
    umask | text umask
    cat /etc/os-release 2>/dev/null | text os_release
    uname -m | text machine
    dpkg --print-architecture 2>/dev/null | text dpkg_arch
    {
        echo "process $(cat /proc/1/comm)"
        [ ! -d /run/systemd/system ] || echo "systemd $(within systemctl is-system-running)"
        echo "container $(systemd-detect-virt --container 2>/dev/null)"
    } | text init
    cat /etc/machine-id 2>/dev/null | text machine_id
    { hostname 2>/dev/null || cat /proc/sys/kernel/hostname; } | text hostname
    { ip -o link; ip -o addr; } 2>/dev/null | text addresses 65536
    printf '%s\n' "$NAMES" | while IFS= read -r name; do
        [ -z "$name" ] || within getent ahosts "$name" | sed "s#^#$name #"
    done | text names
    space | text space
    kernel | text kernel
    cgroups | text cgroups
    listeners | text listeners 65536
    firewall
    for bridge in /sys/class/net/*/brif; do
        [ ! -d "$bridge" ] || echo "$(basename "$(dirname "$bridge")") $(find "$bridge" -mindepth 1 -printf '%f ' 2>/dev/null)"
    done | text bridges
    # shellcheck disable=SC2086  # one word for each unit
    systemctl show $UNITS -p Id -p ActiveState -p LoadState 2>/dev/null </dev/null | text time_units
    timedatectl show -p NTPSynchronized --value 2>/dev/null </dev/null | text time_synchronised
    # shellcheck disable=SC2086  # one word for each package
    dpkg-query -W -f '${Package} ${Version} ${db:Status-Abbrev}\n' $PACKAGES 2>/dev/null | text packages 65536
    apt-mark showhold 2>/dev/null | text held
    dpkg --audit 2>/dev/null | head -n 40 | text audit
    simulation | text simulation 65536
    within journalctl --disk-usage | text journal
    docker_facts
    videos | text videos 131072
    ours | text ours
}

printf '%s{' "$MARK"
if [ "$PART" = root ]; then root_facts; else login_facts; fi
printf '}%s\n' "$MARK"
