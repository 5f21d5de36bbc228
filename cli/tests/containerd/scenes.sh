# What an operator of a node meets, once with each containerd: `version` is set. Names of steps end with it.

s() {
    name=$1
    shift
    step "$name-$version" "$@"
}
text() { cat "/run/steps/$1-$version.output"; }

use_containerd $version
config=/run/lab/containerd-$version.toml
s node start_node
# Before anything is enforced a pod can run beside osguard, on overlayfs: what starts the daemon itself, if it is a pod.
start_containerd /run/lab/bootstrap-$version.toml
s bootstrap-pod osguard-cri run-pod boot osguard-bootstrap
s bootstrap-overlayfs ctr -n k8s.io snapshots --snapshotter overlayfs ls
osguard-cri rm-pod "$(text bootstrap-pod)"
remove_all
stop_containerd --forget
s containerd start_containerd $config
s doctor osguard node doctor --output json
[ "$(cat /sys/kernel/security/ipe/policies/*/active 2> /dev/null)" = 1 ] || {
    s preflight osguard node preflight /run/lab/policy
    printf 'policy_name=none policy_version=1.0.0\nDEFAULT action=DENY\n' > /run/none
    s preflight-none osguard node preflight /run/none
    s canary-before osguard node canary
    enforce
}
s canary osguard node canary

# Images that are signed in each of the three places run, by each way of pulling.
s pull-app pull app
s run-app run app c1
s devices-app devices
s run-app-crun ctr run --rm --runc-binary /usr/bin/crun $registry/app:v1 c2
ctr run -d $registry/app:v1 second /bin/sleep 1000
s devices-second devices
s pull-embedded pull embedded --local
s run-embedded run embedded c3
root_hash=$(cat /run/lab/local.root-hash)
s pull-local-unsigned pull local
mkdir -p "/etc/osguard/signatures/$root_hash"
cp /run/lab/local.p7s "/etc/osguard/signatures/$root_hash/$(sha256sum < /run/lab/local.p7s | cut -d' ' -f1).p7s"
s pull-local pull local
s run-local run local c4
s pull-many pull many
s run-many run many c5 /bin/sh -c 'cat /layer-1 /layer-39; ls / | grep -c layer-'
# containerd labels blobs with the host and without its port; where it tells of the image, the port is known from there.
stop_registry
start_registry 5000
s pull-port ctr images pull --plain-http 127.0.0.1:5000/port:v1
stop_registry
start_registry
s import ctr images import --base-name imported --snapshotter osguard /run/lab/archive.tar
imported=$(ctr images ls -q | grep imported)
s run-imported ctr run --rm "$imported" c6
# The layers are those of an image that is signed; this one is not, and nothing of it is unpacked again.
s pull-twin pull twin
s run-twin run twin c7 /bin/cat /hello

# A patch of what runs: with the blobs there, one layer is unpacked and gets a device, and the new container runs it.
s fetch-patched ctr content fetch --plain-http $registry/app:v2
s devices-unpatched devices
took=$(now)
s run-patched ctr run --rm $registry/app:v2 c13
s took-patched took
s devices-patched devices
took=$(now)
s run-patched-again ctr run --rm $registry/app:v2 c14
s took-again took
s list-patched osguard node list --image $registry/app --output json

devices_before=$(devices)
s other-pull ctr -n other images pull --plain-http $registry/app:v1
s other-run ctr -n other run --rm $registry/app:v1 c1
s other-devices [ "$(devices)" = "$devices_before" ]

# What is not signed is refused, with image, layer and reason, and nothing of it is kept.
for way in "" --local; do
    s "unsigned$way" pull unsigned $way
    s "foreign$way" pull foreign $way
    s "wrong$way" pull wrong $way
done
s refused-images ctr images ls -q
s refused-snapshots ctr snapshots --snapshotter osguard ls

# A program that a container makes does not run, nor one that it changes.
s dropped run app c8 /bin/sh -c 'cp /bin/busybox /tmp/new; /tmp/new true; echo $?; chmod 700 /bin/busybox; /bin/cat /hello; echo $?'

# For a user namespace containerd would copy the image into what a container writes, with other owners: nobody has signed that.
s user-namespace ctr run --rm --uidmap 0:65536:65536 --gidmap 0:65536:65536 $registry/app:v1 u1 /bin/cat /hello

# The clock jumps, years ahead and back again.
now=$(date +%s)
date -s @$((now + 400000000)) > /dev/null
s clock-ahead run app clock-1
date -s @1000 > /dev/null
s clock-behind run app clock-2
s clock-snapshots ctr snapshots --snapshotter osguard ls
date -s @$now > /dev/null

