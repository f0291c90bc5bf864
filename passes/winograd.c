/* 3x3 convolutions in fewer products, after Winograd (Lavin and Gray, Fast Algorithms for Convolutional Neural Networks, 2015). A tile of
 * m outputs a side is computed from m + 2 inputs a side; of one dimension, with taps g, inputs d and outputs y,
 *
 *   y = A ((G g) . (B d))            . : element by element
 *
 * and of two dimensions with each matrix from both sides. Summed over channels, the products of one place of the tile are a matrix product, and
 * there are (m + 2)^2 of these instead of 9 m^2. The derivative by the inputs is a convolution as well, with the taps in reverse;
 * that by the taps is the same bilinear form the other way round:
 *
 *   dg = G' sum over tiles ((A' dy) . (B d))
 *
 * So a launch becomes four: both operands transformed, the products, and the transform back with all that followed the sum in its kernel. These
 * move (m + 2)^2 / m^2 times the elements of each side, so they pay where channels are many, and where what they hand on is not large.
 * Only sums in f32: what rounding adds is stated in docs/benchmarks.md. */
#include "ir/work.h"
#include "passes/passes.h"
#include "passes/register_tile.h"
#include "passes/transfer.h"

enum { TAPS = 3, LARGEST_TILE = 6 };

/* Of m outputs a side, each with a row for one of the m + 2 places of a tile: B, G, and the transpose of A. */
typedef struct {
  uint32_t outputs, places;
  double input[LARGEST_TILE * LARGEST_TILE], tap[LARGEST_TILE * TAPS], output[LARGEST_TILE * LARGEST_TILE];
} algorithm;

static const algorithm algorithms[] = {
    {4, 6,
     {4, 0, -5, 0, 1, 0, 0, -4, -4, 1, 1, 0, 0, 4, -4, -1, 1, 0, 0, -2, -1, 2, 1, 0, 0, 2, -1, -2, 1, 0, 0, 4, 0, -5, 0, 1},
     {1. / 4, 0, 0, -1. / 6, -1. / 6, -1. / 6, -1. / 6, 1. / 6, -1. / 6, 1. / 24, 1. / 12, 1. / 6, 1. / 24, -1. / 12, 1. / 6, 0, 0, 1},
     {1, 0, 0, 0, 1, 1, 1, 1, 1, -1, 1, -1, 1, 2, 4, 8, 1, -2, 4, -8, 0, 0, 0, 1}},
    {2, 4, {1, 0, -1, 0, 0, 1, 1, 0, 0, -1, 1, 0, 0, 1, 0, -1}, {1, 0, 0, 0.5, 0.5, 0.5, 0.5, -0.5, 0.5, 0, 0, 1}, {1, 0, 1, 1, 1, -1, 0, -1}},
};

enum { NO_AXIS = UINT32_MAX };
#define AXIS(i) ((axis_set)1 << (i))

/* A stage that is such a convolution: `image` runs over places and taps together, `other` over one of them. */
typedef struct {
  const kernel *kernel;
  uint32_t stage;
  const expr *image, *other;
  bool by_taps;                 /* places are summed: the derivative by the taps */
  uint32_t batch, channel, kept; /* the image's images and channels, and what only the other has */
  uint32_t place[2], tap[2];
  bool reversed[2];              /* a place minus a tap */
  const algorithm *by;
  int64_t rows;   /* tiles that lie together, as a register tile reads them; 0: they do not */
  uint32_t parts; /* that its products come in, each of so many rows of the tile */
} convolution;

/* A kernel that takes the place of a part of one, and which of the buffers of that its own are. */
typedef struct {
  kernel *kernel;
  const uint32_t *buffers;
} piece;

/* The kernels that stand for one. */
typedef struct {
  const kernel *from;
  uint32_t parts;
  piece image[LARGEST_TILE], other[LARGEST_TILE], result; /* of each part */
  kernel *product;
} replacement;

static int64_t extent(const convolution *c, uint32_t axis) { return c->kernel->axes[axis].extent; }
static int64_t tiles(const convolution *c, int side) { return extent(c, c->place[side]) / c->by->outputs; }
static uint32_t places_of_part(const convolution *c) { return c->by->places * c->by->places / c->parts; }
static int64_t all_places(const convolution *c) { return c->by->places * c->by->places; }
static int64_t all_tiles(const convolution *c) { return extent(c, c->batch) * tiles(c, 0) * tiles(c, 1); }

