"""Patterns of the policy language: `*`, `?`, `${variables}`, and what they match.

A policy's text becomes a pattern once, when it is read; with the request's context it becomes a glob. Whatever a
variable stands for is literal text: a user called `*` is a user called `*`, and no value of a request ever becomes a
wildcard. Matching is one pass over the text whatever the pattern: all places in the pattern that may be reached are
carried along as the bits of one number, so nothing backtracks and no policy can make a request slow. This module knows
neither statements nor operators.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Self

# Condition keys in lower case; a key that is absent and one without values are the same.
Context = Mapping[str, tuple[str, ...]]


class Wildcard(Enum):
    ANY = "*"
    ONE = "?"


@dataclass(frozen=True, slots=True)
class Variable:
    """`${key}` or `${key, 'default'}`. `key`: in lower case."""

    key: str
    default: str | None


Token = str | Wildcard
Piece = Token | Variable

_WILDCARDS = re.compile(r"[*?]")
_MARKS = re.compile(r"\$\{([^}]*)\}|[*?]")
_VARIABLE = re.compile(r"\s*([^\s${,'](?:[^${,']*[^\s${,'])?)\s*(?:,\s*'([^']*)'\s*)?")


class MalformedPattern(ValueError):
    """The text has a variable that is not well formed."""


@dataclass(frozen=True, slots=True)
class Glob:
    """Text with wildcards. After the literal `prefix` there are `length` single characters to match: bit i of
    `accepts[c]` and `any_character` says that c may stand at place i, bit i of `stars` that anything may come before
    it. `ignore_case`: the glob is in lower case, and what it is held against is taken so.
    """

    prefix: str
    length: int = 0
    accepts: Mapping[str, int] = field(default_factory=dict, repr=False)
    any_character: int = 0
    stars: int = 0
    ignore_case: bool = False

    @classmethod
    def of(cls, tokens: Iterable[Token], *, ignore_case: bool = False) -> Self:
        prefix, length = "", 0
        accepts, any_character, stars = dict[str, int](), 0, 0
        for token in tokens:
            match token:
                case Wildcard.ANY:
                    stars |= 1 << length
                case Wildcard.ONE:
                    any_character |= 1 << length
                    length += 1
                case _:
                    text = token.lower() if ignore_case else token
                    if not length and not stars:
                        prefix += text
                        continue
                    for character in text:
                        accepts[character] = accepts.get(character, 0) | 1 << length
                        length += 1
        return cls(prefix, length, accepts, any_character, stars, ignore_case)

    def matches(self, text: str) -> bool:
        if self.ignore_case:
            text = text.lower()
        if not text.startswith(self.prefix):
            return False
        if not self.length:
            return bool(self.stars) or len(text) == len(self.prefix)
        places = 1
        for character in text[len(self.prefix) :]:
            accepted = places & (self.accepts.get(character, 0) | self.any_character)
            places = (accepted << 1) | (places & self.stars)
            if not places:
                return False
        return bool(places >> self.length & 1)


@dataclass(frozen=True, slots=True)
class Pattern:
    """What stood in the policy. `fixed`: the glob, where it depends on no request."""

    pieces: tuple[Piece, ...]
    ignore_case: bool
    fixed: Glob | None = field(repr=False)

    @classmethod
    def of(cls, pieces: Iterable[Piece], *, ignore_case: bool = False) -> Self:
        pieces = tuple(pieces)
        fixed = None if any(isinstance(piece, Variable) for piece in pieces) else _glob(pieces, {}, ignore_case)
        return cls(pieces, ignore_case, fixed)

    def resolve(self, context: Context) -> Glob | None:
        """None where a variable has no value: it is absent from the request and has no default, or it has several."""
        return self.fixed or _glob(self.pieces, context, self.ignore_case)


def parse_pattern(text: str, *, variables: bool, wildcards: bool = True, ignore_case: bool = False) -> Pattern:
    """`wildcards` False: `*` and `?` are themselves. `variables` False: so is `${`, as before version 2012-10-17.

    Raises MalformedPattern.
    """
    return Pattern.of(_pieces(text, variables=variables, wildcards=wildcards), ignore_case=ignore_case)


def split_at_colons(pieces: Iterable[Piece], parts: int) -> list[list[Piece]]:
    """In at most `parts` lists, cut where the policy itself has a colon: one that a variable brings along is text."""
    found: list[list[Piece]] = [[]]
    for piece in pieces:
        if isinstance(piece, str):
            first, *others = piece.split(":", parts - len(found))
            found[-1] += [first] if first else []
            found += [[other] if other else [] for other in others]
        else:
            found[-1].append(piece)
    return found


def _pieces(text: str, *, variables: bool, wildcards: bool) -> Iterator[Piece]:
    literal, position = "", 0
    for mark in (_MARKS if variables else _WILDCARDS).finditer(text):
        piece = _piece(mark, wildcards=wildcards)
        literal += _checked(text[position : mark.start()], variables=variables)
        position = mark.end()
        if isinstance(piece, str):
            literal += piece
            continue
        if literal:
            yield literal
            literal = ""
        yield piece
    literal += _checked(text[position:], variables=variables)
    if literal:
        yield literal


def _piece(mark: re.Match[str], *, wildcards: bool) -> Piece:
    if mark[0] in {"*", "?"}:
        return Wildcard(mark[0]) if wildcards else mark[0]
    inside = mark[1]
    if inside in {"*", "?", "$"}:
        return inside
    if (variable := _VARIABLE.fullmatch(inside)) is None:
        raise MalformedPattern(mark[0])
    return Variable(variable[1].lower(), variable[2])


def _checked(literal: str, *, variables: bool) -> str:
    if variables and "${" in literal:
        raise MalformedPattern(literal)
    return literal


def _glob(pieces: Iterable[Piece], context: Context, ignore_case: bool) -> Glob | None:
    tokens: list[Token] = []
    for piece in pieces:
        if isinstance(piece, Variable):
            match context.get(piece.key, ()):
                case (value,):
                    tokens.append(value)
                case () if piece.default is not None:
                    tokens.append(piece.default)
                case _:
                    return None
        else:
            tokens.append(piece)
    return Glob.of(tokens, ignore_case=ignore_case)
