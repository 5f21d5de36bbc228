# Provokes each kind of record that IPE and dm-verity write, and has osguard read them.
mkdir -p /images /node /signed /unsigned /revoked /writable
mount -t ext4 -o ro /dev/vda /images
mount -t ext4 /dev/vdb /node
export OSGUARD_STORE=/node/store
osguard node mount oci:/images:signed /signed
osguard node mount oci:/images:revoked /revoked
osguard node mount oci:/images:unsigned /unsigned --allow-unsigned
mkdir /node/upper /node/work
osguard node mount oci:/images:signed /writable --upper /node/upper --work /node/work
for layer in /run/osguard/layers/unsigned-*; do unsigned_layer=$layer; done

mount -t cgroup2 cgroup /sys/fs/cgroup
# A journal of its own, which reads the audit system as well as the kernel's log: each record comes twice.
mkdir -p /etc/systemd /run/systemd/journal /run/log/journal
echo 0123456789abcdef0123456789abcdef > /etc/machine-id
printf '[Journal]\nStorage=volatile\nAudit=\nForwardToSyslog=no\n' > /etc/systemd/journald.conf
SYSTEMD_LOG_TARGET=console systemd-journald 2> /run/journal.error &
journal=$!

osguard audit tail --output json > /run/tail.json 2> /run/tail.error &
follower=$!
sleep 1

step deploy-1 osguard policy deploy /policies/audit-1.p7b
step deploy-2 osguard policy deploy /policies/audit-2.p7b
# osguard would not even ask the kernel.
load_foreign() { cat /policies/foreign.p7b > /sys/kernel/security/ipe/new_policy; }
step deploy-foreign load_foreign

cp /usr/bin/busybox /tmp/copy
cp /usr/bin/busybox "/tmp/with space"
printf '#!/usr/bin/sh\necho script\n' > /tmp/script
chmod 755 /tmp/script
step tmpfs /tmp/copy true
step space "/tmp/with space" true
step script /tmp/script
step unsigned-overlay /unsigned/bin/busybox true
step unsigned-layer "$unsigned_layer/bin/busybox" true
step revoked /revoked/bin/busybox true
cp /usr/bin/busybox /writable/bin/new
chmod 700 /writable/bin/busybox
step upper /writable/bin/new true
step copied-up /writable/bin/busybox true
long=/tmp
for part in 1 2 3 4 5 6; do long=$long/$(printf "%0200d" $part); done
mkdir -p "$long"
cp /usr/bin/busybox "$long/copy"
step long "$long/copy" true

# Numbers of system calls: mmap 9, mprotect 10, shmget 29, shmat 30, ftruncate 77, init_module 175, finit_module 313,
# memfd_create 319.
step anonymous-mmap perl -e 'exit(syscall(9, 0, 4096, 7, 0x22, -1, 0) == -1 ? 0 : 1)'
step anonymous-mprotect perl -e '$a = syscall(9, 0, 4096, 3, 0x22, -1, 0); exit(syscall(10, $a, 4096, 5) == -1 ? 0 : 1)'
step memfd perl -e '$n = "m"; $f = syscall(319, $n, 0); syscall(77, $f, 4096); exit(syscall(9, 0, 4096, 5, 1, $f, 0) == -1 ? 0 : 1)'
step shared-memory perl -e '$i = syscall(29, 0, 4096, 01600); exit(syscall(30, $i, 0, 0100000) == -1 ? 0 : 1)'
step file-mmap perl -e 'open(F, "<", "/tmp/copy"); exit(syscall(9, 0, 4096, 5, 2, fileno(F), 0) == -1 ? 0 : 1)'
step module-file perl -e 'open(F, "<", "/tmp/copy"); $p = ""; exit(syscall(313, fileno(F), $p, 0) == -1 ? 0 : 1)'
step module-buffer perl -e '$b = "x" x 100; $p = ""; exit(syscall(175, $b, 100, $p) == -1 ? 0 : 1)'

# A container, as far as its control group, its bundle and its root directory go.
id=0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
bundle=/run/containerd/io.containerd.runtime.v2.task/k8s.io/$id
mkdir -p "$bundle"
cat > "$bundle/config.json" <<END
{"annotations": {"io.kubernetes.cri.sandbox-namespace": "shop", "io.kubernetes.cri.sandbox-name": "web-0",
 "io.kubernetes.cri.container-name": "web", "io.kubernetes.cri.image-name": "registry.example/web:v1"}}
