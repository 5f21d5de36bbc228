# Pulls, starts and reads with each snapshotter of one containerd; `pulls`, `starts` and `reads` say how often. What is
# measured goes to the step `numbers`, a line `NAME SNAPSHOTTER MILLISECONDS` each.

registry=127.0.0.1
mkdir -p /mnt/tools /mnt/image
mount -o ro /dev/vde /mnt/tools || exit
# Of Debian unstable, with its own libraries.
printf '#!/usr/bin/busybox sh\nexec /mnt/tools/usr/lib64/ld-linux-x86-64.so.2 --library-path /mnt/tools/usr/lib/x86_64-linux-gnu /mnt/tools/usr/bin/mkfs.erofs "$@"\n' > /root/mkfs.erofs
chmod 755 /root/mkfs.erofs
export PATH=/root:$PATH

milliseconds() { awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime; }
timed() {
    timed_name=$1 timed_snapshotter=$2
    shift 2
    timed_begun=$(milliseconds)
    "$@" > /run/said 2>&1 || { echo "FAILED $timed_name $timed_snapshotter: $*"; cat /run/said; exit 1; }
    echo "$timed_name $timed_snapshotter $(($(milliseconds) - timed_begun))" >> /run/numbers
}
cold() {
    sync
    echo 3 > /proc/sys/vm/drop_caches
}
pull() { ctr images pull --snapshotter "$1" --plain-http "$registry/$2:v1"; }
run() { ctr run --rm --snapshotter "$1" "$registry/$2:v1" "$3" /bin/true; }
layer_files() { ls /var/lib/osguard/containerd/layers | wc -l; }
no_layers() { [ "$(layer_files)" = 0 ]; }
remove() {
    ctr images rm --sync "$registry/$1:v1" > /dev/null
    await 60 no_layers
}
read_all() { find "$1" -type f -exec cat {} + > /dev/null; }
read_image() {
    ctr images mount --snapshotter "$1" "$registry/large:v1" /mnt/image > /dev/null || exit
    cold
    timed read-cold "$1" read_all /mnt/image/usr
    for _ in 1 2 3; do timed read-warm "$1" read_all /mnt/image/usr; done
    ctr images unmount --rm --snapshotter "$1" /mnt/image > /dev/null
}

start_registry
osguard node run --config /run/lab/node.toml > /run/node.log 2>&1 &
await 60 wget -q -O - http://127.0.0.1:9464/readyz
start_containerd /run/lab/containerd.toml
step plugins ctr plugins ls

round=0
while [ $round -lt $pulls ]; do
    round=$((round + 1))
    for snapshotter in osguard overlayfs erofs; do
        cold
        timed pull $snapshotter pull $snapshotter large
        if [ $round = 1 ]; then read_image $snapshotter; fi
        remove large
    done
done
for snapshotter in osguard overlayfs erofs; do
    [ $starts != 0 ] || break
    pull $snapshotter many > /dev/null || exit
    timed first-start $snapshotter run $snapshotter many first-$snapshotter
done
round=0
while [ $round -lt $starts ]; do
    round=$((round + 1))
    for snapshotter in osguard overlayfs erofs; do
        timed start $snapshotter run $snapshotter many c-$snapshotter-$round
    done
done
step metrics wget -q -O - http://127.0.0.1:9464/metrics
step memory cat "/proc/$(pidof osguard)/status"
step numbers cat /run/numbers
tail -n 20 /run/node.log
exit 0