/* -- which stages are ----------------------------------------------------------------------------------------- */

/* How an expression changes along a place and a tap: 1 as a function of their sum alone, -1 of their difference, 0 otherwise. */
static bool index_moves(const kernel *k, const expr *index, uint32_t place, uint32_t tap, int *sign) {
  int64_t coefficient[MAX_AXES], offset;
  if (!(index->axes & (AXIS(place) | AXIS(tap)))) return true;
  if (!expr_affine(k, index, coefficient, &offset) || coefficient[place] != 1 || (coefficient[tap] != 1 && coefficient[tap] != -1)) return false;
  if (*sign && *sign != coefficient[tap]) return false;
  *sign = (int)coefficient[tap];
  return true;
}

static bool moves_together(const kernel *k, const expr *e, uint32_t place, uint32_t tap, int *sign) {
  if (!(e->axes & (AXIS(place) | AXIS(tap)))) return true;
  if (e->kind == EXPR_AXIS || e->kind == EXPR_STAGE) return false;
  for (uint32_t i = 0; i < e->n_args; i++)
    if (!(e->kind == EXPR_READ ? index_moves : moves_together)(k, e->args[i], place, tap, sign)) return false;
  for (uint32_t i = 0; i < e->n_conditions; i++)
    if (!index_moves(k, e->conditions[i].subject, place, tap, sign)) return false;
  return true;
}

static uint32_t only(axis_set axes) { return axes && !(axes & (axes - 1)) ? (uint32_t)__builtin_ctzll(axes) : NO_AXIS; }

static bool reads_stages(const expr *e) {
  if (e->kind == EXPR_STAGE) return true;
  for (uint32_t i = 0; i < e->n_args; i++)
    if (reads_stages(e->args[i])) return true;
  return false;
}

/* Of the axes that only the image has and those that both have, two pairs move together; which of them are the taps says which of the two it is. */
static bool find_windows(convolution *c, axis_set own, axis_set shared) {
  const kernel *k = c->kernel;
  uint32_t n = 0;
  for (uint32_t x = 0; x < k->n_axes; x++)
    for (uint32_t y = 0; own & AXIS(x) && y < k->n_axes; y++) {
      if (!(shared & AXIS(y)) || (k->axes[x].extent != TAPS && k->axes[y].extent != TAPS)) continue;
      const bool by_taps = k->axes[x].extent == TAPS;
      const uint32_t place = by_taps ? y : x, tap = by_taps ? x : y;
      int sign = 0;
      if (!moves_together(k, c->image, place, tap, &sign) || !sign) continue;
      if (n == 2 || (n && by_taps != c->by_taps)) return false;
      c->by_taps = by_taps;
      c->place[n] = place;
      c->tap[n] = tap;
      c->reversed[n++] = sign < 0;
    }
  if (n < 2 || c->place[0] == c->place[1] || c->tap[0] == c->tap[1]) return false;
  const axis_set windows = AXIS(c->place[0]) | AXIS(c->place[1]) | AXIS(c->tap[0]) | AXIS(c->tap[1]);
  const uint32_t mine = only(own & ~windows), common = only(shared & ~windows);
  c->batch = c->by_taps ? common : mine;
  c->channel = c->by_taps ? mine : common;
  return c->batch != NO_AXIS && c->channel != NO_AXIS;
}

static bool find_convolution(const kernel *k, convolution *out) {
  contraction_form f;
  *out = (convolution){.kernel = k, .stage = k->n_stages};
  for (uint32_t i = 0; i < k->n_stages; i++) {
    if (k->stages[i].monoid == MONOID_NONE) continue;
    if (out->stage < k->n_stages || !stage_contraction(k, i, &f) || f.batch || k->stages[i].type != DTYPE_F32) return false;
    out->stage = i;
  }
  if (out->stage == k->n_stages || reads_stages(k->stages[out->stage].body)) return false;
  for (uint32_t i = 0; i < k->n_stages; i++)
    if (k->stages[i].output >= 0 && k->stages[i].free != k->stages[out->stage].free) return false;
  for (int side = 0; side < 2; side++) {
    out->image = side ? f.right : f.left;
    out->other = side ? f.left : f.right;
    out->kept = only(out->other->axes & ~out->image->axes);
    if (out->kept != NO_AXIS && find_windows(out, out->image->axes & ~out->other->axes, out->image->axes & out->other->axes)) return true;
  }
  return false;
}

