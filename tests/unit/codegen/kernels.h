/* Kernels that every backend is tried on. Whoever includes this has a check_text(const char *) in front of it. */
#ifndef SSLC_TESTS_UNIT_CODEGEN_KERNELS_H
#define SSLC_TESTS_UNIT_CODEGEN_KERNELS_H

static void convolution_with_epilogue(void **state) {
  (void)state;
  check_text(
      "kernel conv {\n  in x : f32[2,5,9,7] {0 2 3 1}\n  in w : f32[40,5,3,3] {0/32 2 3 1 0%32}\n  in b : f32[40]\n"
      "  out y : f32[2,40,9,7] {0 2 3 1}\n  axes n:2 k:40 p:9 q:7 c:5 r:3 s:3\n"
      "  acc[n,k,p,q] : f32 = sum c r s of x[n, c, p + r - 1, q + s - 1] where 0 <= p + r - 1 < 9, "
      "0 <= q + s - 1 < 7 else 0 * w[k, c, r, s]\n"
      "  z[n,k,p,q] : f32 = max(0, acc + b[k]) -> y[n, k, p, q]\n}\n");
}

static void product_with_remainders(void **state) {
  static const char *const types[] = {"f32", "f64", "bf16", "i32"};
  (void)state;
  for (int i = 0; i < 4; i++) {
    char text[600];
    const char *t = types[i];
    snprintf(text, sizeof text,
             "kernel product {\n  in x : %s[29,31]\n  in w : %s[31,37]\n  out y : %s[29,37]\n  axes i:29 j:37 k:31\n"
             "  acc[i,j] : %s = sum k of x[i, k] * w[k, j] -> y[i, j]\n}\n",
             t, t, t, t);
    check_text(text);
  }
}

/* Stages meet in i alone. */
static void product_with_an_axis_of_its_own(void **state) {
  (void)state;
  check_text("kernel own {\n  in x : f64[19,3]\n  in m : f64[19,7,3]\n  in p : f64[3]\n  out s : f64[19]\n  out y : f64[19,7]\n"
             "  axes i:19 k:7 r:3\n  a[i] : f64 = sum r of x[i, r] -> s[i]\n"
             "  c[i,k] : f64 = sum r of (m[i, k, r] + a) * p[r] -> y[i, k]\n}\n");
}

/* Vectors of half a block. */
static const char blocked_product[] =
    "kernel blocked {\n  in x : f32[40,4]\n  in w : f32[40,128]\n  out y : f32[4,128] {1/64 0 1%64}\n  axes i:4 j:128 r:40\n"
    "  acc[i,j] : f32 = sum r of x[r, i] * w[r, j] -> y[i, j]\n}\n";

static void product_whose_columns_lie_in_blocks(void **state) {
  (void)state;
  check_text(blocked_product);
}

static void softmax_rows(void **state) {
  static const char *const types[] = {"f32", "f64"};
  (void)state;
  for (int i = 0; i < 2; i++) {
    char text[800];
    const char *t = types[i];
    snprintf(
        text, sizeof text,
        "kernel softmax {\n  in x : %s[9,37]\n  out y : %s[9,37]\n  out m : i32[9]\n  axes i:9 j:37\n"
        "  top[i] : %s = max j of x[i, j]\n  total[i] : %s = sum j of exp(x[i, j] - top)\n"
        "  which[i] : i32 = argmax j of x[i, j] -> m[i]\n  low[i,j] : %s = exp(x[i, j] - top) / total -> y[i, j]\n}\n",
        t, t, t, t, t);
    check_text(text);
  }
}

static void transcendental_maps(void **state) {
  static const char *const functions[] = {"exp", "log", "sin", "cos", "tanh", "erf", "exact_gelu", "exact_gelu_slope", "sqrt", "rsqrt"};
  (void)state;
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    char text[300];
    snprintf(text, sizeof text,
             "kernel map {\n  in x : f32[67]\n  out y : f32[67]\n  axes i:67\n  s[i] : f32 = %s(x[i]) -> y[i]\n}\n",
             functions[i]);
    check_text(text);
  }
}

static void random_bits_and_gathers(void **state) {
  (void)state;
  check_text("kernel noise {\n  in k : u32[2]\n  out y : u32[5,33]\n  axes i:5 j:33\n"
             "  s[i,j] : u32 = random_bits(k[0], k[1], u32(j), u32(i), 0, 1) -> y[i, j]\n}\n");
  check_text("kernel pick {\n  in x : f32[7,8]\n  in n : i32[35]\n  out y : f32[35]\n  axes a:35\n"
             "  s0[a] : f32 = x[min(max(i64(n[a]), 0), 6), a % 8] -> y[a]\n}\n");
}

/* Lanes that take several neighbours each: full vectors, a last one of fewer lanes, and one lane with what is left; sums that keep them,
 * and sums along them. */
static void neighbours_in_lanes(void **state) {
  static const char *const types[] = {"f32", "bf16", "u8", "f64"}, *const extents[] = {"128", "150", "131", "64"};
  (void)state;
  for (int i = 0; i < 4; i++)
    for (int e = 0; e < 4; e++) {
      char text[900];
      const char *t = types[i], *n = extents[e];
      snprintf(text, sizeof text,
               "kernel near {\n  in x : %s[9,%s]\n  out y : %s[9,%s]\n  out r : f32[9]\n  out c : f32[%s]\n  axes i:9 j:%s\n"
               "  row[i] : f32 = sum j of f32(x[i, j]) -> r[i]\n  column[j] : f32 = sum i of f32(x[i, j]) -> c[j]\n  same[i,j] : %s = x[i, j] -> y[i, j]\n}\n"
               "schedule { for i, j/64, j/%d vector, j unroll }\n",
               t, n, t, n, n, n, t, i % 2 ? 4 : 2);
      check_text(text);
    }
}

#define KERNEL_TESTS \
  cmocka_unit_test(neighbours_in_lanes), \
  cmocka_unit_test(convolution_with_epilogue), \
  cmocka_unit_test(product_with_remainders), \
  cmocka_unit_test(product_with_an_axis_of_its_own), \
  cmocka_unit_test(product_whose_columns_lie_in_blocks), \
  cmocka_unit_test(softmax_rows), \
  cmocka_unit_test(transcendental_maps), \
  cmocka_unit_test(random_bits_and_gathers)

#endif
