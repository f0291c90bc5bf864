/* What the grammar's actions call: one function for each shape of node. */
#ifndef SSLC_FRONTEND_TREE_H
#define SSLC_FRONTEND_TREE_H

#include "parser.h"

ast_expr *tree_text(parse_state *p, ast_kind kind, span where, const char *text);
ast_expr *tree_number(parse_state *p, span where, const token *number);
ast_expr *tree_unary(parse_state *p, ast_operator op, span where, ast_expr *right);
ast_expr *tree_binary(parse_state *p, ast_operator op, ast_expr *left, ast_expr *right);
ast_expr *tree_apply(parse_state *p, ast_kind kind, span where, ast_expr *left, ast_items items);
ast_expr *tree_field(parse_state *p, span where, ast_expr *left, const char *name);
ast_expr *tree_slice(parse_state *p, span where, ast_expr *from, ast_expr *to);
ast_expr *tree_if(parse_state *p, span where, ast_expr *condition, ast_block *yes, ast_block *no);
/* `parameters` is a name, a tuple of names (reported when it is not), or NULL for none. */
ast_expr *tree_lambda(parse_state *p, span where, ast_expr *parameters, ast_expr *body);
/* A tuple of one is what stands in the parentheses. */
ast_expr *tree_parenthesised(ast_expr *tuple);
/* A comprehension without its element yet (NULL to begin) and one more clause. */
ast_expr *tree_clause(parse_state *p, ast_expr *so_far, ast_clause clause);

ast_items tree_add(parse_state *p, ast_items items, const char *name, span where, ast_expr *value);
ast_pattern tree_pattern(parse_state *p, ast_pattern names, const token *name);
ast_parameters tree_add_parameter(parse_state *p, ast_parameters list, ast_parameter one);

ast_statement *tree_statement(parse_state *p, ast_statement_kind kind, span where, const token *name, ast_expr *value);
ast_statement *tree_local_function(parse_state *p, span where, const token *name, ast_parameters parameters, const parse_value *body);
/* The block with one more statement; either may be NULL. */
ast_block *tree_block(parse_state *p, ast_block *block, ast_statement *statement);

ast_declaration *tree_value(parse_state *p, ast_declaration_kind kind, span where, const token *name, const ast_type *type, ast_expr *value);
ast_declaration *tree_function(parse_state *p, ast_declaration_kind kind, span where, const token *name, const ast_parameters *outer,
                               const ast_parameters *inner, const parse_value *body);
void tree_declare(parse_state *p, ast_declaration *declaration);

#endif
