#!/usr/bin/env python3
"""Restores a backup of db-backup without db-backup: from a copy of the repository and the key alone.

    BACKUP_ENCRYPTION_KEY=... restore.py REPOSITORY [list | SYSTEM_IDENTIFIER BACKUP TARGET]

REPOSITORY is a directory; fetch a bucket first, with the cloud's own tool. TARGET must not exist: the data directory
goes there, the write-ahead log beside it into TARGET.wal (restore_command = 'cp TARGET.wal/%f %p'), configuration from
outside the data directory into TARGET.config. An incremental backup is restored as it is: restore its parents too, and
join them with pg_combinebackup. Needs: pip install blake3 cryptography zstandard. docs/backup-format.md explains each step.
"""
import base64, hashlib, hmac, json, os, struct, sys

from blake3 import blake3
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
import zstandard

NAME = "db-backup 2026-11-28 "

def hkdf(key, salt, info):
    return HKDF(algorithm=hashes.SHA256(), length=32, salt=salt, info=info).derive(key)

def unpadded(text):
    return base64.b64decode(text + "=" * (-len(text) % 4))

def identity_of(secret):
    """The 32 bytes of AGE-SECRET-KEY-1...: bech32 without its six check digits."""
    digits = ["qpzry9x8gf2tvdw0s3jn54khce6mua7l".index(c) for c in secret.lower().split("1", 1)[1]][:-6]
    bits = "".join(f"{digit:05b}" for digit in digits)
    return bytes(int(bits[at:at + 8], 2) for at in range(0, 256, 8))

def file_key(kind, arguments, body, secret):
    """What one stanza of an age header wraps, if it is for this secret."""
    is_identity = secret.startswith("AGE-SECRET-KEY-1")
    if kind == "X25519" and is_identity:
        share, private = unpadded(arguments[0]), X25519PrivateKey.from_private_bytes(identity_of(secret))
        public = private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        shared = private.exchange(X25519PublicKey.from_public_bytes(share))
        key = hkdf(shared, share + public, b"age-encryption.org/v1/X25519")
    elif kind == "scrypt" and not is_identity:
        salt, cost = b"age-encryption.org/v1/scrypt" + unpadded(arguments[0]), 2 ** int(arguments[1])
        key = hashlib.scrypt(secret.encode(), salt=salt, n=cost, r=8, p=1, maxmem=2 ** 31 - 1, dklen=32)
    else:
        return None
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), body, None)
    except Exception:
        return None

def age_decrypt(data, secret):
    """A small age file (age-encryption.org/v1) of one chunk; None where the secret does not open it."""
    end = data.index(b"\n---") + 4
    line_end = data.index(b"\n", end)
    lines, mac, payload = data[:end - 4].decode().split("\n")[1:], data[end + 1:line_end].decode(), data[line_end + 1:]
    stanzas = []
    for line in lines:
        if line.startswith("-> "):
            stanzas.append((line[3:].split(" "), []))
        else:
            stanzas[-1][1].append(line)
    for (kind, *arguments), body in stanzas:
        key = file_key(kind, arguments, unpadded("".join(body)), secret)
        if key is not None:
            expected = hmac.new(hkdf(key, b"", b"header"), data[:end], "sha256").digest()
            assert hmac.compare_digest(expected, unpadded(mac)), "the age header was changed"
            stream = hkdf(key, payload[:16], b"payload")
            return ChaCha20Poly1305(stream).decrypt(bytes(11) + b"\1", payload[16:], None)
    return None