/* -- what it takes ---------------------------------------------------------------------------------------------- */

/* What lies between the transforms is written and read once more; so that this costs less than the products that are saved, it must lie
 * near, and be used often. Sums over tiles need but some places of these at a time. */
enum { ENOUGH_CHANNELS = 32, ROW_PANEL = 16, MOST_BYTES = 128 << 20, BYTES_OF_A_PART = 64 << 20, MOST_TAPS = 2 /* for each number of an image that is transformed */ };

static int64_t panel_width(const target *t) { return TILE_VECTORS * (int64_t)(t->vector_bytes / sizeof(float)); }

/* Axes over images, rows of tiles and tiles of a row, of which the inner ones together are so many. */
static bool cut_tiles(const convolution *c, int64_t together, int64_t inner[3]) {
  const int64_t all[] = {extent(c, c->batch), tiles(c, 0), tiles(c, 1)};
  for (int i = 3; i-- > 0; together /= inner[i]) {
    inner[i] = all[i] % together == 0 ? together : all[i];
    if (together % inner[i]) return false;
  }
  return together == 1;
}

static bool reads_bf16(const expr *e) {
  bool found = e->kind == EXPR_READ && e->type == DTYPE_BF16;
  for (uint32_t i = 0; i < e->n_args; i++) found |= reads_bf16(e->args[i]);
  return found;
}

/* Vectors multiply bf16 at twice the rate of f32, which is no more than is saved here; a matrix unit does better. */
static bool has_faster_products(const convolution *c, const target *t) { return t->warps || (t->tiles && reads_bf16(c->image) && reads_bf16(c->other)); }

static bool pays(convolution *c, const target *t) {
  const int64_t channels = extent(c, c->channel), kept = extent(c, c->kept), width = panel_width(t);
  if (has_faster_products(c, t) || kept % width || channels % width || channels * kept < ENOUGH_CHANNELS * (channels + kept)) return false;
  for (uint32_t i = 0; i < sizeof algorithms / sizeof *algorithms; i++) {
    c->by = &algorithms[i];
    if (extent(c, c->place[0]) % c->by->outputs || extent(c, c->place[1]) % c->by->outputs) continue;
    const int64_t images = all_tiles(c) * (channels + kept), bytes = all_places(c) * images * (int64_t)sizeof(float);
    for (c->parts = 1; c->by_taps && bytes > c->parts * BYTES_OF_A_PART && c->parts < c->by->places;) c->parts++;
    while (c->by->places % c->parts) c->parts++;
    int64_t inner[3];
    c->rows = tile_rows(t, all_tiles(c));
    if (c->by_taps || !cut_tiles(c, c->rows, inner)) c->rows = 0;
    if (channels * kept <= MOST_TAPS * images && bytes <= MOST_BYTES) return true;
  }
  return false;
}

/* -- kernels ------------------------------------------------------------------------------------------------------ */

typedef const expr *square[LARGEST_TILE][LARGEST_TILE];

/* sum of factor * x, without what is 0. */
static const expr *combine(kernel *k, const double *factor, const expr *const *x, uint32_t n) {
  const expr *sum = NULL;
  for (uint32_t i = 0; i < n; i++) {
    if (factor[i] == 0) continue;
    const bool negative = factor[i] < 0;
    const double size = negative ? -factor[i] : factor[i];
    const expr *term = x[i];
    if (size != 1) term = expr_apply(k, OP_MUL, DTYPE_F32, (const expr *[]){term, expr_constant(k, DTYPE_F32, (scalar){.real = size})}, 2);
    if (!sum) sum = negative ? expr_apply(k, OP_NEG, DTYPE_F32, &term, 1) : term;
    else sum = expr_apply(k, negative ? OP_SUB : OP_ADD, DTYPE_F32, (const expr *[]){sum, term}, 2);
  }
  return sum;
}

