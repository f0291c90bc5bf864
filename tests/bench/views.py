"""The augmentation of the seed recipe on a whole batch at once, each picture with draws of its own, in PyTorch's or JAX's arrays alike.

Distributions are torchvision's. Crops are products with the matrices of bilinear weights, which both libraries are fast at.
"""
import math

TRIES = 10
DRAWS = 2 * TRIES + 13  # numbers in 0..1 that a picture takes


def boxes(xp, u, side):
    """torchvision's: of ten random boxes the first that fits, else the whole picture, which needs none in 10^8."""
    area = side * side * (0.2 + 0.8 * u[:, :TRIES])
    aspect = xp.exp(math.log(3 / 4) + math.log(16 / 9) * u[:, TRIES:2 * TRIES])
    wide, tall = xp.floor(xp.sqrt(area * aspect) + 0.5), xp.floor(xp.sqrt(area / aspect) + 0.5)
    fits = (wide > 0) & (wide <= side) & (tall > 0) & (tall <= side)
    tries = xp.arange(TRIES)
    chosen = fits & (tries == xp.argmin(xp.where(fits, tries, TRIES), 1)[:, None])
    some = xp.any(fits, 1)
    return [xp.where(some, xp.where(chosen, extent, 0.0).sum(1), float(side)) for extent in (tall, wide)]


def weights(xp, start, extent, mirrored, side, size):
    """[N, size, side]: what each row of a resized box takes from rows of the picture."""
    i = xp.arange(size) + 0.5
    at = xp.where(mirrored[:, None], size - i, i)
    point = start[:, None] + at * (extent[:, None] / size) - 0.5
    point = xp.maximum(xp.minimum(point, (start + extent - 1)[:, None]), start[:, None])
    return xp.maximum(1 - xp.abs(point[:, :, None] - xp.arange(side)), xp.zeros_like(start)[:, None, None])


def grey(x):
    return 0.299 * x[:, 0:1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:3]


def turned(xp, x, turn):
    """Another hue, by a share of the circle."""
    r, g, b = x[:, 0], x[:, 1], x[:, 2]
    top = xp.maximum(xp.maximum(r, g), b)
    c = top - xp.minimum(xp.minimum(r, g), b)
    d = xp.where(c > 0, c, 1.0)
    h = xp.where(r == top, (g - b) / d, xp.where(g == top, 2 + (b - r) / d, 4 + (r - g) / d)) + 6 * turn[:, None, None]

    def channel(n):
        k = (n + h) % 6
        return top - c * xp.clip(xp.minimum(k, 4 - k), 0, 1)

    return xp.stack([channel(n) for n in (5, 3, 1)], 1)


def jittered(xp, x, u):
    """Brightness, contrast, saturation and hue in an order of the picture's own."""
    gains, turn, order = 0.6 + 0.8 * u[:, :3], 0.2 * u[:, 3] - 0.1, xp.argsort(u[:, 4:8], 1)
    for i in range(4):
        kind = order[:, i][:, None, None, None]
        gain = xp.where(order[:, i] == 0, gains[:, 0], xp.where(order[:, i] == 1, gains[:, 1], gains[:, 2]))[:, None, None, None]
        y = grey(x)
        other = xp.where(kind == 0, 0.0, xp.where(kind == 1, y.mean((1, 2, 3))[:, None, None, None], y))
        x = xp.where(kind == 3, turned(xp, x, turn), xp.clip(gain * x + (1 - gain) * other, 0, 1))
    return x


def views(xp, pictures, u, size):
    """pictures u8 [N, 3, side, side], u [N, DRAWS]: normalised reals [N, 3, size, size]."""
    side, own = pictures.shape[2], u[:, 2 * TRIES:]
    tall, wide = boxes(xp, u, side)
    top, left = xp.floor(own[:, 0] * (side - tall + 1)), xp.floor(own[:, 1] * (side - wide + 1))
    down = weights(xp, top, tall, own[:, 2] < 0, side, size)
    across = weights(xp, left, wide, own[:, 2] < 0.5, side, size)
    x = (down[:, None] @ (pictures * (1 / 255))) @ xp.swapaxes(across, 1, 2)[:, None]
    x = xp.where((own[:, 3] < 0.8)[:, None, None, None], jittered(xp, x, own[:, 4:12]), x)
    x = xp.where((own[:, 12] < 0.2)[:, None, None, None], grey(x), x)
    return (x - 0.5) / 0.5
