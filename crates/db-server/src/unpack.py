"""Checks a wheel against the accepted hashes and its own RECORD, and unpacks it.

Prints the directory that holds the program, and the wheel's hash.
"""

import base64
import hashlib
import os
import stat
import sys
import tarfile
import zipfile


def refuse(reason):
    print(reason, file=sys.stderr)
    sys.exit(3)


def inside(root, name):
    path = os.path.realpath(os.path.join(root, name))
    if not path.startswith(os.path.realpath(root) + os.sep):
        refuse(f"{name} would be written outside the directory")
    return path


def hash_of(path):
    sha = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            sha.update(block)
    return sha.hexdigest()


def check(wheel):
    names = [n for n in wheel.namelist() if not n.endswith("/")]
    records = [n for n in names if n.endswith(".dist-info/RECORD")]
    if len(records) != 1:
        refuse("it has no RECORD")
    listed = {}
    for line in wheel.read(records[0]).decode("utf-8").splitlines():
        if line.strip():
            name, digest, _size = line.rsplit(",", 2)
            listed[name.strip('"')] = digest
    for name in names:
        if name == records[0] or name.endswith((".dist-info/RECORD.jws", ".dist-info/RECORD.p7s")):
            continue
        digest = listed.get(name)
        if not digest:
            refuse(f"{name} is not in RECORD")
        if not digest.startswith("sha256="):
            refuse(f"{name} is listed without sha256")
        sha = hashlib.sha256()
        try:
            with wheel.open(name) as file:
                for block in iter(lambda: file.read(1 << 20), b""):
                    sha.update(block)
        except zipfile.BadZipFile as error:
            refuse(f"{name} is damaged ({error})")
        found = base64.urlsafe_b64encode(sha.digest()).rstrip(b"=").decode()
        if found != digest[len("sha256="):].rstrip("="):
            refuse(f"{name} differs from its sha256 in RECORD")
    for name, digest in listed.items():
        if digest and name not in names:
            refuse(f"{name} is in RECORD and not in the file")


def unpack_archives(root):
    for folder, _dirs, files in list(os.walk(root)):
        for name in files:
            if not name.endswith((".tar.gz", ".tgz")):
                continue
            path = os.path.join(folder, name)
            with tarfile.open(path) as archive:
                for member in archive.getmembers():
                    inside(folder, member.name)
                    if member.issym():
                        inside(folder, os.path.join(os.path.dirname(member.name), member.linkname))
                    elif member.islnk():
                        inside(folder, member.linkname)
                    elif not (member.isfile() or member.isdir()):
                        refuse(f"{member.name} is neither file nor directory nor link")
                if hasattr(tarfile, "data_filter"):
                    archive.extractall(folder, filter="data")
                else:
                    archive.extractall(folder)
            os.remove(path)


def set_modes(root):
    """Everyone may read: the server runs under another account than the one that fetched it."""
    for folder, _dirs, files in os.walk(root):
        os.chmod(folder, 0o755)
        for name in files:
            path = os.path.join(folder, name)
            if os.path.islink(path):
                continue
            runs = os.path.basename(folder) == "bin" or ".so" in name or name.endswith(".dylib")
            runs = runs or os.stat(path).st_mode & stat.S_IXUSR
            os.chmod(path, 0o755 if runs else 0o644)


def main():
    source, root, program, accepted = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    found = hash_of(source)
    if found not in accepted:
        print(found, file=sys.stderr)
        sys.exit(4)
    try:
        wheel = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, OSError) as error:
        refuse(f"it is no zip file ({error})")
    with wheel:
        check(wheel)
        for name in wheel.namelist():
            inside(root, name)
        wheel.extractall(root)
    unpack_archives(root)
    set_modes(root)
    for folder, dirs, files in os.walk(root):
        dirs.sort()
        if program in files:
            os.chmod(os.path.join(folder, program), 0o755)
            print(os.path.relpath(folder, root))
            print(found)
            return
    refuse(f"it holds no {program}")


main()
