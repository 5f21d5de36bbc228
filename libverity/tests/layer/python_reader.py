"""Prints what Python's module tarfile sees in the archives of a directory, one line each.

A line is the name of the archive and its members, or `refused`. A member is: type, path, link, mode, user, group,
seconds, size, number of the device; texts in hexadecimal digits.
"""

import math
import os
import sys
import tarfile


def text(value):
    return os.fsencode(value).hex() or "-"


def seconds(member):
    stated = member.pax_headers.get("mtime")
    if stated is None:
        return int(member.mtime)
    whole, _, fraction = stated.partition(".")
    return int(whole) - (whole.startswith("-") and fraction[:9].strip("0") != "")


def members(path):
    with tarfile.open(path, "r:", encoding="utf-8", errors="surrogateescape") as archive:
        for member in archive:
            kind = {b"\0": "0", b"7": "0"}.get(member.type, member.type.decode("latin-1"))
            link = member.linkname if kind in "12" else ""
            device = (member.devmajor, member.devminor) if kind in "34" else (0, 0)
            numbers = (member.mode & 0o7777, member.uid, member.gid, seconds(member), member.size, *device)
            yield ",".join([kind, text(member.name), text(link), *map(str, numbers)])
        # A header that is none ends the list without a word.
        archive.fileobj.seek(archive.offset)
        if archive.fileobj.read(512).strip(b"\0"):
            raise tarfile.ReadError("what follows is no header")


directory = sys.argv[1]
for name in sorted(os.listdir(directory)):
    try:
        print(name, *members(os.path.join(directory, name)))
    except Exception as error:
        print(name, "refused", type(error).__name__)
