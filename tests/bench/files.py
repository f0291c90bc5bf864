"""What sslc writes for its peers: safetensors and arrays."""
import json
import pathlib

import numpy as np

TYPES = {"F32": np.float32, "I32": np.int32, "U32": np.uint32, "I64": np.int64, "F64": np.float64}


def read_safetensors(path):
    """Arrays by name."""
    content = pathlib.Path(path).read_bytes()
    n = int.from_bytes(content[:8], "little")
    head = json.loads(content[8:8 + n])
    head.pop("__metadata__", None)
    found = {}
    for name, entry in head.items():
        begin, end = (8 + n + at for at in entry["data_offsets"])
        found[name] = np.frombuffer(content[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
    return found


def first_weights(scratch, name):
    """(what is trained, what is not: running statistics and constants), without the moments of the optimizer, which begin at 0."""
    floats = {k: v for k, v in read_safetensors(f"{scratch}/{name}.safetensors").items() if v.dtype == np.float32 and "." not in k.split("/")[0]}
    fixed = {k: v for k, v in floats.items() if "running_" in k or "positions" in k}
    return {k: v for k, v in floats.items() if k not in fixed}, fixed


def batch(scratch, name, field):
    return np.load(f"{scratch}/{name}_{field}.npy")


def normalised(pictures):
    return (pictures.astype(np.float32) / 255 - 0.5) / 0.5



def compare_views(ours, theirs):
    """The largest distance of two sets of views in quantiles of their means and contrasts, in means and deviations of channels, and in means
    of places; in standard errors of a mean over so many views of what deviates as pixels do."""
    scale = ours.std() * (1 / len(ours) + 1 / len(theirs)) ** 0.5
    figures = []
    for x in (ours, theirs):
        per_view = np.concatenate([x.mean((1, 2, 3))[None], x.std((2, 3)).mean(1)[None]])
        figures.append(np.concatenate([np.quantile(per_view, [0.05, 0.25, 0.5, 0.75, 0.95], axis=1).ravel(), x.mean((0, 2, 3)), x.std((0, 2, 3)),
                                       x.reshape(len(x), 3, 4, x.shape[2] // 4, 4, -1).mean((0, 3, 5)).ravel()]))
    return float(np.abs(figures[0] - figures[1]).max() / scale)