/* into = M from M', or M' from M where `back`; `from` has a side of `columns`, M as many, or rows. */
static void transform(kernel *k, const double *matrix, uint32_t rows, uint32_t columns, bool back, square from, square into) {
  const uint32_t n = back ? columns : rows, m = back ? rows : columns;
  square half;
  double factor[LARGEST_TILE];
  for (int pass = 0; pass < 2; pass++)
    for (uint32_t a = 0; a < n; a++) {
      const expr *line[LARGEST_TILE];
      for (uint32_t i = 0; i < m; i++) factor[i] = back ? matrix[i * columns + a] : matrix[a * columns + i];
      for (uint32_t b = 0; b < (pass ? n : m); b++) {
        for (uint32_t i = 0; i < m; i++) line[i] = pass ? half[b][i] : from[i][b];
        if (pass) into[b][a] = combine(k, factor, line, m);
        else half[a][b] = combine(k, factor, line, m);
      }
    }
}

/* A kernel that is being made, and what stands for the axes of the convolution's. */
typedef struct {
  const convolution *c;
  kernel *k;
  const expr *axes[MAX_AXES];
  const expr *down, *across; /* of a tile */
  const expr *tile;          /* its number */
  uint32_t *buffers;         /* as in a transfer, for all of them */
} making;

static making begin(const convolution *c, const char *name) {
  making m = {.c = c, .k = kernel_new(c->kernel->arena, arena_printf(c->kernel->arena, "%s_%s", c->kernel->name, name), c->kernel->where)};
  m.buffers = ARENA_ARRAY(m.k->arena, uint32_t, c->kernel->n_buffers);
  return m;
}

static const expr *new_axis(kernel *k, const char *name, int64_t extent) { return extent == 1 ? expr_integer(k, 0) : expr_axis(k, kernel_add_axis(k, name, extent)); }

/* outer * inner + another, where there are both. */
static const expr *new_axes(kernel *k, const char *name, int64_t extent, int64_t inner) {
  const expr *outer = new_axis(k, name, extent / inner);
  return expr_add(k, expr_scale(k, outer, inner), new_axis(k, name, inner));
}

static void add_tiles(making *m) {
  const convolution *c = m->c;
  int64_t inner[3] = {1, 1, 1};
  if (c->rows) cut_tiles(c, c->rows, inner);
  m->axes[c->batch] = new_axes(m->k, "n", extent(c, c->batch), inner[0]);
  m->down = new_axes(m->k, "down", tiles(c, 0), inner[1]);
  m->across = new_axes(m->k, "across", tiles(c, 1), inner[2]);
  m->tile = expr_add(m->k, expr_scale(m->k, expr_add(m->k, expr_scale(m->k, m->axes[c->batch], tiles(c, 0)), m->down), tiles(c, 1)), m->across);
}

/* An axis of the convolution, in two where it lies in panels. */
static void add_channels(making *m, const char *name, uint32_t axis, int64_t width) {
  const int64_t all = extent(m->c, axis);
  m->axes[axis] = new_axes(m->k, name, all, width && width < all ? width : all);
}

/* The place or tap that an element of a tile stands for. */
static const expr *place_at(const making *m, int side, int64_t at) { return expr_add(m->k, expr_scale(m->k, side ? m->across : m->down, m->c->by->outputs), expr_integer(m->k, at)); }
static const expr *tap_at(const making *m, int side, int64_t at) { return expr_integer(m->k, m->c->reversed[side] ? TAPS - 1 - at : at); }

static transfer transfer_into(const making *m) {
  transfer t = transfer_begin(m->c->kernel, m->k);
  for (uint32_t a = 0; a < m->c->kernel->n_axes; a++) t.axes[a] = m->axes[a];
  t.buffers = m->buffers;
  return t;
}

static const expr *value_at(making *m, const expr *e, const expr *const place[2], const expr *const tap[2]) {
  transfer t = transfer_into(m);
  for (int side = 0; side < 2; side++) {
    t.axes[m->c->place[side]] = place ? place[side] : NULL;
    t.axes[m->c->tap[side]] = tap ? tap[side] : NULL;
  }
  return transfer_expr(&t, e);
}

