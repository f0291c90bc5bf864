/* What the text of every module begins with: element types, and the native ops of ir/ops.def where C has no operator for what
 * they mean. Nothing of CUDA's headers is needed. It is C as well as CUDA C++: the tests run it on a processor (tests/emulation).
 * To be compiled without contraction of products and sums: a fused step is written where the loops have one. */
typedef unsigned char u8;
typedef unsigned short u16;
typedef int i32;
typedef unsigned int u32;
typedef long long i64;
typedef unsigned long long u64;
typedef float f32;
typedef double f64;

#define FUNCTION static __device__ __forceinline__
#ifndef KERNEL
#define KERNEL extern "C" __global__
#define ALIGNED(pointer, T) (pointer)
#define WRITTEN(pointer, T) (pointer) /* on the chip */
#endif
/* Of a kernel in blocks of so many threads. */
#ifdef RESIDENT
#define LAUNCHED_BY(threads) __launch_bounds__(threads, RESIDENT)
#else
#define LAUNCHED_BY(threads) __launch_bounds__(threads)
#endif

/* A structure that a kernel takes, and that stays where it is when it is indexed by what is known only there. */
#if __CUDACC_VER_MAJOR__ > 11 || (__CUDACC_VER_MAJOR__ == 11 && __CUDACC_VER_MINOR__ >= 7)
#define PARAMETER const __grid_constant__
#else
#define PARAMETER const
#endif

/* -- bits ------------------------------------------------------------------------------------------------- */

FUNCTION u32 u32_bits_f32(f32 x) { return __float_as_uint(x); }
FUNCTION f32 f32_bits_u32(u32 x) { return __uint_as_float(x); }
FUNCTION i64 i64_bits_f64(f64 x) { return __double_as_longlong(x); }
FUNCTION f64 f64_bits_i64(i64 x) { return __longlong_as_double(x); }

/* -- several elements in one access, at a multiple of their size ------------------------------------------------- */

typedef struct {
  u32 x;
} words_1;
typedef uint2 words_2;
typedef uint4 words_4;
#define WIDE(n, T, ...)                                                                    \
  FUNCTION words_##n load_##n(const void *at) { return *(const words_##n *)ALIGNED(at, T); } \
  FUNCTION words_##n zero_##n(void) {                                                      \
    const words_##n zero = {__VA_ARGS__};                                                  \
    return zero;                                                                           \
  }
FUNCTION void store_1(void *at, u32 x) { *(u32 *)ALIGNED(at, u32) = x; }
FUNCTION void store_2(void *at, u32 x, u32 y) {
  const words_2 v = {x, y};
  *(words_2 *)ALIGNED(at, uint2) = v;
}
FUNCTION void store_4(void *at, u32 x, u32 y, u32 z, u32 w) {
  const words_4 v = {x, y, z, w};
  *(words_4 *)ALIGNED(at, uint4) = v;
}
WIDE(1, u32, 0)
WIDE(2, uint2, 0, 0)
WIDE(4, uint4, 0, 0, 0, 0)

/* -- bf16: in registers a float that holds such a value, in memory its high half ---------------------------- */

FUNCTION f32 bf16_load(u16 x) { return f32_bits_u32((u32)x << 16); }
FUNCTION u16 bf16_store(f32 x) { return (u16)(u32_bits_f32(x) >> 16); }
/* To the nearest, ties to even: the carry of 0x7fff and the lowest bit kept. */
#if !defined(EMULATED) && __CUDA_ARCH__ >= 800
FUNCTION f32 bf16_of_f32(f32 x) { /* in the high half, beside a 0 */
  u32 pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(x), "f"(0.0f));
  return f32_bits_u32(pair);
}
#else
FUNCTION f32 bf16_of_f32(f32 x) {
  const u32 bits = u32_bits_f32(x), up = bits + 0x7fffu + (bits >> 16 & 1u);
  return f32_bits_u32((x != x ? bits | 0x400000u : up) & 0xffff0000u);
}
#endif
/* By way of a float rounded to odd, so that the second rounding is as good as one (Boldo and Melquiond, 2008). */
FUNCTION f32 bf16_of_f64(f64 x) {
  const f32 narrow = (f32)x;
  const f64 back = (f64)narrow;
  u32 bits = u32_bits_f32(narrow);
  if (back != x && x == x && (bits & 0x7fffffffu) != 0x7f800000u) bits = (bits - (fabs(back) > fabs(x) ? 1u : 0u)) | 1u;
  return bf16_of_f32(f32_bits_u32(bits));
}
FUNCTION u32 bf16_pair(const u16 *at) { return (u32)at[0] | (u32)at[1] << 16; }
/* z and the products of both halves, the odd one first. */
FUNCTION f32 bf16_dot(u32 x, u32 y, f32 z) {
  z = fmaf(f32_bits_u32(x & 0xffff0000u), f32_bits_u32(y & 0xffff0000u), z);
  return fmaf(f32_bits_u32(x << 16), f32_bits_u32(y << 16), z);
}

