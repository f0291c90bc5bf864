/* The matrix unit that four warps share, by its definition: PTX ISA, wgmma. Both operands are in memory on the chip, where it looks through
 * a view of its own: what threads have written is there behind fence.proxy.async. Products are made as late as may be, when their group is
 * waited for, and not at all when it is not. */
enum { EMULATED_PRODUCTS = 64 };

typedef struct {
  float *sums;
  unsigned columns;
  unsigned long long rows, lanes; /* as it is told of them */
  bool across_rows, across_lanes;
  unsigned group;
} emulated_product_task;

static struct {
  emulated_product_task tasks[EMULATED_PRODUCTS];
  unsigned n, group;
  bool fenced;
} emulated_products[EMULATED_THREADS];

static unsigned char emulated_view[EMULATED_SHARED] __attribute__((aligned(1024)));

static inline void emulated_products_start(unsigned thread) {
  emulated_products[thread].n = emulated_products[thread].group = 0;
  emulated_products[thread].fenced = false;
}

static inline void products_see(void) { memcpy(emulated_view, shared, sizeof shared); }

/* Fields of a descriptor: 14 bits of an address or a distance in units of 16 bytes each. */
static inline unsigned emulated_field(unsigned long long descriptor, int bit) { return (unsigned)(descriptor >> bit & 0x3fff) << 4; }

/* An element, `k` along the sum, in the swizzle of 128 bytes: rows of 64 elements, eight of which are a unit. Along the sum: a row is a
 * result, units are the stride apart. Across: a row is a neighbour, units are the stride apart, and each further 64 results the leading
 * distance. Bits 4 to 6 of an address are exchanged by bits 7 to 9 of it. */
static inline unsigned emulated_place(unsigned long long descriptor, bool across, unsigned result, unsigned k) {
  enum { UNIT = 8, ROW_BYTES = 128, ROW = 64 };
  const unsigned leading = emulated_field(descriptor, 16), stride = emulated_field(descriptor, 32);
  unsigned at = emulated_field(descriptor, 0);
  if (descriptor >> 62 != 1 || (descriptor >> 49 & 7)) emulated_violations++;
  if (across) at += result / ROW * leading + k / UNIT * stride + k % UNIT * ROW_BYTES + result % ROW * 2;
  else at += result / UNIT * stride + result % UNIT * ROW_BYTES + k * 2;
  at ^= (at >> 7 & 7) << 4;
  return at + 2 > EMULATED_SHARED ? emulated_violations++, 0 : at;
}

static inline unsigned emulated_element(unsigned long long descriptor, bool across, unsigned result, unsigned k) {
  uint16_t bits;
  memcpy(&bits, emulated_view + emulated_place(descriptor, across, result, k), sizeof bits);
  return bits;
}

/* What reads for a warp. */
static inline unsigned emulated_unit(void) { return 2 * order.threads + threadIdx.x / EMULATED_WARP; }

/* Eight neighbours at once lie together. */
static inline void emulated_note_reads(unsigned long long descriptor, bool across, unsigned first, unsigned results, unsigned group) {
  enum { CHUNK = 8, DEPTH = 16 };
  for (unsigned i = 0; i < results; i += across ? CHUNK : 1)
    for (unsigned k = 0; k < DEPTH; k += across ? 1 : CHUNK) order_access_of(emulated_unit(), group, shared + emulated_place(descriptor, across, first + i, k), 2 * CHUNK, false);
}

/* What a thread has of 64 rows: of its warp's 16 those of lane / 4 and 8 below, and of each 8 columns two. */
static inline void emulated_perform(const emulated_product_task *t) {
  enum { DEPTH = 16 };
  const unsigned warp = threadIdx.x / EMULATED_WARP % 4, lane = threadIdx.x % EMULATED_WARP;
  unsigned rows[2][DEPTH];
  for (unsigned below = 0; below < 2; below++)
    for (unsigned k = 0; k < DEPTH; k++) rows[below][k] = emulated_element(t->rows, t->across_rows, 16 * warp + 8 * below + lane / 4, k);
  for (unsigned i = 0; i < t->columns / 2; i++) {
    const unsigned column = i / 4 * 8 + lane % 4 * 2 + i % 2, *row = rows[i / 2 % 2];
    for (unsigned k = 0; k < DEPTH; k += 2)
      t->sums[i] = product_of_pairs(t->sums[i], row[k] | row[k + 1] << 16, emulated_element(t->lanes, t->across_lanes, column, k) | emulated_element(t->lanes, t->across_lanes, column, k + 1) << 16);
  }
}

static inline void emulated_multiply_group(unsigned columns, float *sums, unsigned long long rows, unsigned long long lanes, bool across_rows, bool across_lanes) {
  emulated_product_task t = {sums, columns, rows, lanes, across_rows, across_lanes, emulated_products[threadIdx.x].group};
  if (emulated_products[threadIdx.x].n == EMULATED_PRODUCTS || !emulated_products[threadIdx.x].fenced) emulated_violations++;
  else emulated_products[threadIdx.x].tasks[emulated_products[threadIdx.x].n++] = t;
  if (threadIdx.x % EMULATED_WARP) return;
  emulated_note_reads(rows, across_rows, threadIdx.x / EMULATED_WARP % 4 * 16, 16, t.group);
  emulated_note_reads(lanes, across_lanes, 0, columns, t.group);
}

/* Groups but the latest `open`. */
static inline void emulated_settle(unsigned open) {
  unsigned kept = 0;
  for (unsigned i = 0; i < emulated_products[threadIdx.x].n; i++) {
    const emulated_product_task t = emulated_products[threadIdx.x].tasks[i];
    if (t.group + open >= emulated_products[threadIdx.x].group) emulated_products[threadIdx.x].tasks[kept++] = t;
    else emulated_perform(&t);
  }
  emulated_products[threadIdx.x].n = kept;
  if (emulated_products[threadIdx.x].group > open) order_learn(emulated_unit(), emulated_products[threadIdx.x].group - open);
}

#define PRODUCT(n, d, rows, lanes, across_rows, across_lanes) emulated_multiply_group(n, d, rows, lanes, across_rows, across_lanes)
#define PRODUCT_BEGIN(tiles, d) emulated_products[threadIdx.x].fenced = true
#define PRODUCT_END() emulated_products[threadIdx.x].group++
#define PRODUCTS_WAIT(n) emulated_settle(n)
#define SUMS_STAY(tiles, d) (void)0
