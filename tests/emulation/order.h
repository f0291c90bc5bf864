/* Races on memory of the chip: which of its accesses are ordered. Actors are the threads of a block and units that read or write for them
 * in the background. An access is (actor, clock); an actor's clock goes on where it may tell others what it has done. Each thread keeps
 * how far it knows every actor: all with a clock below that happened before what it does now (vector clocks: Fidge and Mattern, 1988).
 *   - A barrier of a block, or __syncwarp, makes all that meet there know what any of them knows, and what they did. Shuffles and the
 *     matrix unit let lanes meet too, but order no memory (PTX ISA: .sync alone does not).
 *   - What a unit does begins where a thread starts it, and is over where a thread waits for it: that thread knows, others by a barrier.
 * Two accesses of the same bytes, one a write, with neither known to whom makes the other, are a race: a real device may do them in
 * either order, whatever order the emulation took. */

enum {
  ORDER_OTHERS = 64, /* actors behind the threads and the copies of each: products of warps, then boxes for arrivals */
  ORDER_WORD = 4
};

/* Actors 32 * group + each of `lanes` did so at the same clock of theirs. */
typedef struct {
  unsigned next, clock, lanes;
  unsigned short group;
  unsigned char bytes; /* of the word */
  bool writes;
} order_record;

static struct {
  bool is_used; /* in this block */
  unsigned threads, actors;
  unsigned clock[EMULATED_THREADS];
  unsigned *known;                            /* by thread and actor */
  unsigned first[EMULATED_SHARED / ORDER_WORD]; /* by word: its records, 0: none */
  unsigned words;                             /* that had records in this block */
  order_record *records;
  unsigned n_records, capacity, unused; /* unused: the first of those that were given back */
  struct order_place {
    const char *name;
    const void *at;
    size_t size, elements;
  } places[256];
  unsigned n_places;
} order;

/* What went wrong first, in words. */
char emulated_wrong[256];

static unsigned *order_knowledge(unsigned thread) { return order.known + (size_t)thread * order.actors; }
/* What copies for a thread in the background. */
static inline unsigned order_copier(unsigned thread) { return order.threads + thread; }

static void order_new_block(unsigned threads) {
  order.is_used = false;
  order.threads = threads;
  order.actors = 2 * threads + ORDER_OTHERS;
  order.n_places = 0;
}

/* At the first access: many kernels have none. */
static void order_begin(void) {
  const unsigned threads = order.threads;
  order.is_used = true;
  order.known = realloc(order.known, (size_t)threads * order.actors * sizeof *order.known);
  memset(order.known, 0, (size_t)threads * order.actors * sizeof *order.known);
  for (unsigned t = 0; t < threads; t++) order.clock[t] = 1;
  memset(order.first, 0, order.words * sizeof *order.first);
  order.words = order.unused = 0;
  order.n_records = 1;
}

/* Threads first .. first + n - 1 meet. */
static void order_barrier(unsigned first, unsigned n) {
  if (!order.is_used) return;
  unsigned *all = order_knowledge(first), clock = 0;
  for (unsigned t = first; t < first + n; t++) {
    const unsigned *one = order_knowledge(t);
    for (unsigned i = 0; i < order.actors; i++) all[i] = one[i] > all[i] ? one[i] : all[i];
    if (order.clock[t] >= clock) clock = order.clock[t] + 1;
  }
  for (unsigned t = first; t < first + n; t++) all[t] = order.clock[t] = clock;
  for (unsigned t = first + 1; t < first + n; t++) memcpy(order_knowledge(t), all, order.actors * sizeof *all);
}

/* The running thread knows that an actor is done with all below a clock. */
static inline void order_learn(unsigned actor, unsigned clock) {
  if (!order.is_used) return;
  unsigned *known = order_knowledge(threadIdx.x);
  if (known[actor] < clock) known[actor] = clock;
}

/* -- accesses ---------------------------------------------------------------------------------------------------- */

/* Tells reports what bytes on the chip are called. */
static inline void order_name(const char *name, const void *at, size_t size, size_t elements) {
  if (threadIdx.x % EMULATED_WARP || order.n_places == sizeof order.places / sizeof *order.places) return;
  order.places[order.n_places++] = (struct order_place){name, at, size, elements};
}

