/* Boxes and arrivals by their definition: PTX ISA, cp.async.bulk.tensor and mbarrier. What a box brings lands as late as may be: when somebody waits
 * for its arrival, all that this was told of has been started, and nothing else is in its way. */
#include "maps.h"

enum { EMULATED_ARRIVALS = 32, EMULATED_BOXES = 64, EMULATED_FIRST_ARRIVAL = 32 /* among units: those before are of warps' products */ };

typedef struct {
  const emulated_map *map;
  unsigned to;
  int at[EMULATED_RANK];
} emulated_box;

struct emulated_arrival {
  unsigned address, number, phase;
  int pending;              /* threads that have still to come in this phase */
  long long told, under_way; /* bytes */
  emulated_box boxes[EMULATED_BOXES];
  unsigned n_boxes;
  unsigned known[2][2 * EMULATED_THREADS + ORDER_OTHERS]; /* clocks by actor: of who came in this phase, of who came before */
};
static struct {
  emulated_arrival items[EMULATED_ARRIVALS];
  unsigned n;
} emulated_arrivals;

static inline void emulated_arrivals_start(void) { emulated_arrivals.n = 0; }

/* NULL: nobody has begun one there. */
static inline emulated_arrival *emulated_arrival_at(unsigned address) {
  order_access(shared + address, 8, false); /* what it says of itself is atomic: only its beginning must be known */
  for (unsigned i = 0; i < emulated_arrivals.n; i++)
    if (emulated_arrivals.items[i].address == address) return &emulated_arrivals.items[i];
  emulated_violations++;
  return NULL;
}

static inline unsigned emulated_box_unit(const emulated_arrival *a) { return 2 * order.threads + EMULATED_FIRST_ARRIVAL + a->number; }

static inline void arrivals_begin(unsigned at, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    if (at % 8 || emulated_arrivals.n == EMULATED_ARRIVALS) {
      emulated_violations++;
      return;
    }
    emulated_arrival *a = &emulated_arrivals.items[emulated_arrivals.n];
    *a = (emulated_arrival){.address = at + 8 * i, .number = emulated_arrivals.n++, .pending = 1};
    order_access(shared + a->address, 8, true);
  }
}

static inline void emulated_raise(unsigned *to, const unsigned *from) {
  for (unsigned i = 0; i < order.actors; i++) to[i] = from[i] > to[i] ? from[i] : to[i];
}

/* Who comes tells what it knows. More than were said to come: what was told before may still be under way. */
static inline void arrival_expect(unsigned at, unsigned bytes) {
  emulated_arrival *a = emulated_arrival_at(at);
  if (!a) return;
  if (!a->pending) emulated_violations++;
  a->pending--;
  a->told += bytes;
  if (!order.is_used) return;
  emulated_raise(a->known[0], order_knowledge(threadIdx.x));
  if (a->known[0][threadIdx.x] <= order.clock[threadIdx.x]) a->known[0][threadIdx.x] = order.clock[threadIdx.x] + 1;
  order.clock[threadIdx.x]++;
}

static inline long long emulated_box_bytes(const emulated_map *m) {
  long long n = 2;
  for (unsigned i = 0; i < m->rank; i++) n *= m->size[i];
  return n;
}

/* Rows in the order of the box, the second dimension fastest; chunks of 16 bytes are swizzled by their address. The matrix unit sees them as well. */
static inline void emulated_land_box(const emulated_box *b) {
  enum { CHUNK = 16, ROW = 128 };
  const emulated_map *m = b->map;
  const unsigned bytes = 2 * m->size[0], rows = (unsigned)(emulated_box_bytes(m) / bytes);
  for (unsigned row = 0; row < rows; row++) {
    unsigned char line[ROW] = {0};
    const unsigned char *from = m->memory;
    bool inside = true;
    for (unsigned i = 1, rest = row; i < m->rank; rest /= m->size[i], i++) {
      const long long x = b->at[i] + (long long)(rest % m->size[i]);
      inside &= x >= 0 && x < (long long)m->extent[i];
      from += x * (long long)m->stride[i];
    }
    for (unsigned k = 0; inside && k < m->size[0]; k++) {
      const long long x = b->at[0] + (long long)k;
      if (x >= 0 && x < (long long)m->extent[0]) memcpy(line + 2 * k, from + 2 * x, 2);
    }
    for (unsigned k = 0; k < bytes; k += CHUNK) {
      unsigned to = b->to + row * bytes + k;
      to ^= (to >> 7 & 7) << 4;
      memcpy(shared + to, line + k, CHUNK);
      memcpy(emulated_view + to, line + k, CHUNK);
    }
  }
}

static inline void emulated_start_box(unsigned to, const void *map, const int *at, unsigned rank, unsigned arrival) {
  enum { SWIZZLE_ALIGNMENT = 128 };
  const emulated_map *m = map;
  emulated_arrival *a = emulated_arrival_at(arrival);
  const bool good = (uintptr_t)map % 64 == 0 && m->mark == EMULATED_MARK && m->rank == rank;
  if (!a || !good || a->n_boxes == EMULATED_BOXES || to % SWIZZLE_ALIGNMENT || to + emulated_box_bytes(m) > EMULATED_SHARED) {
    emulated_violations++;
    return;
  }
  emulated_box *b = &a->boxes[a->n_boxes++];
  *b = (emulated_box){.map = m, .to = to};
  memcpy(b->at, at, rank * sizeof *at);
  a->under_way += emulated_box_bytes(m);
  order_access_of(emulated_box_unit(a), a->phase, shared + to, (size_t)emulated_box_bytes(m), true);
}

#define EMULATED_BOX(n, parameters, ...) \
  static inline void box_##n(unsigned to, const void *map, parameters, unsigned arrival) { emulated_start_box(to, map, (const int[]){__VA_ARGS__}, n, arrival); }
#define PLACES(...) __VA_ARGS__
EMULATED_BOX(2, PLACES(int x, int y), x, y)
EMULATED_BOX(3, PLACES(int x, int y, int z), x, y, z)
EMULATED_BOX(4, PLACES(int x, int y, int z, int u), x, y, z, u)
EMULATED_BOX(5, PLACES(int x, int y, int z, int u, int v), x, y, z, u, v)

/* A phase ends when all have come and no byte that was told of is missing. Then it is known which phase a parity means: the one that ended last, or
 * the one that is on. */
static bool emulated_has_arrived(emulated_arrival *a, unsigned parity) {
  if ((a->phase & 1) == parity && !a->pending && a->told == a->under_way) {
    for (unsigned i = 0; i < a->n_boxes; i++) emulated_land_box(&a->boxes[i]);
    a->n_boxes = 0;
    a->told = a->under_way = 0;
    a->pending = 1;
    a->phase++;
    emulated_raise(a->known[1], a->known[0]);
  }
  return (a->phase & 1) != parity;
}

static inline void arrival_wait(unsigned at, unsigned parity) {
  emulated_arrival *a = emulated_arrival_at(at);
  if (!a) return;
  if (!emulated_has_arrived(a, parity)) emulated_await(a, parity);
  if (!order.is_used) return;
  emulated_raise(order_knowledge(threadIdx.x), a->known[1]);
  order_learn(emulated_box_unit(a), a->phase);
}
