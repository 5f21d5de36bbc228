# What the scripts on a node with osguard share.

export CONTAINERD_SNAPSHOTTER=osguard
registry=127.0.0.1
mkdir -p /etc/containerd/certs.d/$registry
printf 'server = "http://%s"\n[host."http://%s"]\n' $registry $registry > /etc/containerd/certs.d/$registry/hosts.toml

# No udev makes the node of a device. The daemon has a disk of its own, which can fail alone, and whose blocks can be had or not: `linear` or `error`.
export DM_DISABLE_UDEV=1
disk() {
    table="0 $(blockdev --getsz /dev/vde) $1"
    [ $1 = error ] || table="$table /dev/vde 0"
    dmsetup suspend --nolockfs --noflush disk &&
        dmsetup load disk --table "$table" && dmsetup resume disk
}
mount_disk() {
    mkdir -p /var/lib/osguard
    mount -t ext4 -o errors=remount-ro /dev/mapper/disk /var/lib/osguard
}
dmsetup create disk --table "0 $(blockdev --getsz /dev/vde) linear /dev/vde 0"
mount_disk || exit

enforce() {
    cat /run/lab/policy > /sys/kernel/security/ipe/new_policy
    echo 1 > /sys/kernel/security/ipe/policies/lab/active
}
start_node() {
    osguard node run --config /run/lab/node.toml >> /run/node.log 2>&1 &
    node_pid=$!
    await 60 wget -q -O - http://127.0.0.1:9464/readyz
}
# containerd tries again some seconds after its snapshotter was away; until then every request fails.
reconnect() { await 20 ctr snapshots ls; }
# Ends the daemon by a signal, TERM or KILL.
stop_node() {
    kill "-$1" "$node_pid"
    wait "$node_pid" 2> /dev/null
    true
}
pull() {
    name=$1
    shift
    ctr images pull --plain-http "$@" "$registry/$name:v1"
}
run() {
    name=$1 id=$2
    shift 2
    ctr run --rm "$registry/$name:v1" "$id" "$@"
}
# Counts the verity devices of layers: osguard's, without those of the machine itself.
devices() { cat /sys/block/dm-*/dm/name 2> /dev/null | grep -c '^osguard-'; }
# The time since boot in hundredths of a second, and since that of `took`.
now() { cut -d' ' -f1 /proc/uptime | tr -d .; }
took() { echo $(($(now) - took)); }
# Prints whatever layers and containers may leave behind.
left() {
    cat /sys/block/dm-*/dm/name 2> /dev/null | grep '^osguard-'
    for path in /sys/block/loop*/loop; do [ ! -e "$path" ] || echo "$path"; done
    grep -o ' /var/lib/osguard/l/[^ ]*\| [^ ]*/rootfs ' /proc/mounts
    find /var/lib/osguard/l /var/lib/osguard/containerd/layers /var/lib/osguard/containerd/snapshots -mindepth 1 2> /dev/null
    true
}
nothing_left() { [ -z "$(left)" ]; }
# Removes every container and every image of every namespace.
remove_all() {
    for namespace in $(ctr namespaces ls -q); do
        for task in $(ctr -n "$namespace" tasks ls -q); do
            ctr -n "$namespace" tasks kill -s KILL "$task"
            await 20 ctr -n "$namespace" tasks rm "$task"
        done
        for container in $(ctr -n "$namespace" containers ls -q); do
            ctr -n "$namespace" containers rm "$container"
        done
        for image in $(ctr -n "$namespace" images ls -q); do
            ctr -n "$namespace" images rm --sync "$image"
        done
    done
}
