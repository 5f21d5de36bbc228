#!/usr/bin/env python3
"""Prints what becomes of ../erofs/*.tar.zst, taken as layers, under every profile.

    ./golden.py > root-hashes.txt       (Python 3.11, zstd, veritysetup, mkfs.erofs 1.9.4 as root)

Each line: layer, profile, UUID, hash offset, root hash, SHA-256 of the whole file. MKFS_EROFS may say how
mkfs.erofs is called. Nothing of this project takes part.
"""

import hashlib
import os
import shlex
import subprocess
import tempfile
import uuid
from pathlib import Path

MKFS = shlex.split(os.environ.get('MKFS_EROFS', 'mkfs.erofs'))
FULL = '--tar=f --aufs --quiet -Enoinline_data -b4096 -T0 --mkfs-time --sort=none'.split()
INDEX = '--tar=i --aufs --quiet -b4096 -T0 --mkfs-time --sort=none'.split()


def uuid_of(content):
    digest = hashlib.sha256(content).hexdigest()
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f'erofs:blobs/sha256:{digest}'))


def layer_file(archive, image_uuid, options, directory):
    """Makes the file with the image and its hash area, and returns hash offset, root hash and sum."""
    image, tar = directory / 'image', directory / 'tar'
    tar.write_bytes(archive)
    image.write_bytes(b'')
    subprocess.run([*MKFS, *options, '-U', image_uuid, image, tar], check=True)
    block_size = 4096
    if options is INDEX:
        block_size = 512
        with image.open('ab') as file:
            file.write(archive + bytes(-len(archive) % 512))
    size = image.stat().st_size
    printed = subprocess.run(
        ['veritysetup', 'format', image, image, f'--hash-offset={size}', f'--salt={"00" * 32}', f'--uuid={image_uuid}',
         f'--data-block-size={block_size}', f'--hash-block-size={block_size}', f'--data-blocks={size // block_size}'],
        check=True, capture_output=True, text=True).stdout
    root_hash = printed.split('Root hash:')[1].split()[0]
    return size, root_hash, hashlib.sha256(image.read_bytes()).hexdigest()


with tempfile.TemporaryDirectory() as directory:
    for layer in sorted((Path(__file__).parent.parent / 'erofs').glob('*.tar.zst')):
        blob = layer.read_bytes()
        archive = subprocess.run(['zstd', '-dc', layer], check=True, capture_output=True).stdout
        for profile, image_uuid, options in (
                ('containerd-full-v1', uuid_of(blob), FULL),
                ('diffid-full-v1', uuid_of(archive), FULL),
                ('containerd-index-v1', uuid_of(blob), INDEX),
                ('osguard-ci-v1', 'c1b9d5a2-f162-11cf-9ece-0020afc76f16', INDEX)):
            print(layer.name, profile, image_uuid, *layer_file(archive, image_uuid, options, Path(directory)))
