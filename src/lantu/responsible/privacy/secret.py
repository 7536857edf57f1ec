"""Random numbers of a private run: drawn from a secret that no config, log or checkpoint holds.

Whoever knows the noise subtracts it. A run's public `seed` therefore cannot be its source, and neither can torch's
generators: the CPU's is seeded with 32 bits, which can be tried out. Here a key of 256 bits lies in a file beside the
run that only its owner can read. Every number is a function of that key and a counter, so a resumed run draws the same
numbers as one that was not interrupted.

That is not only convenient. A step that is repeated after a crash with fresh noise would release the same sum twice.
With the same noise nothing new is released. The other way round, one noise must not be added to two different sums:
their difference would be free of noise. So the noise of a step also depends on the sum it is added to, as the nonce of
a deterministic signature depends on the message (RFC 6979).
"""

import os
import secrets
from hashlib import blake2b
from pathlib import Path

import numpy as np

from lantu.errors import UserError

BYTES = 32


class Secret:
    """A key of 256 bits and the numbers drawn from it.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        assert len(key) == BYTES
        self._key = key

    def __repr__(self) -> str:
        return "Secret(...)"  # never shown, not in a traceback either

    @classmethod
    def create(cls, path: Path) -> "Secret":
        """Draw a key from the operating system and write it to a new file that only its owner can read (mode 0600)."""
        key = secrets.token_bytes(BYTES)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(key.hex())
                file.flush()
                os.fsync(file.fileno())  # a checkpoint is of no use without it
        except OSError as error:
            raise UserError(f"`privacy.key={path}` cannot be written: {error.strerror}.") from error
        return cls(key)

    @classmethod
    def read(cls, path: Path) -> "Secret":
        """Read a key that `create` has written.

        Raises:
            UserError: the file cannot be read or holds no key.
        """
        try:
            key = bytes.fromhex(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"`privacy.key={path}` cannot be read as a key: {error}.") from error
        if len(key) != BYTES:
            raise UserError(f"`privacy.key={path}` holds {len(key)} bytes, and a key has {BYTES}.")
        return cls(key)

    def integers(self, size: int, *counter: int | bytes) -> np.ndarray:
        """Uniform 64-bit numbers (size,): AES-256 in counter mode under a key derived from the secret and a counter."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        derived = blake2b(key=self._key, digest_size=32)
        for part in counter:
            encoded = part if isinstance(part, bytes) else str(part).encode()
            derived.update(len(encoded).to_bytes(8, "big") + encoded)
        stream = Cipher(algorithms.AES256(derived.digest()), modes.CTR(bytes(16))).encryptor()
        return np.frombuffer(stream.update(bytes(8 * size)), dtype="<u8")

    def normal(self, size: int, *counter: int | bytes) -> np.ndarray:
        """Standard normal numbers (size,), float64, by Box and Muller from 53-bit uniform ones."""
        pairs = -(-size // 2)
        uniform = ((self.integers(2 * pairs, *counter) >> np.uint64(11)) + 0.5) * 2.0**-53
        radius, angle = np.sqrt(-2 * np.log(uniform[:pairs])), 2 * np.pi * uniform[pairs:]
        return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