/* Gives buffers their layouts, and says which of the convolution's they are. */
static piece finish(const making *m) {
  uint32_t *numbers = ARENA_ARRAY(m->k->arena, uint32_t, m->k->n_buffers + 1);
  for (uint32_t i = 0; i < m->c->kernel->n_buffers; i++) {
    if (!m->buffers[i]) continue;
    numbers[m->buffers[i] - 1] = i;
    m->k->buffers[m->buffers[i] - 1].layout = m->c->kernel->buffers[i].layout;
  }
  return (piece){m->k, numbers};
}

/* For each place of a tile, or of a part of it, a matrix; in panels of its columns, where a width is given. */
typedef struct {
  tensor_type type;
  layout layout;
} matrices;

static matrices matrices_of(const convolution *c, int64_t rows, int64_t columns, int64_t width) {
  matrices m = {.type = {.dtype = DTYPE_F32, .rank = 3, .dim = {places_of_part(c), rows, columns}}};
  if (width && width < columns) m.layout = layout_blocked(&m.type, (const uint32_t[]){0, 2, 1}, 2, width);
  return m;
}

/* Sums over tiles have panels of rows of the result. Those over channels are short, so their rows do not stay in a cache long, and have to come
 * line by line in the order in which they are used: so many rows together, ROW_PANEL channels of each. */
static matrices image_matrices(const convolution *c) {
  matrices m = matrices_of(c, all_tiles(c), extent(c, c->channel), c->by_taps ? ROW_PANEL : 0);
  if (c->rows) m.layout = (layout){5, {{0, 1, m.type.dim[0]}, {1, c->rows, m.type.dim[1] / c->rows}, {2, ROW_PANEL, m.type.dim[2] / ROW_PANEL}, {1, 1, c->rows}, {2, 1, ROW_PANEL}}};
  return m;
}
static matrices other_matrices(const convolution *c, int64_t width) { return matrices_of(c, c->by_taps ? all_tiles(c) : extent(c, c->channel), extent(c, c->kept), width); }
static matrices result_matrices(const convolution *c) { return matrices_of(c, c->by_taps ? extent(c, c->channel) : all_tiles(c), extent(c, c->kept), 0); }

static uint32_t add_matrices(kernel *k, const char *name, matrices m, buffer_access access) {
  const uint32_t b = kernel_add_buffer(k, name, m.type, access);
  k->buffers[b].layout = m.layout;
  return b;
}

/* One stage for each place of a part, into the last buffer. */
static void write_square(making *m, square s, uint32_t part, matrices to, const expr *row, const expr *column) {
  const uint32_t side = m->c->by->places, n = places_of_part(m->c), out = add_matrices(m->k, "transformed", to, ACCESS_OUT);
  for (uint32_t i = 0, at = part * n; i < n; i++, at++) {
    const expr *index[] = {expr_integer(m->k, i), row, column};
    kernel_add_stage(m->k, (stage){.name = "place", .type = DTYPE_F32, .body = s[at / side][at % side], .output = (int32_t)out, .index = index, .where = m->k->where});
  }
}

static piece image_kernel(const convolution *c, uint32_t part) {
  making m = begin(c, "image");
  square inputs, out;
  const uint32_t n = c->by->places;
  add_tiles(&m);
  add_channels(&m, "channel", c->channel, c->by_taps || c->rows ? ROW_PANEL : 0);
  for (uint32_t i = 0; i < n; i++)
    for (uint32_t j = 0; j < n; j++) {
      const expr *place[] = {place_at(&m, 0, 0), place_at(&m, 1, 0)};
      const expr *tap[] = {tap_at(&m, 0, i), tap_at(&m, 1, j)};
      inputs[i][j] = value_at(&m, c->image, place, tap);
    }
  transform(m.k, c->by->input, n, n, false, inputs, out);
  write_square(&m, out, part, image_matrices(c), m.tile, m.axes[c->channel]);
  return finish(&m);
}

