"""JAX's side of the bench: the same steps on the weights that sslc began with, each one jit whose old states are given up.

Pictures are channels last and kernels HWIO, which XLA's convolutions on a CPU are fastest at. Weights go by the names that they have
in sslc's checkpoints.
"""
import functools
import os
import time

os.environ.setdefault("JAX_PLATFORMS", "cpu")
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax, nn

import draws
import files
import views
from protocol import serve, time_each, watch_memory

# -- networks ---------------------------------------------------------------------------------------------


def linear(p, name, x):
    y = x @ p[name + "/w"].T
    return y + p[name + "/b"] if name + "/b" in p else y


def mlp(p, name, x, act=nn.relu):
    return linear(p, name + "/linear_2", act(linear(p, name + "/linear_1", x)))


def conv(w, x, stride=1):
    pad = [(w.shape[0] // 2,) * 2] * 2
    return lax.conv_general_dilated(x, w, (stride, stride), pad, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def max_pool(x):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")


def small_cnn(p, x):
    for i in (1, 2, 3):
        x = nn.relu(conv(p[f"body/conv_{i}/w"], x) + p[f"body/conv_{i}/b"])
        x = max_pool(x) if i < 3 else x.mean((1, 2))
    return linear(p, "head", x)


def conv_norm(p, running, name, x, stride):
    """Batch norm by the statistics of the batch; the running ones move."""
    x, norm = conv(p[name + "/conv_1/w"], x, stride), name + "/batch_norm_1/"
    mean, var, n = x.mean((0, 1, 2)), x.var((0, 1, 2)), x.size // x.shape[-1]
    for key, new in ((norm + "running_mean", mean), (norm + "running_var", var * n / (n - 1))):
        running[key] = 0.9 * running[key] + 0.1 * lax.stop_gradient(new)
    return (x - mean) * (lax.rsqrt(var + 1e-5) * p[norm + "scale"]) + p[norm + "shift"]


def resnet18(p, running, x):
    x = nn.relu(conv_norm(p, running, "f/resnet_1/conv_norm_1", x, 1))
    for i in range(8):
        name, stride = f"f/resnet_1/basic_block_{i + 1}", 2 if i in (2, 4, 6) else 1
        y = nn.relu(conv_norm(p, running, name + "/conv_norm_1", x, stride))
        short = conv_norm(p, running, name + "/shortcut_1/conv_norm_1", x, stride) if stride == 2 else x
        x = nn.relu(conv_norm(p, running, name + "/conv_norm_2", y, 1) + short)
    return x.mean((1, 2))


def layer_norm(p, name, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) * lax.rsqrt(var + 1e-5) * p[name + "/scale"] + p[name + "/shift"]


def attention(p, name, x, heads, causal):
    n, length, width = x.shape
    q, k, v = jnp.moveaxis(linear(p, name + "/linear_1", x).reshape(n, length, 3, heads, width // heads), 2, 0)
    return linear(p, name + "/linear_2", nn.dot_product_attention(q, k, v, is_causal=causal).reshape(n, length, width))


def trunk(p, name, x, depth, heads, causal=False):
    for i in range(depth):
        block = f"{name}/block_{i + 1}"
        x = x + attention(p, block + "/attention_1", layer_norm(p, block + "/layer_norm_1", x), heads, causal)
        x = x + mlp(p, block + "/mlp_1", layer_norm(p, block + "/layer_norm_2", x), functools.partial(nn.gelu, approximate=False))
    return layer_norm(p, name + "/layer_norm_1", x)


# -- losses: of weights, what is not trained, the batch, and draws ------------------------------------------------


def cross_entropy(logits, label):
    return (nn.logsumexp(logits, -1) - jnp.take_along_axis(logits, label[..., None], -1)[..., 0]).mean()


def normalize(x):
    return x * lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), 1e-24))


def nt_xent(a, b, temperature=0.5):
    z = jnp.concatenate([a, b])
    n = len(a)
    scores = jnp.where(jnp.eye(2 * n, dtype=bool), -1e30, z @ z.T / temperature)
    return cross_entropy(scores, jnp.concatenate([jnp.arange(n, 2 * n), jnp.arange(n)]))


def simclr(p, fixed, x, _):
    return nt_xent(*jnp.split(normalize(mlp(p, "g", small_cnn(p, x))), 2)), fixed


def simclr_resnet(p, fixed, x, _):
    running = dict(fixed)
    return nt_xent(*[normalize(mlp(p, "g", resnet18(p, running, view))) for view in jnp.split(x, 2)]), running


def depth_of(p, name):
    return sum(k.startswith(name + "/block_") and k.endswith("/layer_norm_1/scale") for k in p)


def mae(p, fixed, x, order):
    n, h, w, c = x.shape
    patches = x.reshape(n, h // 4, 4, w // 4, 4, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, -1, 16 * c)
    kept = patches.shape[1] // 4
    take = lambda x, index: jnp.take_along_axis(x, index[:, :, None], 1)
    seen, unseen = order[:, :kept], order[:, kept:]
    z = linear(p, "to_decoder", trunk(p, "enc", take(linear(p, "embed", patches) + fixed["positions"], seen), depth_of(p, "enc"), 3))
    hidden = jnp.broadcast_to(p["hidden"], (n, patches.shape[1] - kept, z.shape[2]))
    full = take(jnp.concatenate([z, hidden], 1), jnp.argsort(order, 1))
    drawn = linear(p, "to_pixels", trunk(p, "dec", full + fixed["decoder_positions"], 2, 3))
    wanted = take(patches, unseen)
    wanted = (wanted - wanted.mean(-1, keepdims=True)) * lax.rsqrt(wanted.var(-1, ddof=1, keepdims=True) + 1e-6)
    return ((take(drawn, unseen) - wanted) ** 2).mean(), fixed


def next_byte(p, fixed, t, _):
    x = p["lm/embedding_1/w"][t[:, :-1]] + p["lm/position"]
    return cross_entropy(linear(p, "lm/linear_1", trunk(p, "lm/trunk_1", x, depth_of(p, "lm/trunk_1"), 4, causal=True)), t[:, 1:]), fixed


def completion(p, fixed, x, mask):
    y = jnp.where(mask < 0.25, x, 0.0)
    for i in (1, 2, 3, 4):
        y = linear(p, f"net/linear_{i}", y)
        y = nn.relu(y) if i < 4 else y
    return ((y - x) ** 2).mean(), fixed


# -- optimizers: first moments of a weight, and (weight, moments) behind a step t -----------------------------------


def adam(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, decay=0.0):
    def update(w, g, moments, t):
        m, v = beta1 * moments[0] + (1 - beta1) * g, beta2 * moments[1] + (1 - beta2) * g * g
        step = lr * (m / (1 - beta1 ** t)) / (jnp.sqrt(v / (1 - beta2 ** t)) + eps)
        return w * (1 - lr * decay) - step, (m, v)
    return lambda w: (jnp.zeros_like(w), jnp.zeros_like(w)), update


def sgd(lr, momentum):
    def update(w, g, moments, t):
        m = momentum * moments[0] + g
        return w - lr * m, (m,)
    return lambda w: (jnp.zeros_like(w),), update


# What is minimised, how, the field of the batch, and the draws of a step: their site in the program and their number.
WORKLOADS = {
    "a": (simclr, adam(), "img", None),
    "b": (simclr, adam(), "img", None),
    "c": (simclr_resnet, sgd(1e-3, 0.9), "img", None),
    "d": (mae, adam(beta2=0.95, decay=0.05), "img", ("mae/random_split_1/draw_1", 64)),
    "e": (next_byte, adam(decay=0.1), "t", None),
    "f": (completion, adam(), "img", ("completion/draw_1", 784)),
}


def right_of(train, train_label, test, test_label, k=20, temperature=0.1):
    """How many of a part of the test samples the weighed votes of their nearest neighbours put right; rows of unit length."""
    similarity, index = lax.top_k(test @ train.T, k)
    weight = jnp.exp((similarity - similarity[:, :1]) / temperature)
    votes = (nn.one_hot(train_label[index], 10) * weight[..., None]).sum(1)
    return (votes.argmax(1) == test_label).sum()


class Jax:
    def open(self, workload, threads, scratch, compiled=True, size=32):
        self.scratch, self.workload, self.size = scratch, workload, size
        self.key, facts = jax.random.PRNGKey(1), {}
        if workload in ("a", "g"):
            self.pictures = jnp.asarray(files.batch(scratch, workload, "img"))
            self.augment = self.compile(lambda key, x: views.views(jnp, x, jax.random.uniform(key, (len(x), views.DRAWS)), size), self.key, self.pictures)
        if workload in WORKLOADS:
            self.prepare(*WORKLOADS[workload])
            facts["first_seconds"] = self.compile_seconds
        elif workload == "h":
            self.bank = [jnp.asarray(files.batch(scratch, split, field)) for split in ("train", "test") for field in ("x", "label")]
            self.right_of, self.unit = jax.jit(right_of), jax.jit(normalize)  # apart: in one, XLA does not parallelise the product
        return facts | {"version": jax.__version__}

    def compile(self, f, *arguments, **options):
        start = time.perf_counter()
        compiled = jax.jit(f, **options).lower(*arguments).compile()
        self.compile_seconds = time.perf_counter() - start
        return compiled

    def prepare(self, loss, optimizer, field, drawn):
        trained, fixed = files.first_weights(self.scratch, self.workload)
        p = {k: jnp.asarray(v.transpose(2, 3, 1, 0) if v.ndim == 4 else v) for k, v in trained.items()}
        begin, update = optimizer
        self.states = (p, {k: jnp.asarray(v) for k, v in fixed.items()}, {k: begin(w) for k, w in p.items()}, jnp.zeros((), jnp.int32))
        x = files.batch(self.scratch, self.workload, field)
        if field == "t":
            self.x = jnp.asarray(x.astype(np.int32))
        elif self.workload == "f":
            self.x = jnp.asarray(x[:, 0].reshape(len(x), -1).astype(np.float32) / 255)
        else:
            self.x = jnp.asarray(files.normalised(x).transpose(0, 2, 3, 1))
        self.drawn = drawn

        def step(states, x, u):
            p, fixed, moments, t = states
            if u is not None and self.workload == "d":
                u = jnp.argsort(u, 1)
            (value, fixed), g = jax.value_and_grad(loss, has_aux=True)(p, fixed, x, u)
            moved = {k: update(w, g[k], moments[k], t + 1) for k, w in p.items()}
            return ({k: v[0] for k, v in moved.items()}, fixed, {k: v[1] for k, v in moved.items()}, t + 1), value

        def whole(states, key):
            """Augmentation and all; the pictures are seen twice."""
            pictures = jnp.concatenate([self.pictures, self.pictures])
            x = views.views(jnp, pictures, jax.random.uniform(key, (len(pictures), views.DRAWS)), self.size)
            return step(states, x.transpose(0, 2, 3, 1), None)

        if self.workload == "a":
            self.step = self.compile(whole, self.states, self.key, donate_argnums=0)
        else:
            self.step = self.compile(step, self.states, self.x, self.draw(0), donate_argnums=0)

    def draw(self, step=None):
        """Those of sslc's step of that number, or fresh ones."""
        if not self.drawn:
            return None
        site, count = self.drawn
        if step is not None:
            return jnp.asarray(draws.uniform(step, site, (len(self.x), count)))
        self.key, key = jax.random.split(self.key)
        return jax.random.uniform(key, (len(self.x), count))

    def advance(self, number=None):
        if self.workload == "a":
            self.key, key = jax.random.split(self.key)
            self.states, loss = self.step(self.states, key)
        else:
            self.states, loss = self.step(self.states, self.x, self.draw(number))
        return loss.block_until_ready()

    def once(self):
        if self.workload == "g":
            self.key, key = jax.random.split(self.key)
            return self.augment(key, self.pictures).block_until_ready()
        return self.judge() if self.workload == "h" else self.advance()

    def steps(self, steps):
        """Losses of the first steps on sslc's batch, and what memory they took."""
        losses, before, peak = watch_memory(lambda: [float(self.advance(i)) for i in range(steps)])
        return {"losses": losses, "before": before, "peak": peak}

    def first(self, steps):
        results, before, peak = watch_memory(lambda: [self.once() for _ in range(steps)])
        return {"result": results[-1] if self.workload == "h" else None, "before": before, "peak": peak}

    def time(self, steps):
        return time_each(self.once, steps)

    def views(self, rounds):
        """How augmented pictures are distributed, beside those of sslc."""
        made = [self.augment(key, self.pictures) for key in jax.random.split(self.key, rounds)]
        return files.compare_views(np.load(f"{self.scratch}/views.npy"), np.concatenate(made))

    def judge(self):
        train, train_label, test, label = self.bank
        train, test, part = self.unit(train), self.unit(test), min(len(test), 1000)
        right = [self.right_of(train, train_label, test[i:i + part], label[i:i + part]) for i in range(0, len(test), part)]
        return float(sum(right)) / len(test)


if __name__ == "__main__":
    serve(Jax())