# Pods.
s cri-pull osguard-cri pull $registry/app:v1
s cri-unsigned osguard-cri pull $registry/unsigned:v1
s cri-pod osguard-cri run-pod pod
pod=$(text cri-pod)
s cri-init osguard-cri create "$pod" pod init $registry/app:v1 -- /bin/echo prepared
init=$(text cri-init)
osguard-cri start "$init"
s cri-init-wait osguard-cri wait "$init"
s cri-create osguard-cri create "$pod" pod main $registry/app:v1 -- /bin/sleep 1000
main=$(text cri-create)
s cri-start osguard-cri start "$main"
s cri-exec osguard-cri exec "$main" -- /bin/cat /hello
s cri-dropped osguard-cri exec "$main" -- /bin/sh -c 'cp /bin/busybox /tmp/new; /tmp/new true'
s exec-dropped ctr tasks exec --exec-id e0 second /bin/sh -c 'cp /bin/busybox /tmp/other; /tmp/other true'
s explain-pod osguard audit explain kernel-log --path /tmp/new --output json
s explain-exec osguard audit explain kernel-log --path /tmp/other --output json
s suggest osguard audit suggest kernel-log --output json
# Were the layer that all of this runs from taken back, these are who would not start a program again.
root_hash=$(osguard node list --image $registry/app --output json | grep -m 1 root_hash | cut -d'"' -f4)
printf 'policy_name=next policy_version=1.0.0\nDEFAULT action=ALLOW\n' > /run/next.policy
printf 'op=EXECUTE dmverity_roothash=sha256:%s action=DENY\n' "$root_hash" >> /run/next.policy
s cri-affected osguard node affected --policy /run/next.policy --output json
s cri-log cat /var/log/pods/pod/init.log

# The daemon is killed: containers run on and can be entered, and afterwards everything goes on.
stop_node KILL
s killed-exec ctr tasks exec --exec-id e1 second /bin/cat /hello
s killed-cri-exec osguard-cri exec "$main" -- /bin/cat /hello
s killed-run run app c9
s killed-preflight osguard node preflight /run/lab/policy
s restart start_node
s reconnect reconnect
s restarted-run run app c10
s restarted-devices [ "$(devices)" = "$devices_before" ]
stop_node TERM
s stopped-exec ctr tasks exec --exec-id e2 second /bin/cat /hello
s start start_node
reconnect
stop_containerd
s containerd-restart start_containerd $config
s containerd-exec ctr tasks exec --exec-id e3 second /bin/cat /hello
s containerd-run run app c11
s cri-remove osguard-cri rm-pod "$pod"

# A layer that was changed on disk is not read. Its blocks are nowhere in memory yet: nothing was started from it.
s pull-large pull large
changed=0
for image in $(find /var/lib/osguard -name '*.erofs'); do
    # 256 KiB of data are in one layer alone, and start within its first blocks.
    size=$(stat -c %s "$image")
    [ "$size" -gt 270000 ] && [ "$size" -lt 400000 ] || continue
    printf 'X' | dd of="$image" bs=1 seek=150000 conv=notrunc 2> /dev/null
    changed=$((changed + 1))
done
s changed [ $changed = 1 ]
s run-large run large c12 /bin/cat /data
remove_all
s left await 60 nothing_left
s left-what left
s metrics wget -q -O - http://127.0.0.1:9464/metrics

# Puts the disk back under the daemon, and runs a container from it; what it is of may have gone.
mend() {
    stop_node KILL
    for layer in /var/lib/osguard/l/*; do umount $layer; done
    s $1-umount await 20 umount /var/lib/osguard
    mount_disk
    s $1-node start_node
    s $1-reconnect reconnect
    pull app > /dev/null
    s $1-run run app $1
    remove_all
    s $1-left await 60 nothing_left
    s $1-left-what left
}

# The disk fails, and the kernel writes to it no more. What runs goes on, and nothing is promised that cannot be kept.
s failing-pull pull app
ctr run -d $registry/app:v1 survivor /bin/sleep 1000
echo 1 | tee /sys/fs/ext4/dm-*/trigger_fs_error
s failed-exec ctr tasks exec --exec-id e4 survivor /bin/cat /hello
s failed-run run app c14
s failed-image pull embedded
s failed-ready wget -q -O - http://127.0.0.1:9464/readyz
ctr tasks rm -f survivor
mend mended

# Nothing can be had from the disk any more but what is in memory.
s breaking-pull pull large
s breaking-disk disk error
echo 3 > /proc/sys/vm/drop_caches
s broken-run run large c15 /bin/cat /data
s broken-image pull embedded
s broken-ready wget -q -O - http://127.0.0.1:9464/readyz
s replaced-disk disk linear
mend replaced

# The built-in differ is asked alone: it cannot read what osguard has prepared, and nothing is committed.
stop_containerd --forget
s walking-containerd start_containerd /run/lab/walking-$version.toml
s walking-pull pull app --local
s walking-snapshots ctr snapshots --snapshotter osguard ls
remove_all
s end-left await 60 nothing_left
s end-left-what left
stop_containerd --forget
stop_node TERM
rm -rf /var/lib/osguard/* /etc/osguard/*
