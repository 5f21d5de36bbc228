# Mounts the layers of `images` images at once, and then the file systems of `containers` containers; `version` is set too.

use_containerd $version
step node start_node
step containerd start_containerd /run/lab/containerd-$version.toml
enforce
milliseconds() { awk '{ printf "%d\n", $1 * 1000 }' /proc/uptime; }
count() { printf %s "$("$@")"; }
took() { echo "$1: $(($(milliseconds) - begun)) ms" >> /run/numbers; }

all_pulls() {
    for image in $(seq 1 $images); do pull load-$image > /dev/null || return; done
}
step pulls all_pulls
step devices-before count devices
# The chains that nothing is upon: one of each image.
ctr snapshots ls | awk 'NR > 1 { if ($NF == "Committed") chains[$1]; parents[$2] }
    END { for (chain in chains) if (!(chain in parents)) print chain }' > /run/tops

# A container without a shim: its file system is mounted, and a signed program runs in it.
container() {
    mkdir /mnt/$1
    ctr snapshots prepare --target /mnt/$1 $1 $2 > /run/mount-$1 &&
        sh /run/mount-$1 && chroot /mnt/$1 /bin/true || echo "$1 does not start"
    rm -f /run/mount-$1
}
at_once() {
    workers=
    for top in $(cat /run/tops); do
        container first-$top $top &
        workers="$workers $!"
    done
    wait $workers
}
begun=$(milliseconds)
step at-once at_once
took "$(wc -l < /run/tops) containers at once, which mount all layers"
step devices count devices

each_container() {
    number=$(wc -l < /run/tops)
    while :; do
        begun=$(milliseconds)
        for top in $(cat /run/tops); do
            [ $number -lt $containers ] || return 0
            number=$((number + 1))
            container c-$number $top
        done
        took "up to container $number"
    done
}
step containers each_container
step mounted count grep -c ' /mnt/[a-z]' /proc/mounts
step numbers cat /run/numbers
for mounted in /mnt/*; do umount $mounted; done
for snapshot in $(ctr snapshots ls | awk '$NF == "Active" { print $1 }'); do ctr snapshots rm $snapshot; done
remove_all
step left await 120 nothing_left
step left-what left