END
group=/sys/fs/cgroup/kubepods.slice/cri-containerd-$id.scope
mkdir -p "$group"
perl -e 'open(G, ">", shift); print G $$; close(G); chroot("/writable"); exec {"/bin/new"} "new"; open(R, ">", "/ready"); close(R); sleep 1000' \
    "$group/cgroup.procs" &
container=$!
until [ -e /writable/ready ]; do sleep 1; done

step enforce-off sh -c 'echo 0 > /sys/kernel/security/ipe/enforce'
step permissive /tmp/copy true
step enforce-on sh -c 'echo 1 > /sys/kernel/security/ipe/enforce'
echo 1 > /sys/kernel/security/ipe/success_audit
/signed/bin/busybox true
echo 0 > /sys/kernel/security/ipe/success_audit

sleep 1
kill "$follower"
cat /run/tail.error
step followed cat /run/tail.json
journalctl --sync
step journal osguard audit tail journal --no-follow --output json
step journal-text sh -c 'journalctl --no-pager | osguard audit tail - --output json'
kill "$journal"
cat /run/journal.error
# The guest keeps something of its own there.
rm -r /run/log
step tail-log osguard audit tail kernel-log --no-follow
step explain osguard audit explain kernel-log --last 100
step explain-container osguard audit explain kernel-log --pid "$container" --output json
step explain-revoked osguard audit explain kernel-log --path /revoked/bin/busybox
step explain-copied-up osguard audit explain kernel-log --path /writable/bin/busybox
step explain-layer osguard audit explain kernel-log --path "$unsigned_layer/bin/busybox"
step suggest osguard audit suggest kernel-log
step suggest-json osguard audit suggest kernel-log --output json
step no-such osguard audit explain kernel-log --path /no/such/file
step nobody busybox su -s /usr/bin/sh nobody -c 'osguard audit tail'
kill "$container"
wait "$container"

# What undermines a node, one after the other.
export DM_DISABLE_UDEV=1
mkdir -p /boot /multi
for option in SECURITY_IPE DM_VERITY_VERIFY_ROOTHASH_SIG IPE_PROP_DM_VERITY_SIGNATURE IPE_PROP_DM_VERITY EROFS_FS OVERLAY_FS \
    AUDIT DM_VERITY_VERIFY_ROOTHASH_SIG_SECONDARY_KEYRING DM_VERITY_VERIFY_ROOTHASH_SIG_PLATFORM_KEYRING; do
    echo "CONFIG_$option=y"
done > "/boot/config-$(uname -r)"
doctor() { osguard node doctor --output json; }
step doctor doctor
mkdir -p /var/lib/dkms
: > /var/lib/dkms/mok.key
cp /images/trusted.crt /var/lib/dkms/mok.pub
step doctor-local doctor
rm -r /var/lib/dkms
step doctor-expecting osguard node doctor --trust /images/trusted.crt
step describe osguard node describe --name worker-1 --output json
weak=$(dmsetup table "osguard-$REVOKED" | sed 's/ 2 root_hash_sig_key_desc.*/ 1 ignore_corruption/')
step weaken dmsetup create weak --readonly --table "$weak"
step doctor-weak doctor
dmsetup remove weak
step multi-open veritysetup open /images/index.raw multi /images/index.verity "$(cat /images/index.roothash)"
step multi-mount mount -t erofs -o ro /dev/mapper/multi /multi
step doctor-multi doctor
umount /multi
veritysetup close multi
step doctor-again doctor
length=$(dmsetup table "osguard-$SIGNED" | cut -d ' ' -f 2)
device=$(dmsetup table "osguard-$SIGNED" | cut -d ' ' -f 5)
swap() {
    dmsetup load "osguard-$SIGNED" --readonly --table "0 $length error" && dmsetup resume "osguard-$SIGNED" &&
        dmsetup load "osguard-$SIGNED" --readonly --table "0 $length linear $device 0" && dmsetup resume "osguard-$SIGNED"
}
step swap swap
step doctor-swapped doctor
echo 0 > /sys/kernel/security/ipe/enforce
step doctor-off doctor
for target in /writable /signed /revoked /unsigned; do osguard node unmount "$target"; done
module=$(grep -E '/dm.verity' /modules/order)
rmmod dm_verity
insmod "$module" keyring_unsealed=1
echo 1 > /sys/kernel/security/ipe/enforce
step doctor-unsealed doctor
keyctl restrict_keyring %keyring:.dm-verity
step doctor-sealed doctor
exit 0
