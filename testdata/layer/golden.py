#!/usr/bin/env python3
"""Prints the root hashes of ../erofs/*.tar.zst, taken as layers, under every profile.

    ./golden.py > root-hashes.txt       (Python 3.11, zstd, veritysetup, mkfs.erofs 1.9.4 as root)

MKFS_EROFS may say how mkfs.erofs is called. Nothing of this project takes part.
"""

import hashlib
import os
import shlex
import subprocess
import tempfile
import uuid
from pathlib import Path

MKFS = shlex.split(os.environ.get('MKFS_EROFS', 'mkfs.erofs'))
OPTIONS = '--tar=f --aufs --quiet -Enoinline_data -b4096 -T0 --mkfs-time --sort=none'.split()


def root_hash(archive, digest, directory):
    """Makes the image whose UUID comes from `digest`, and returns UUID, size and root hash."""
    image_uuid = str(uuid.uuid5(uuid.NAMESPACE_URL, f'erofs:blobs/sha256:{digest}'))
    image, tar = directory / 'image', directory / 'tar'
    tar.write_bytes(archive)
    image.write_bytes(b'')
    subprocess.run([*MKFS, *OPTIONS, '-U', image_uuid, image, tar], check=True)
    size = image.stat().st_size
    printed = subprocess.run(
        ['veritysetup', 'format', image, image, f'--hash-offset={size}', f'--salt={"00" * 32}'],
        check=True, capture_output=True, text=True).stdout
    return image_uuid, size, printed.split('Root hash:')[1].split()[0]


with tempfile.TemporaryDirectory() as directory:
    for layer in sorted((Path(__file__).parent.parent / 'erofs').glob('*.tar.zst')):
        if layer.name.startswith('g12_'):
            continue  # mkfs.erofs makes inodes of it that no kernel finds; we refuse it.
        blob = layer.read_bytes()
        archive = subprocess.run(['zstd', '-dc', layer], check=True, capture_output=True).stdout
        for profile, content in ('containerd-full-v1', blob), ('diffid-full-v1', archive):
            digest = hashlib.sha256(content).hexdigest()
            print(layer.name, profile, *root_hash(archive, digest, Path(directory)))
