#include "ir/rule.h"

#include <ctype.h>
#include <stdlib.h>

typedef struct {
  const char *at;
  const rule_builder *builder;
  bool broken;
} reader;

static uint64_t read_sum(reader *r);

static bool accept(reader *r, char c) {
  while (*r->at == ' ') r->at++;
  if (*r->at != c) return false;
  r->at++;
  return true;
}

static uint64_t apply(reader *r, op_id op, uint32_t n, const uint64_t *args) {
  return r->broken ? 0 : r->builder->apply(r->builder->context, op, n, args);
}

static uint64_t broken(reader *r) {
  r->broken = true;
  return 0;
}

static uint64_t read_comparison(reader *r) {
  uint64_t left = read_sum(r);
  if (!accept(r, '<')) return left;
  op_id op = accept(r, '=') ? OP_LE : OP_LT;
  uint64_t right = read_sum(r);
  return apply(r, op, 2, (uint64_t[]){left, right});
}

static uint64_t read_primary(reader *r) {
  if (accept(r, '(')) {
    uint64_t inside = read_comparison(r);
    return accept(r, ')') ? inside : broken(r);
  }
  if (isdigit((unsigned char)*r->at)) {
    char *end;
    double v = strtod(r->at, &end);
    r->at = end;
    return r->broken ? 0 : r->builder->number(r->builder->context, v);
  }
  size_t n = 0;
  while (isalnum((unsigned char)r->at[n]) || r->at[n] == '_') n++;
  const char *name = r->at;
  r->at += n;
  if (!accept(r, '(')) {
    if (n != 1 || !strchr("xyzrg", *name)) return broken(r);
    return r->broken ? 0 : r->builder->name(r->builder->context, *name);
  }
  uint64_t args[3];
  uint32_t count = 0;
  do {
    if (count == 3) return broken(r);
    args[count++] = read_comparison(r);
  } while (accept(r, ','));
  op_id op = op_from_name(name, n);
  if (!accept(r, ')') || op == OP_COUNT || !op_table[op].elementwise || op_table[op].arity != (int)count) return broken(r);
  return apply(r, op, count, args);
}

static uint64_t read_unary(reader *r) {
  if (!accept(r, '-')) return read_primary(r);
  uint64_t x = read_unary(r);
  return apply(r, OP_NEG, 1, &x);
}

static uint64_t read_product(reader *r) {
  uint64_t left = read_unary(r);
  for (;;) {
    op_id op = accept(r, '*') ? OP_MUL : accept(r, '/') ? OP_DIV : OP_COUNT;
    if (op == OP_COUNT) return left;
    uint64_t right = read_unary(r);
    left = apply(r, op, 2, (uint64_t[]){left, right});
  }
}

static uint64_t read_sum(reader *r) {
  uint64_t left = read_product(r);
  for (;;) {
    op_id op = accept(r, '+') ? OP_ADD : accept(r, '-') ? OP_SUB : OP_COUNT;
    if (op == OP_COUNT) return left;
    uint64_t right = read_product(r);
    left = apply(r, op, 2, (uint64_t[]){left, right});
  }
}

bool rule_build(const char *text, uint32_t index, const rule_builder *b, uint64_t *out) {
  *out = 0;
  for (; index && *text; text++) index -= *text == ';';
  text += strspn(text, " ");
  if (!*text || *text == ';') return false;
  reader r = {text, b, false};
  uint64_t built = read_comparison(&r);
  while (*r.at == ' ') r.at++;
  if (r.broken || (*r.at && *r.at != ';')) return false;
  *out = built;
  return true;
}