static void order_report(unsigned word, unsigned bytes, const order_record *earlier, unsigned other, unsigned actor, bool writes) {
  const unsigned char *at = shared + word * ORDER_WORD + __builtin_ctz(bytes & earlier->bytes);
  char place[64], who[2][64];
  emulated_violations++;
  if (*emulated_wrong) return;
  snprintf(place, sizeof place, "byte %u on the chip", (unsigned)(at - shared));
  for (const struct order_place *p = order.places; p < order.places + order.n_places; p++)
    if (at >= (const unsigned char *)p->at && at < (const unsigned char *)p->at + p->size * p->elements)
      snprintf(place, sizeof place, "%s[%zu]", p->name, (size_t)(at - (const unsigned char *)p->at) / p->size);
  for (int i = 0; i < 2; i++) {
    const unsigned a = i ? other : actor;
    if (a < order.threads) snprintf(who[i], sizeof who[i], "thread %u", a);
    else if (a < 2 * order.threads) snprintf(who[i], sizeof who[i], "a copy of thread %u", a - order.threads);
    else if (a < 2 * order.threads + ORDER_OTHERS / 2) snprintf(who[i], sizeof who[i], "unit %u", a - 2 * order.threads);
    else snprintf(who[i], sizeof who[i], "a box for arrival %u", a - 2 * order.threads - ORDER_OTHERS / 2);
  }
  snprintf(emulated_wrong, sizeof emulated_wrong, "a race in block %u: %s is %s by %s, and %s by %s, and nothing orders them", blockIdx.x, place, earlier->writes ? "written" : "read", who[1],
           writes ? "written" : "read", who[0]);
}

/* Whether all of it happened before what the running thread does now. */
static bool order_is_past(const order_record *r, unsigned *other) {
  const unsigned *known = order_knowledge(threadIdx.x);
  for (unsigned lanes = r->lanes; lanes; lanes &= lanes - 1) {
    *other = 32u * r->group + (unsigned)__builtin_ctz(lanes);
    if (*other != threadIdx.x && r->clock >= known[*other]) return false;
  }
  return true;
}

static void order_add(unsigned word, order_record r) {
  unsigned at = order.unused;
  if (at) order.unused = order.records[at].next;
  else at = order.n_records++;
  if (at >= order.capacity) order.records = realloc(order.records, (order.capacity = 2 * at + 4096) * sizeof *order.records);
  r.next = order.first[word];
  order.records[at] = r;
  order.first[word] = at;
  if (word >= order.words) order.words = word + 1;
}

/* What is past and covered by this access need not be remembered: who knows of this one knows of it. */
static void order_word(unsigned word, unsigned bytes, bool writes, unsigned actor, unsigned clock) {
  const unsigned lane = 1u << actor % 32;
  bool noted = false;
  for (unsigned *link = &order.first[word]; *link;) {
    order_record *r = &order.records[*link];
    unsigned other = 0;
    if (r->group == actor / 32 && r->clock == clock && r->bytes == bytes && r->writes == writes && (!writes || (actor == threadIdx.x && r->lanes == lane))) {
      r->lanes |= lane;
      noted = true;
      link = &r->next;
      continue;
    }
    const bool is_past = order_is_past(r, &other);
    if (!is_past && r->bytes & bytes && (writes || r->writes)) order_report(word, bytes, r, other, actor, writes);
    if (is_past && !(r->bytes & ~bytes) && (writes || !r->writes)) {
      const unsigned gone = *link;
      *link = r->next;
      r->next = order.unused;
      order.unused = gone;
    } else {
      link = &r->next;
    }
  }
  if (!noted) order_add(word, (order_record){.clock = clock, .lanes = lane, .group = (unsigned short)(actor / 32), .bytes = (unsigned char)bytes, .writes = writes});
}

/* By an actor for the running thread, which orders it behind what it knows. Memory elsewhere is not looked at. */
static void order_access_of(unsigned actor, unsigned clock, const void *at, size_t n, bool writes) {
  const uintptr_t from = (uintptr_t)at - (uintptr_t)shared;
  if (from >= EMULATED_SHARED || n > EMULATED_SHARED - from) return;
  if (!order.is_used) order_begin();
  for (uintptr_t i = from, next; i < from + n; i = next) {
    next = (i / ORDER_WORD + 1) * ORDER_WORD;
    const uintptr_t end = next < from + n ? next : from + n;
    order_word((unsigned)(i / ORDER_WORD), ((1u << (end - i)) - 1) << i % ORDER_WORD, writes, actor, clock);
  }
}

/* By the running thread itself. */
static inline void order_access(const void *at, size_t n, bool writes) { order_access_of(threadIdx.x, order.is_used ? order.clock[threadIdx.x] : 1, at, n, writes); }
