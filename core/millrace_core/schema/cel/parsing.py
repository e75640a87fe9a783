"""From source text to syntax tree; macros become nodes of their own."""

from __future__ import annotations

from millrace_core.schema.cel.lexing import Token, tokens
from millrace_core.schema.cel.syntax import (
    CallExpr,
    CelIssue,
    Expr,
    IdentExpr,
    ListExpr,
    LiteralExpr,
    MacroExpr,
    MapExpr,
    SelectExpr,
)

RESERVED = frozenset(
    {"as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop", "package"}
    | {"namespace", "return", "var", "void", "while"}
)
_CONSTANTS = {"true": True, "false": False, "null": None}
_BINARY = (("||",), ("&&",), ("<", "<=", ">=", ">", "==", "!=", "in"), ("+", "-"), ("*", "/", "%"))
_LEVELS = {symbol: level for level, symbols in enumerate(_BINARY) for symbol in symbols}
_OPERATORS = {symbol: f"_{symbol}_" for symbol in _LEVELS} | {"in": "@in"}
_QUANTIFIERS = {"all": "all", "exists": "exists", "exists_one": "exists_one", "existsOne": "exists_one"}
_LARGEST_INT = 2**63 - 1
_MAX_DEPTH = 100


def parse(source: str) -> Expr:
    """The syntax tree of an expression; raises CelIssue."""
    return _Parser(tokens(source)).whole()


class _Parser:
    def __init__(self, stream: list[Token]) -> None:
        self.stream = stream
        self.position = 0
        self.depth = 0

    def whole(self) -> Expr:
        expr = self.expression()
        if self.next.kind != "end":
            raise self.unexpected()
        return expr

    @property
    def next(self) -> Token:
        return self.stream[self.position]

    def advance(self) -> Token:
        token = self.next
        self.position += 1
        return token

    def unexpected(self) -> CelIssue:
        if self.next.value == "?":
            return CelIssue("unsupported syntax '?': optional selection and indexing are not available", self.next.at)
        return CelIssue(f"Syntax error: unexpected '{self.next.value}'", self.next.at)

    def accept(self, *symbols: str) -> Token | None:
        if self.next.kind in {"symbol", "name"} and self.next.value in symbols:
            return self.advance()
        return None

    def expect(self, symbol: str) -> Token:
        token = self.accept(symbol)
        if token is None:
            raise self.unexpected()
        return token

    def expression(self) -> Expr:
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise CelIssue(f"expression recursion limit exceeded: {_MAX_DEPTH}", self.next.at)
        condition = self.binary(0)
        question = self.accept("?")
        if question:
            first = self.binary(0)
            self.expect(":")
            condition = CallExpr(question.at, "_?_:_", None, [condition, first, self.expression()])
        self.depth -= 1
        return condition

    def binary(self, lowest: int) -> Expr:
        """Operators of level ``lowest`` or tighter, left-associative."""
        left = self.unary()
        while (level := self.level()) >= lowest:
            token = self.advance()
            left = CallExpr(token.at, _OPERATORS[token.value], None, [left, self.binary(level + 1)])
        return left

    def level(self) -> int:
        """The precedence of the next token as a binary operator; -1 if it is none."""
        return _LEVELS.get(self.next.value, -1) if self.next.kind in {"symbol", "name"} else -1

    def unary(self) -> Expr:
        bang = self.accept("!")
        if bang:
            return CallExpr(bang.at, "!_", None, [self.unary()])
        minus = self.accept("-")
        if minus is None:
            return self.checked(self.member())
        number = self.next
        if number.kind == "literal" and type(number.value) in {int, float}:
            self.advance()
            return self.suffixes(LiteralExpr(minus.at, -number.value))
        return CallExpr(minus.at, "-_", None, [self.unary()])

    def checked(self, expr: Expr) -> Expr:
        if isinstance(expr, LiteralExpr) and type(expr.value) is int and expr.value > _LARGEST_INT:
            raise CelIssue("Syntax error: invalid int literal", expr.at)
        return expr

    def member(self) -> Expr:
        return self.suffixes(self.primary())

    def suffixes(self, expr: Expr) -> Expr:
        while token := self.accept(".", "["):
            if token.value == "[":
                index = self.expression()
                self.expect("]")
                expr = CallExpr(token.at, "_[_]", None, [expr, index])
                continue
            name = self.name()
            opening = self.accept("(")
            if opening:
                expr = self.method(expr, name.value, opening, self.arguments(")"))
            else:
                expr = SelectExpr(token.at, expr, name.value)
        return expr

    def name(self) -> Token:
        if self.next.kind != "name" or self.next.value in _CONSTANTS or self.next.value == "in":
            raise self.unexpected()
        return self.advance()

    def arguments(self, closing: str) -> list[Expr]:
        items: list[Expr] = []
        while not self.accept(closing):
            items.append(self.expression())
            if not self.accept(","):
                self.expect(closing)
                break
        return items

    def primary(self) -> Expr:
        token = self.next
        if token.kind == "literal":
            return LiteralExpr(self.advance().at, token.value)
        if self.accept("("):
            inner = self.expression()
            self.expect(")")
            return inner
        if self.accept("["):
            return ListExpr(token.at, self.arguments("]"))
        if self.accept("{"):
            return MapExpr(token.at, self.entries())
        self.accept(".")
        return self.named()

    def named(self) -> Expr:
        token = self.next
        if token.kind == "name" and token.value in _CONSTANTS:
            return LiteralExpr(self.advance().at, _CONSTANTS[token.value])
        name = self.name()
        opening = self.accept("(")
        if opening is None:
            if name.value in RESERVED:
                raise CelIssue(f"reserved identifier: {name.value}", name.at)
            return IdentExpr(name.at, name.value)
        return self.function(name.value, opening, self.arguments(")"))

    def entries(self) -> list[tuple[Expr, Expr]]:
        entries: list[tuple[Expr, Expr]] = []
        while not self.accept("}"):
            key = self.expression()
            self.expect(":")
            entries.append((key, self.expression()))
            if not self.accept(","):
                self.expect("}")
                break
        return entries

    def function(self, name: str, opening: Token, args: list[Expr]) -> Expr:
        if name == "has" and len(args) == 1:
            (operand,) = args
            if not isinstance(operand, SelectExpr):
                raise CelIssue("invalid argument to has() macro", operand.at)
            return SelectExpr(opening.at, operand.operand, operand.field, test=True)
        return CallExpr(opening.at, name, None, args)

    def method(self, target: Expr, name: str, opening: Token, args: list[Expr]) -> Expr:
        if name in _QUANTIFIERS and len(args) == 2:  # noqa: PLR2004
            return MacroExpr(opening.at, _QUANTIFIERS[name], target, self.variable(args[0]), args[1], None)
        if name == "filter" and len(args) == 2:  # noqa: PLR2004
            return MacroExpr(opening.at, "filter", target, self.variable(args[0]), args[1], None)
        if name == "map" and len(args) in {2, 3}:
            predicate = args[1] if len(args) == 3 else None  # noqa: PLR2004
            return MacroExpr(opening.at, "map", target, self.variable(args[0]), predicate, args[-1])
        return CallExpr(opening.at, name, target, args)

    def variable(self, expr: Expr) -> str:
        if not isinstance(expr, IdentExpr):
            raise CelIssue("argument must be a simple name", expr.at)
        return expr.name