class Repository:
    def __init__(self, root, secret):
        self.root, self.keys = root, {}
        if secret.upper().startswith("AGE-SECRET-KEY-1"):
            secret = secret.upper()
        for key_id in os.listdir(os.path.join(root, "keys")):
            for name in os.listdir(os.path.join(root, "keys", key_id)):
                opened = age_decrypt(self.raw(f"keys/{key_id}/{name}"), secret)
                if opened is not None:
                    number, data_key = struct.pack("<I", int(key_id, 16)), opened[:32]
                    mac_key = blake3(secret.encode(), derive_key_context=NAME + "wrapped data key").digest()
                    assert blake3(number + data_key, key=mac_key).digest() == opened[32:], "a planted key"
                    self.keys[int(key_id, 16)] = data_key
        assert self.keys, "BACKUP_ENCRYPTION_KEY opens none of the repository's keys"
        told = json.loads(self.raw("format.json"))
        key_id, mac = told.pop("key"), told.pop("mac")
        mac_key = blake3(self.keys[key_id], derive_key_context=NAME + "format").digest()
        text = json.dumps(told, separators=(",", ":"), ensure_ascii=False).encode()
        assert blake3(struct.pack("<I", key_id) + text, key=mac_key).hexdigest() == mac, "format.json was changed"
        self.id, self.encrypted = bytes.fromhex(told["repository"]), told["protection"] == "encrypted"

    def raw(self, path):
        with open(os.path.join(self.root, path), "rb") as file:
            return file.read()

    def frames(self, path):
        """The plain bytes of an object's frames; that the last one is authentic says that none is missing."""
        data, bound = self.raw(path), path.encode()
        header = data[:64]
        assert header[:8] == b"dbbackup" and bool(header[12]) == self.encrypted, f"{path} is no object"
        material = self.keys[struct.unpack("<I", header[16:20])[0]] + header
        context = NAME + ("object key" if self.encrypted else "mac key")
        key = blake3(material, derive_key_context=context).digest()
        bound = self.id + struct.pack("<I", len(bound)) + bound
        at, number, begins, plain = 64, 0, struct.unpack("<Q", data[-8:])[0], []
        while True:
            last = at == begins
            length = struct.unpack("<I", data[at:at + 4])[0]
            sealed = data[at + 4:at + 4 + length]
            packed = self.open(key, number, last, bound + struct.pack("<IB", number, last), sealed)
            at, number = at + 4 + length, number + 1
            if last:
                assert at == len(data) - 8, f"{path} is cut off"
                index = json.loads(packed[1:])
                assert [row[0] for row in index] == [blake3(chunk).hexdigest() for chunk in plain], path
                return plain
            data_of = packed[1:]
            plain.append(zstandard.ZstdDecompressor().decompress(data_of) if packed[0] == 1 else data_of)

    def open(self, key, number, last, bound, sealed):
        if self.encrypted:
            return AESGCM(key).decrypt(struct.pack("<IB", number, last) + bytes(7), sealed, bound)
        tag = blake3(struct.pack("<Q", len(bound)) + bound + sealed[:-16], key=key).digest()[:16]
        assert hmac.compare_digest(tag, sealed[-16:]), "it was changed"
        return sealed[:-16]

    def manifest(self, system, backup):
        summary, *body = self.frames(f"clusters/{system}/backups/{backup}/manifest")
        files, content = json.loads(b"".join(body))
        summary = json.loads(summary)
        assert summary["id"] == backup and summary["server"]["system_identifier"] == system
        return summary, files, content


class Chunks:
    """Reads chunks by their number, one pack at a time."""
    def __init__(self, repository, content):
        self.repository, self.content, self.pack, self.frames = repository, content, None, None

    def get(self, number):
        _, pack, frame, *_ = self.content["chunks"][number]
        if pack != self.pack:
            self.pack, self.frames = pack, self.repository.frames(self.content["packs"][pack]["path"])
        return self.frames[frame]

    def extent(self, extent):
        number, offset, left = extent["chunk"], extent["offset"], extent["bytes"]
        while left > 0:
            piece = self.get(number)[offset:offset + left]
            assert piece, "a file goes beyond its last chunk"
            yield piece
            number, offset, left = number + 1, 0, left - len(piece)

def place(target, root):
    if isinstance(root, dict):
        kind, name = next(iter(root.items()))
        return os.path.join(target, "pg_tblspc", str(name)) if kind == "tablespace" else f"{target}/{name or 'globals'}"
    return target if root == "data" else f"{target}.{root}"

def restore(repository, system, backup, target):
    summary, files, content = repository.manifest(system, backup)
    chunks = Chunks(repository, content)
    os.makedirs(target, mode=0o700)
    for file in files:
        path = os.path.join(place(target, file.get("root", "data")), file["path"])
        assert ".." not in file["path"].split("/"), path
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        if file["type"] == "directory":
            os.makedirs(path, exist_ok=True)
        elif file["type"] == "link":
            os.symlink(file["to"], path)
            continue
        else:
            with open(path, "wb") as out:
                for piece in chunks.extent(file["extent"]):
                    out.write(piece)
        os.chmod(path, file["mode"] & 0o7777)
    wal = f"clusters/{system}/wal"
    for directory, _, names in os.walk(os.path.join(repository.root, wal)):
        os.makedirs(f"{target}.wal", mode=0o700, exist_ok=True)
        for name in names:
            path = os.path.relpath(os.path.join(directory, name), repository.root)
            with open(os.path.join(f"{target}.wal", name), "wb") as out:
                out.write(b"".join(repository.frames(path)))
    print(f"restored {summary['id']}, {summary['kind']}, of PostgreSQL {summary['server']['version'] // 10000}")

def main(arguments):
    repository = Repository(arguments[0], os.environ["BACKUP_ENCRYPTION_KEY"].strip())
    if arguments[1:] in ([], ["list"]):
        for system in sorted(os.listdir(os.path.join(repository.root, "clusters"))):
            for backup in sorted(os.listdir(os.path.join(repository.root, f"clusters/{system}/backups"))):
                print(system, backup)
    else:
        restore(repository, *arguments[1:])

if __name__ == "__main__":
    main(sys.argv[1:])