/* The other operand: taps of all channels, or what tiles got for their outputs. */
static piece other_kernel(const convolution *c, uint32_t part, int64_t width) {
  making m = begin(c, "other");
  square inputs, out;
  const uint32_t side = c->by_taps ? c->by->outputs : TAPS;
  if (c->by_taps) add_tiles(&m);
  else add_channels(&m, "channel", c->channel, 0);
  add_channels(&m, "kept", c->kept, width);
  for (uint32_t i = 0; i < side; i++)
    for (uint32_t j = 0; j < side; j++) {
      const expr *at[] = {c->by_taps ? place_at(&m, 0, i) : tap_at(&m, 0, i), c->by_taps ? place_at(&m, 1, j) : tap_at(&m, 1, j)};
      inputs[i][j] = value_at(&m, c->other, c->by_taps ? at : NULL, c->by_taps ? NULL : at);
    }
  transform(m.k, c->by_taps ? c->by->output : c->by->tap, c->by->places, side, false, inputs, out);
  write_square(&m, out, part, other_matrices(c, width), c->by_taps ? m.tile : m.axes[c->channel], m.axes[c->kept]);
  return finish(&m);
}

/* For each place of a tile, a matrix product: of tiles by taps, or of channels by outputs. */
static kernel *product_kernel(const convolution *c, int64_t width) {
  kernel *k = kernel_new(c->kernel->arena, arena_printf(c->kernel->arena, "%s_product", c->kernel->name), c->kernel->where);
  const matrices image = image_matrices(c), other = other_matrices(c, width), sums = result_matrices(c);
  const expr *place = new_axis(k, "place", places_of_part(c)), *row = new_axis(k, "row", sums.type.dim[1]), *column = new_axis(k, "column", sums.type.dim[2]);
  const expr *summed = new_axis(k, "summed", other.type.dim[1]);
  const uint32_t buffers[] = {add_matrices(k, "image", image, ACCESS_IN), add_matrices(k, "other", other, ACCESS_IN), add_matrices(k, "sums", sums, ACCESS_OUT)};
  const expr *left[] = {place, c->by_taps ? summed : row, c->by_taps ? row : summed}, *right[] = {place, summed, column}, *out[] = {place, row, column};
  const scalar none = {.real = 0};
  const expr *factors[] = {expr_read(k, buffers[0], left, NULL, 0, none), expr_read(k, buffers[1], right, NULL, 0, none)};
  kernel_add_stage(k, (stage){.name = "sum", .type = DTYPE_F32, .monoid = MONOID_SUM, .free = place->axes | row->axes | column->axes, .reduced = summed->axes,
                              .body = expr_apply(k, OP_MUL, DTYPE_F32, factors, 2), .output = (int32_t)buffers[2], .index = out, .where = k->where});
  return k;
}

/* All stages of the convolution's kernel for one output of the tile, the sum replaced by its value. */
static void add_stages(making *m, const expr *const at[2], const expr *sum) {
  const kernel *from = m->c->kernel;
  transfer t = transfer_into(m);
  for (int side = 0; side < 2; side++) t.axes[m->c->by_taps ? m->c->tap[side] : m->c->place[side]] = at[side];
  for (uint32_t i = 0; i < from->n_stages; i++) {
    stage whole = from->stages[i], s;
    if (i != m->c->stage) {
      transfer_add(&t, i, transfer_stage(&t, i, whole.output >= 0));
      continue;
    }
    s = (stage){.name = whole.name, .type = whole.type, .output = -1, .body = sum, .where = whole.where, .free = transfer_axes(&t, whole.free)};
    if (whole.output >= 0) {
      const uint32_t rank = from->buffers[whole.output].type.rank;
      const expr **index = ARENA_ARRAY(m->k->arena, const expr *, rank);
      for (uint32_t d = 0; d < rank; d++) index[d] = transfer_expr(&t, whole.index[d]);
      s.index = index;
      if (!m->buffers[whole.output]) m->buffers[whole.output] = kernel_add_buffer(m->k, from->buffers[whole.output].name, from->buffers[whole.output].type, ACCESS_OUT) + 1;
      s.output = (int32_t)m->buffers[whole.output] - 1;
    }
    transfer_add(&t, i, s);
  }
}

