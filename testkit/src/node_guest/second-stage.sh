# The first process of a node on its signed root: mounts what is writable, offers what `node_guest` tells of, runs
# /run/lab/script and reports.

node_path=/opt/osguard/bin:/usr/sbin:/usr/bin
export PATH=$node_path HOME=/root
mount -t ext4 /dev/vdc /var
mkdir -p /var/lib /var/log /var/tmp
mount -t ext4 -o ro /dev/vdd /srv
for directory in boot tmp mnt root etc/cni etc/containerd etc/osguard; do mount -t tmpfs tmpfs "/$directory"; done
cp /run/lab/kernel-config "/boot/config-$(uname -r)"
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up

await() {
    await_rounds=$(($1 * 5))
    shift
    until "$@" > /run/awaited 2>&1; do
        await_rounds=$((await_rounds - 1))
        [ "$await_rounds" -gt 0 ] || { echo "no success: $*"; cat /run/awaited; return 1; }
        sleep 0.2
    done
}
start_registry() {
    REGISTRY_HTTP_ADDR="127.0.0.1:${1:-80}" docker-registry serve /etc/registry.yml >> /run/registry.log 2>&1 &
    registry_pid=$!
    await 30 wget -q -O /dev/null "http://127.0.0.1:${1:-80}/v2/"
}
stop_registry() {
    kill "$registry_pid"
    wait "$registry_pid" 2> /dev/null
    true
}
use_containerd() {
    case $1 in
        1.7) export PATH=/opt/osguard/bin:/usr/lib/containerd-1.7:/usr/sbin:/usr/bin ;;
        *) export PATH=$node_path ;;
    esac
}
start_containerd() {
    containerd --config "$1" >> /run/containerd.log 2>&1 &
    containerd_pid=$!
    await 60 ctr version
}
stop_containerd() {
    kill "$containerd_pid"
    wait "$containerd_pid" 2> /dev/null
    rm -f /run/containerd/containerd.sock*
    [ "$1" != --forget ] || rm -rf /var/lib/containerd /run/containerd
}

cd /root || exit
. /run/prelude
(. /run/lab/script) < /dev/null 3>&-
script_code=$?
. /run/report
