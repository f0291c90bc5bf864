"""What draws in a program give under the seed 0, in NumPy, so that peers see the same masks where losses are compared."""
import numpy as np


def philox(counters):
    """Philox4x32-10 (Salmon et al., 2011) under the key 0, of many counters of four words, one a row."""
    low32, key = np.uint64(0xFFFFFFFF), [0, 0]
    c = [counters[:, i].astype(np.uint64) for i in range(4)]
    for _ in range(10):
        p, q = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [q >> np.uint64(32) ^ c[1] ^ np.uint64(key[0]), q & low32, p >> np.uint64(32) ^ c[3] ^ np.uint64(key[1]), p & low32]
        key = [key[0] + 0x9E3779B9 & 0xFFFFFFFF, key[1] + 0xBB67AE85 & 0xFFFFFFFF]
    return np.stack(c, 1)


def uniform(step, site, shape):
    """A draw at a site, hashed by FNV-1a: element i is word i % 4 of block i // 4, its upper 24 bits."""
    site_hash = 14695981039346656037
    for byte in site.encode():
        site_hash = (site_hash ^ byte) * 1099511628211 % 2 ** 64
    n = int(np.prod(shape))
    counters = np.empty([-(-n // 4), 4], np.uint64)
    counters[:, 0] = np.arange(len(counters))
    counters[:, 1:] = [site_hash % 2 ** 32, step, site_hash >> 32]
    return ((philox(counters).reshape(-1)[:n] >> np.uint64(8)) / 2 ** 24).astype(np.float32).reshape(shape)