static piece result_kernel(const convolution *c, int64_t width) {
  making m = begin(c, "result");
  square sums, out;
  const uint32_t n = c->by->places, side = c->by_taps ? TAPS : c->by->outputs;
  for (uint32_t part = 0; part < c->parts; part++) add_matrices(m.k, "sums", result_matrices(c), ACCESS_IN);
  if (c->by_taps) add_channels(&m, "channel", c->channel, 0);
  else add_tiles(&m);
  add_channels(&m, "kept", c->kept, width);
  for (uint32_t i = 0; i < n * n; i++) {
    const expr *index[] = {expr_integer(m.k, i % places_of_part(c)), c->by_taps ? m.axes[c->channel] : m.tile, m.axes[c->kept]};
    sums[i / n][i % n] = expr_read(m.k, i / places_of_part(c), index, NULL, 0, (scalar){.real = 0});
  }
  transform(m.k, c->by_taps ? c->by->tap : c->by->output, n, side, true, sums, out);
  for (uint32_t i = 0; i < side; i++)
    for (uint32_t j = 0; j < side; j++)
      add_stages(&m, (const expr *[]){c->by_taps ? tap_at(&m, 0, i) : place_at(&m, 0, i), c->by_taps ? tap_at(&m, 1, j) : place_at(&m, 1, j)}, out[i][j]);
  return finish(&m);
}

/* -- the plan ------------------------------------------------------------------------------------------------------- */

typedef struct known {
  const kernel *from; /* as it stood in the plan */
  replacement made;
  struct known *next;
} known;

typedef struct {
  plan *plan;
  arena *arena;
  const target *target;
  known *known;
  made_kernels made;
  const plan_launch *old;
  uint32_t *producer; /* by buffer: of the old launches the one that copies something to it + 1 */
} replacing;

static void mark_buffers(const expr *e, bool *marks) {
  if (e->kind == EXPR_READ) marks[e->number] = true;
  for (uint32_t i = 0; i < e->n_args; i++) mark_buffers(e->args[i], marks);
}

static piece share(replacing *r, piece p) { return (piece){made_once(&r->made, p.kernel, r->arena), p.buffers}; }

/* The kernel on what its activations were copied from: the transforms put them in order themselves. */
static const kernel *on_sources(replacing *r, const convolution *c, uint32_t *buffers) {
  kernel *k = arena_copy(r->arena, c->kernel, sizeof *k);
  bool *marks = ARENA_ARRAY(r->arena, bool, k->n_buffers);
  mark_buffers(c->image, marks);
  if (c->by_taps) mark_buffers(c->other, marks);
  k->buffers = arena_copy(r->arena, k->buffers, k->n_buffers * sizeof *k->buffers);
  for (uint32_t b = 0; b < k->n_buffers; b++) {
    if (!marks[b] || !r->producer[buffers[b]]) continue;
    const plan_launch *l = &r->old[r->producer[buffers[b]] - 1];
    buffers[b] = l->buffers[l->kernel->stages[0].body->number];
    k->buffers[b].layout = r->plan->buffers[buffers[b]].layout;
  }
  return k;
}

static const replacement *replacement_for(replacing *r, const kernel *from, convolution c) {
  for (known *n = r->known; n; n = n->next) {
    bool same = n->from == from;
    for (uint32_t b = 0; same && b < from->n_buffers; b++) same = layout_equal(&n->made.from->buffers[b].layout, &c.kernel->buffers[b].layout);
    if (same) return &n->made;
  }
  const int64_t width = panel_width(r->target);
  known *n = ARENA_NEW(r->arena, known);
  replacement *m = &n->made;
  m->from = c.kernel;
  m->parts = c.parts;
  for (uint32_t part = 0; part < c.parts; part++) {
    m->image[part] = share(r, image_kernel(&c, part));
    m->other[part] = share(r, other_kernel(&c, part, width));
  }
  m->product = made_once(&r->made, product_kernel(&c, width), r->arena);
  m->result = share(r, result_kernel(&c, width));
  n->from = from;
  n->next = r->known;
  r->known = n;
  return m;
}

static uint32_t new_buffer(replacing *r, const kernel *k, uint32_t like) {
  plan_buffer b = {.name = "", .role = "", .type = k->buffers[like].type, .layout = k->buffers[like].layout, .storage = STORAGE_TEMPORARY, .alias = -1, .where = k->where};
  return plan_add_buffer(r->plan, b);
}

/* Launches a kernel on buffers of the convolution's launch, except for `n` of its own from number `first` on. */
static void launch(replacing *r, const piece *p, const uint32_t *of, uint32_t first, uint32_t n, const uint32_t *own) {
  uint32_t *buffers = ARENA_ARRAY(r->arena, uint32_t, p->kernel->n_buffers);
  for (uint32_t i = 0; i < p->kernel->n_buffers; i++) buffers[i] = i >= first && i - first < n ? own[i - first] : of[p->buffers[i]];
  plan_add_launch(r->plan, p->kernel, buffers);
}