/* x * 2^n of a whole n, which the lowest bits of so large a sum hold; in two factors, so that denormal numbers are rounded once. */
FUNCTION f32 scale_f32(f32 x, f32 power) {
  const i32 n = (i32)(u32_bits_f32(power + 12582912.0f) - 0x4b400000u), half = n >> 1;
  return x * f32_bits_u32((u32)(half + 127) << 23) * f32_bits_u32((u32)(n - half + 127) << 23);
}

/* -- reals: a NaN wins -------------------------------------------------------------------------------------- */

#define REAL(T)                                                                                                             \
  FUNCTION T max_##T(T x, T y) { return y != y ? y : x < y ? y : x; }                                                       \
  FUNCTION T min_##T(T x, T y) { return y != y ? y : y < x ? y : x; }                                                       \
  FUNCTION T floor_div_##T(T x, T y) { return (T)floor((f64)x / (f64)y); }                                                  \
  FUNCTION T mod_##T(T x, T y) { return (T)((f64)x - (f64)y * floor((f64)x / (f64)y)); }
REAL(f32)
REAL(f64)

/* 11 significant bits, ties away from 0. */
FUNCTION f32 tf32_f32(f32 x) { return x != x ? x : f32_bits_u32((u32_bits_f32(x) + 0x1000u) & 0xffffe000u); }
FUNCTION f64 tf32_f64(f64 x) { return (f64)tf32_f32((f32)x); }

/* -- integers: they wrap, and what division and shifts leave open is defined ----------------------------------- */

#define INTEGER(T, U, bits)                                                                                                 \
  FUNCTION T add_##T(T x, T y) { return (T)((U)x + (U)y); }                                                                 \
  FUNCTION T sub_##T(T x, T y) { return (T)((U)x - (U)y); }                                                                 \
  FUNCTION T mul_##T(T x, T y) { return (T)((U)x * (U)y); }                                                                 \
  FUNCTION T neg_##T(T x) { return (T)((U)0 - (U)x); }                                                                      \
  FUNCTION T abs_##T(T x) { return x < 0 ? neg_##T(x) : x; }                                                                \
  FUNCTION T max_##T(T x, T y) { return x >= y ? x : y; }                                                                   \
  FUNCTION T min_##T(T x, T y) { return x <= y ? x : y; }                                                                   \
  FUNCTION T shl_##T(T x, T y) { return (U)y < bits ? (T)((U)x << (U)y) : (T)0; }                                           \
  FUNCTION T mod_##T(T x, T y) { return sub_##T(x, mul_##T(y, floor_div_##T(x, y))); }
#define SIGNED(T, U, bits)                                                                                                  \
  FUNCTION T floor_div_##T(T x, T y) {                                                                                      \
    if (y == 0) return 0;                                                                                                   \
    if (y == -1) return (T)((U)0 - (U)x);                                                                                   \
    return (T)(x / y - (x % y != 0 && (x ^ y) < 0));                                                                        \
  }                                                                                                                         \
  FUNCTION T shr_##T(T x, T y) { return x >> ((U)y < bits ? (U)y : bits - 1); }                                             \
  INTEGER(T, U, bits)
