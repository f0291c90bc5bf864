/* Any text: the parser reports and goes on, the tree prints, and formatting twice changes nothing. */
#include "frontend/ast.h"
#include "tests/fuzz/fuzz.h"

static void try_syntax(const fuzz_input *in, const char *text, size_t length) {
  ast_print(parse_program(in->file, in->diagnostics, in->arena), in->arena);
  const char *once = format_program(text, length, in->arena);
  fuzz_expect_same("the formatted texts", once, format_program(once, strlen(once), in->arena));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) { return fuzz_run(data, size, try_syntax); }
