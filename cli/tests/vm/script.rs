//! What the virtual machines do.

/// Mounts, enforces, tries and takes down; every step is named.
///
/// The initramfs holds osguard and busybox and is allowed as `boot_verified`. The images lie on
/// `/dev/vda`, the node's store on `/dev/vdb`.
pub(crate) const ENFORCE: &str = r#"
mkdir -p /images /node /mnt /index /unsigned /writable
mount -t ext4 -o ro /dev/vda /images
mount -t ext4 /dev/vdb /node
export OSGUARD_STORE=/node/store

step mount osguard node mount oci:/images:real /mnt
step list osguard node list
step tree osguard-tree /mnt
step mount-index osguard node mount oci:/images:real /index --profile containerd-index-v1
step tree-index osguard-tree /index
step refuse-unsigned-mount osguard node mount oci:/images:unsigned /unsigned
step mount-unsigned osguard node mount oci:/images:unsigned /unsigned --allow-unsigned
mkdir /node/upper /node/work
step mount-writable osguard node mount oci:/images:real /writable --upper /node/upper --work /node/work

verity_volume() {
    DM_DISABLE_UDEV=1 veritysetup open /images/volume.raw "$1" /images/volume.verity "$(cat /images/volume.roothash)" \
        --root-hash-signature="/images/$2"
}
step veritysetup verity_volume volume volume.roothash.p7s
step volume-content sh -c 'mkdir /volume; mount -t erofs -o ro /dev/mapper/volume /volume && cat /volume/content && umount /volume'
step pin osguard policy new /tmp/pinned --pin /dev/mapper/volume
step pinned grep -c "dmverity_roothash=sha256:$(cat /images/volume.roothash)" /tmp/pinned
step pin-foreign osguard policy new /tmp/foreign --pin /dev/vda
step veritysetup-foreign verity_volume foreign foreign.p7s
step veritysetup-close env DM_DISABLE_UDEV=1 veritysetup close volume

step deploy osguard policy deploy /policies/2.p7b
step status osguard policy status
step deploy-older osguard policy deploy /policies/1.p7b
step deploy-foreign osguard policy deploy /policies/foreign.p7b

step run-through-overlay chroot /mnt /usr/bin/hello
step run-from-index chroot /index /usr/bin/hello
for layer in /run/osguard/layers/*; do
    [ -x "$layer/usr/bin/busybox" ] && break
done
step run-from-layer "$layer/usr/bin/busybox" echo from the layer
step run-before-copy-up /writable/usr/bin/busybox echo still signed

step deny-unsigned-image /unsigned/usr/bin/unsigned-busybox echo never
cp "$layer/usr/bin/busybox" /tmp/copy
step deny-copy-on-tmpfs /tmp/copy echo never
cp "$layer/usr/bin/busybox" /writable/usr/bin/new
step deny-new-in-upper /writable/usr/bin/new echo never
chmod 700 /writable/usr/bin/busybox
step deny-copied-up /writable/usr/bin/busybox echo never

step unmount osguard node unmount /mnt
step unmount-index osguard node unmount /index
step unmount-unsigned osguard node unmount /unsigned
step unmount-writable osguard node unmount /writable
step left sh -c 'ls /sys/block | grep ^dm-; grep -l . /sys/block/loop*/loop/backing_file; grep -E "erofs|overlay|osguard" /proc/mounts'
exit 0
"#;
