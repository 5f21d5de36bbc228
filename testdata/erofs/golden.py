#!/usr/bin/env python3
"""Makes the archives of this directory: `./golden.py` (Python 3.11 to 3.13, zstd).

The sums of the archives, and of the images that mkfs.erofs makes from them, stand in
libverity/tests/erofs_golden.rs.
"""

import io
import subprocess
import tarfile
from pathlib import Path
from tarfile import BLKTYPE as B, CHRTYPE as C, DIRTYPE as D, FIFOTYPE as F, LNKTYPE as H, SYMTYPE as L


def E(t, name, type=tarfile.REGTYPE, d=b'', link='', mode=None, uid=0, gid=0, mtime=0, dev=(0, 0), pax=None):
    """Adds one member; mode 0755 for directories and 0644 otherwise, unless given."""
    member = tarfile.TarInfo(name)
    member.type, member.uid, member.gid, member.mtime = type, uid, gid, mtime
    member.mode = mode if mode is not None else (0o755 if type == D else 0o644)
    member.linkname = link
    member.devmajor, member.devminor = dev
    member.pax_headers = dict(pax or {})
    member.size = len(d)
    t.addfile(member, io.BytesIO(d) if d else None)


def g01_empty(t):
    pass


def g02_onefile(t):
    E(t, 'a', d=b'hello\n')


def g03_root_dir(t):
    E(t, './', D, mode=0o755)
    E(t, './etc/', D)
    E(t, './etc/x', d=b'x'*4096, mode=0o600)
    E(t, './etc/y', d=b'')


def g04_noparent(t):
    E(t, 'usr/share/doc/f', d=b'1'*5000, uid=70000, mtime=1700000000)


def g05_types(t):
    E(t, 'c', C, dev=(1, 3))
    E(t, 'b', B, dev=(8, 300))
    E(t, 'p', F)
    E(t, 'l', L, link='c')
    E(t, 'f', d=b'abc')
    E(t, 'h', H, link='f')


def g06_whiteout(t):
    E(t, 'd/', D)
    E(t, 'd/.wh.gone')
    E(t, 'e/', D)
    E(t, 'e/.wh..wh..opq')
    E(t, 'e/new', d=b'n')


def g07_xattr(t):
    E(t, 'f', d=b'q', pax={'SCHILY.xattr.user.b':'2', 'SCHILY.xattr.user.a':'1', 'SCHILY.xattr.security.capability':'\x01\x00\x00\x02'})


def g08_override(t):
    E(t, 'a', d=b'old'*2000)
    E(t, 'b', d=b'B')
    E(t, 'a', d=b'new')
    E(t, 'x', d=b'f')
    E(t, 'x/', D)
    E(t, 'x/y', d=b'y')


def g09_bigdir(t):
    E(t, 'd/', D)
    for i in range(300):
        E(t, 'd/file-%04d'%i, d=b'%d'%i)


def g10_longlink(t):
    E(t, 'l1', L, link='x'*300)
    E(t, 'l2', L, link='y'*490)
    E(t, 'l3', L, link='z'*4080)
    E(t, 'l4', L, link='w'*4090)


def g11_mtime(t):
    E(t, 'a', d=b'1', pax={'mtime':'1700000000.5'})
    E(t, 'b', d=b'1', pax={'mtime':'0.25'})
    E(t, 'c', d=b'1', mtime=1)


def g12_bigroot(t):
    for i in range(120):
        E(t, 'root-entry-%03d'%i, d=b'k'*30000)


def g13_nested(t):
    for a in 'ab':
        for b in 'yx':
            E(t, '%s/%s/%s'%(a, b, a+b), d=(a+b).encode())
            E(t, '%s/%s.txt'%(a, b), d=b'T')


def g14_gnu_longname(t):
    E(t, 'n'*120+'/'+'m'*130, d=b'deep')
    E(t, 'q', L, link='t'*150)


g14_gnu_longname.fmt = tarfile.GNU_FORMAT


def g15_acl_xattr_many(t):
    E(t, 'd/', D, pax={'SCHILY.xattr.user.'+('k%03d'%i):'v'*i for i in range(60)})
    for i in range(40):
        E(t, 'd/%d'%i, d=b'z'*i*100, pax={'SCHILY.xattr.trusted.t':'w'*(i*7)})


for name, body in list(globals().items()):
    if name[0] == 'g' and name[1:3].isdigit():
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode='w', format=getattr(body, 'fmt', tarfile.PAX_FORMAT)) as archive:
            body(archive)
        compressed = subprocess.run(['zstd', '-19', '-q'], input=buffer.getvalue(), stdout=subprocess.PIPE, check=True)
        Path(__file__).with_name(name + '.tar.zst').write_bytes(compressed.stdout)