#define UNSIGNED(T, U, bits)                                                                                                \
  FUNCTION T floor_div_##T(T x, T y) { return y ? (T)(x / y) : (T)0; }                                                      \
  FUNCTION T shr_##T(T x, T y) { return (U)y < bits ? (T)(x >> (U)y) : (T)0; }                                              \
  INTEGER(T, U, bits)
UNSIGNED(u8, u32, 8u)
SIGNED(i32, u32, 32u)
UNSIGNED(u32, u32, 32u)
SIGNED(i64, u64, 64u)
FUNCTION bool shl_bool(bool x, bool y) { return x && !y; }
FUNCTION bool shr_bool(bool x, bool y) { return x && !y; }

/* -- reals to integers: truncated and saturated, NaN to 0 ------------------------------------------------------- */

#define SATURATE(T, F, low, high) \
  FUNCTION T T##_of_##F(F x) { return x != x ? (T)0 : x <= (F)(low) ? (T)(low) : x >= (F)(high) ? (T)(high) : (T)x; }
#define LOW_I64 (-9223372036854775807LL - 1)
SATURATE(u8, f32, 0, 255)
SATURATE(i32, f32, -2147483647 - 1, 2147483647)
SATURATE(u32, f32, 0, 4294967295u)
SATURATE(i64, f32, LOW_I64, 9223372036854775807LL)
SATURATE(u8, f64, 0, 255)
SATURATE(i32, f64, -2147483647 - 1, 2147483647)
SATURATE(u32, f64, 0, 4294967295u)
SATURATE(i64, f64, LOW_I64, 9223372036854775807LL)

/* -- across the lanes of a warp ---------------------------------------------------------------------------------- */

#define SHUFFLE(T) \
  FUNCTION T shuffle_##T(T x, i32 from) { return __shfl_sync(0xffffffffu, x, from); }
SHUFFLE(i32)
SHUFFLE(u32)
SHUFFLE(i64)
SHUFFLE(f32)
SHUFFLE(f64)
FUNCTION u8 shuffle_u8(u8 x, i32 from) { return (u8)shuffle_u32(x, from); }
FUNCTION bool shuffle_bool(bool x, i32 from) { return shuffle_u32(x, from) != 0; }

/* -- teams: copies in the background, and the matrix unit, from sm_80 on ------------------------------------------- */

#ifndef EMULATED
#if __CUDA_ARCH__ >= 800
/* Where memory on the chip lies for the instructions below. */
FUNCTION u32 on_chip(const void *at) {
  u32 address;
  asm("{ .reg .u64 a; cvta.to.shared.u64 a, %1; cvt.u32.u64 %0, a; }" : "=r"(address) : "l"(at));
  return address;
}
FUNCTION void copy_16(u32 to, const void *from, bool inside) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(to), "l"(from), "r"(inside ? 16 : 0) : "memory");
}
#define COPIES_COMMIT() asm volatile("cp.async.commit_group;" ::: "memory")
#define COPIES_WAIT(n) asm volatile("cp.async.wait_group %0;" :: "n"(n) : "memory")
/* Four squares of 8 by 8: lane 8 i + r gives the place of row r of square i; each lane gets neighbours of its row, or column. */
FUNCTION void load_squares(u32 *r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
FUNCTION void load_squares_across(u32 *r, u32 at) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(at) : "memory");
}
/* 16 by 8 sums of 16 products. */
FUNCTION void multiply_squares(f32 *c, const u32 *a, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
/* 16 by 8 sums of 8 products of tf32. */
FUNCTION void multiply_squares_f32(f32 *c, const u32 *a, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
FUNCTION u32 load_word(u32 at) {
  u32 word;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(at) : "memory");
  return word;
}
FUNCTION u32 tf32_word(u32 x) {
  u32 rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(__uint_as_float(x)));
  return rounded;
}
#endif
#endif

/* -- groups of four warps: the matrix unit that reads memory on the chip itself (wgmma), of sm_90a --------------------- */

#define PANELS_ALIGNED __attribute__((aligned(1024)))
/* What the unit is told of panels of 64 by 64 bf16 (ir/loops.h): where they begin; that the next panel follows behind this one,
 * eight rows behind eight rows, and that chunks are swizzled in 128 bytes. All in units of 16 bytes. */