static bool replace(replacing *r, const plan_launch *l) {
  convolution c;
  if (l->repeat || !find_convolution(l->kernel, &c) || !pays(&c, r->target)) return false;
  uint32_t *buffers = arena_copy(r->arena, l->buffers, l->kernel->n_buffers * sizeof *buffers);
  c.kernel = on_sources(r, &c, buffers);
  const replacement *m = replacement_for(r, l->kernel, c);
  uint32_t sums[LARGEST_TILE];
  for (uint32_t part = 0; part < m->parts; part++) {
    const uint32_t image = new_buffer(r, m->product, 0), other = new_buffer(r, m->product, 1);
    sums[part] = new_buffer(r, m->product, 2);
    launch(r, &m->other[part], buffers, m->other[part].kernel->n_buffers - 1, 1, &other);
    launch(r, &m->image[part], buffers, m->image[part].kernel->n_buffers - 1, 1, &image);
    plan_add_launch(r->plan, m->product, (uint32_t[]){image, other, sums[part]});
    r->plan->launches[r->plan->n_launches - 1].flops = kernel_work_of(l->kernel).flops / m->parts;
  }
  launch(r, &m->result, buffers, 0, m->parts, sums);
  return true;
}

/* Copies that nobody reads any more, and buffers that nobody uses. */
static void drop_unused(replacing *r) {
  plan *p = r->plan;
  bool *read = ARENA_ARRAY(r->arena, bool, p->n_buffers), *used = ARENA_ARRAY(r->arena, bool, p->n_buffers);
  bool *kept = ARENA_ARRAY(r->arena, bool, p->n_launches);
  uint32_t *number = ARENA_ARRAY(r->arena, uint32_t, p->n_buffers), n = 0;
  for (uint32_t l = p->n_launches; l-- > 0;) {
    const plan_launch *at = &p->launches[l];
    const bool copies = kernel_is_copy(at->kernel);
    const uint32_t to = copies ? at->buffers[at->kernel->stages[0].output] : 0;
    kept[l] = !copies || read[to] || p->buffers[to].storage != STORAGE_TEMPORARY;
    for (uint32_t b = 0; kept[l] && b < at->kernel->n_buffers; b++) used[at->buffers[b]] = read[at->buffers[b]] = true;
  }
  for (uint32_t b = 0; b < p->n_buffers; b++) {
    if (!used[b] && p->buffers[b].storage == STORAGE_TEMPORARY) continue;
    number[b] = n;
    p->buffers[n++] = p->buffers[b];
  }
  p->n_buffers = n;
  n = 0;
  for (uint32_t l = 0; l < p->n_launches; l++) {
    if (!kept[l]) continue;
    uint32_t *buffers = arena_copy(p->arena, p->launches[l].buffers, p->launches[l].kernel->n_buffers * sizeof *buffers);
    for (uint32_t b = 0; b < p->launches[l].kernel->n_buffers; b++) buffers[b] = number[buffers[b]];
    p->launches[n] = p->launches[l];
    p->launches[n++].buffers = buffers;
  }
  p->n_launches = n;
}

bool pass_winograd(plan *p, pass_context *c) {
  if (!for_each_region(p, c, pass_winograd)) return false;
  const plan_launch *old = p->launches;
  const uint32_t n = p->n_launches;
  replacing r = {.plan = p, .arena = p->arena, .target = c->target, .old = old, .producer = ARENA_ARRAY(p->arena, uint32_t, p->n_buffers)};
  for (uint32_t i = 0; i < n; i++)
    if (kernel_is_copy(old[i].kernel)) r.producer[old[i].buffers[old[i].kernel->stages[0].output]] = i + 1;
  p->launches = NULL;
  p->n_launches = p->launches_capacity = 0;
  for (uint32_t i = 0; i < n; i++)
    if (!replace(&r, &old[i])) *ARENA_PUSH(p->arena, p->launches, p->n_launches, p->launches_capacity) = old[i];
  if (r.known) drop_unused(&r);
  return true;
}