FUNCTION u64 panels(u32 at) { return (u64)(at >> 4 & 0x3fffu) | 512ull << 16 | 64ull << 32 | 1ull << 62; }

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
FUNCTION void products_see(void) { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
#define EIGHT(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define SUMS_32(d, i) EIGHT(d, i), EIGHT(d, i + 8), EIGHT(d, i + 16), EIGHT(d, i + 24)
#define SUMS_64(d) SUMS_32(d, 0)
#define SUMS_128(d) SUMS_64(d), SUMS_32(d, 32)
#define SUMS_192(d) SUMS_128(d), SUMS_32(d, 64)
#define SUMS_256(d) SUMS_192(d), SUMS_32(d, 96)
#define NAMES_64 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31"
#define NAMES_128 NAMES_64 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_192 NAMES_128 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95"
#define NAMES_256 NAMES_192 ", %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define REST_64 "%32, %33, p, 1, 1, %34, %35;"
#define REST_128 "%64, %65, p, 1, 1, %66, %67;"
#define REST_192 "%96, %97, p, 1, 1, %98, %99;"
#define REST_256 "%128, %129, p, 1, 1, %130, %131;"
/* 64 by n sums of 16 products. */
#define PRODUCT(n, d, rows, lanes, across_rows, across_lanes)                                                       \
  asm volatile("{ .reg .pred p; setp.eq.u32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n" #n "k16.f32.bf16.bf16 {" NAMES_##n "}, " REST_##n " }" \
               : SUMS_##n(d) : "l"(rows), "l"(lanes), "n"(across_rows), "n"(across_lanes))
/* Nobody touches the first `tiles` of sums on the other side of this. */
#define SUMS_STAY(tiles, d) _Pragma("unroll") for (i32 i_ = 0; i_ < 8 * tiles; i_++) asm volatile("" : "+f"((d)[i_]) :: "memory")
#define PRODUCT_BEGIN(tiles, d) \
  SUMS_STAY(tiles, d); \
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory")
#define PRODUCT_END() asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory")
#define PRODUCTS_WAIT(n) asm volatile("wgmma.wait_group.sync.aligned %0;" :: "n"(n) : "memory")
#endif

/* -- boxes (TMA), from sm_90 on: rectangles of memory that one copy brings, for an arrival (mbarrier) on the chip ------------- */

/* Where a rectangle lies, as the driver has encoded it. */
typedef struct {
  u64 word[16];
} __attribute__((aligned(64))) box_map;

#if !defined(EMULATED) && __CUDA_ARCH__ >= 900
/* Each is told once a time, by one thread. */
FUNCTION void arrivals_begin(u32 at, u32 n) {
  for (u32 i = 0; i < n; i++) asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" :: "r"(at + 8 * i) : "memory");
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
FUNCTION void arrival_expect(u32 at, u32 bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" :: "r"(at), "r"(bytes) : "memory");
}
FUNCTION void arrival_wait(u32 at, u32 parity) {
  u32 done;
  do asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }" : "=r"(done) : "r"(at), "r"(parity) : "memory");
  while (!done);
}
#define BOX(n, places) "cp.async.bulk.tensor." #n "d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {" places "}], [%2];"
FUNCTION void box_2(u32 to, const box_map *box, i32 x, i32 y, u32 arrival) {
  asm volatile(BOX(2, "%3, %4") :: "r"(to), "l"(box), "r"(arrival), "r"(x), "r"(y) : "memory");
}
FUNCTION void box_3(u32 to, const box_map *box, i32 x, i32 y, i32 z, u32 arrival) {
  asm volatile(BOX(3, "%3, %4, %5") :: "r"(to), "l"(box), "r"(arrival), "r"(x), "r"(y), "r"(z) : "memory");
}
FUNCTION void box_4(u32 to, const box_map *box, i32 x, i32 y, i32 z, i32 u, u32 arrival) {
  asm volatile(BOX(4, "%3, %4, %5, %6") :: "r"(to), "l"(box), "r"(arrival), "r"(x), "r"(y), "r"(z), "r"(u) : "memory");
}
FUNCTION void box_5(u32 to, const box_map *box, i32 x, i32 y, i32 z, i32 u, i32 v, u32 arrival) {
  asm volatile(BOX(5, "%3, %4, %5, %6, %7") :: "r"(to), "l"(box), "r"(arrival), "r"(x), "r"(y), "r"(z), "r"(u), "r"(v) : "memory");
}
#endif

typedef struct {
  f32 x, y;
} __attribute__((aligned(8))) two_f32;
FUNCTION void two_store(f32 *at, f32 x, f32 y) {
  const two_f32 two = {x, y};
  *(two_f32 *)WRITTEN(at, two_f32) = two;
}
#if defined(EMULATED) || __CUDA_ARCH__ >= 800
FUNCTION void tile_zero(f32 *t) {
  t[0] = t[1] = t[2] = t[3] = t[4] = t[5] = t[6] = t[7] = 0.0f;
}
FUNCTION void tile_rows(u32 *t, u32 at, i32 stride, i32 lane) {
  load_squares(t, at + 2 * (lane % 16 * stride + lane / 16 * 8));
}
FUNCTION void tile_rows_across(u32 *t, u32 at, i32 stride, i32 lane) {
  load_squares_across(t, at + 2 * ((lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8));
}
FUNCTION void tile_lanes(u32 *t, u32 at, i32 stride, i32 lane) {
  load_squares(t, at + 2 * ((lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 8));
}
FUNCTION void tile_lanes_across(u32 *t, u32 at, i32 stride, i32 lane) {
  load_squares_across(t, at + 2 * (lane % 16 * stride + lane / 16 * 8));
}
FUNCTION void tile_dot(f32 *c, const u32 *a, const u32 *b) {
  multiply_squares(c, a, b[0], b[1]);
  multiply_squares(c + 4, a, b[2], b[3]);
}
/* Of f32, 8 neighbours of the sum: squares are 8 by 4. */
FUNCTION void tile_round(u32 *t) {
  t[0] = tf32_word(t[0]), t[1] = tf32_word(t[1]), t[2] = tf32_word(t[2]), t[3] = tf32_word(t[3]);
}
FUNCTION void tile_rows_f32(u32 *t, u32 at, i32 stride, i32 lane) {
  load_squares(t, at + 4 * (lane % 16 * stride + lane / 16 * 4));
  tile_round(t);
}
FUNCTION void tile_lanes_f32(u32 *t, u32 at, i32 stride, i32 lane) {
  load_squares(t, at + 4 * ((lane % 8 + lane / 16 * 8) * stride + lane / 8 % 2 * 4));
  tile_round(t);
}
FUNCTION void tile_rows_across_f32(u32 *t, u32 at, i32 stride, i32 lane) {
  const u32 first = at + 4 * (lane % 4 * stride + lane / 4);
  t[0] = load_word(first), t[1] = load_word(first + 32), t[2] = load_word(first + 16 * stride), t[3] = load_word(first + 16 * stride + 32);
  tile_round(t);
}
FUNCTION void tile_lanes_across_f32(u32 *t, u32 at, i32 stride, i32 lane) {
  const u32 first = at + 4 * (lane % 4 * stride + lane / 4);
  t[0] = load_word(first), t[1] = load_word(first + 16 * stride), t[2] = load_word(first + 32), t[3] = load_word(first + 16 * stride + 32);
  tile_round(t);
}
FUNCTION void tile_dot_f32(f32 *c, const u32 *a, const u32 *b) {
  multiply_squares_f32(c, a, b[0], b[1]);
  multiply_squares_f32(c + 4, a, b[2], b[3]);
}
FUNCTION void tile_store(f32 *at, i32 stride, const f32 *t, i32 lane) {
  f32 *const upper = at + lane / 4 * stride + lane % 4 * 2, *const lower = upper + 8 * stride;
  two_store(upper, t[0], t[1]), two_store(lower, t[2], t[3]);
  two_store(upper + 8, t[4], t[5]), two_store(lower + 8, t[6], t[7]);
}
#endif
