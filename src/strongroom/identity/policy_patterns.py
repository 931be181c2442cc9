"""Patterns of the policy language: `*`, `?`, `${variables}`, and what they match.

A policy's text becomes a pattern once, when it is read; with the request's context it becomes a glob. Whatever a
variable stands for is literal text: a user called `*` is a user called `*`, and no value of a request ever becomes a
wildcard. What stands between two `*` has one length and is looked for once, by the machine's own search, so nothing
backtracks: no pattern takes longer than its length times the text's, and one longer than the text takes no time at all.
This module knows neither statements nor operators.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from itertools import groupby
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
class _Segment:
    """What stands between two `*`: `length` characters, of which `runs` are given, each with its distance from the first;
    the others are `?`.

    No regular expression: part of the text may be new with each request, and reading it as one takes far longer than
    looking for it.
    """

    length: int
    runs: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, parts: Iterable[str | Wildcard]) -> Self:
        length, runs = 0, list[tuple[int, str]]()
        for is_text, together in groupby(parts, key=lambda part: isinstance(part, str)):
            run = "".join(part if isinstance(part, str) else "?" for part in together)
            if is_text and run:
                runs.append((length, run))
            length += len(run)
        return cls(length, tuple(runs))

    def is_at(self, text: str, start: int) -> bool:
        return all(text.startswith(run, start + offset) for offset, run in self.runs)

    def find(self, text: str, start: int, stop: int) -> int:
        """Where it stands first between the two, -1 for nowhere."""
        last = stop - self.length
        if last < start or not self.runs:
            return -1 if last < start else start
        if len(self.runs) == 1:
            ((offset, run),) = self.runs
            found = text.find(run, start + offset, last + offset + len(run))
            return -1 if found < 0 else found - offset
        places = (1 << (last + 1 - start)) - 1
        for offset, run in self.runs:
            places &= _places(text, run) >> (start + offset)
            if not places:
                return -1
        return start + (places & -places).bit_length() - 1


@lru_cache(maxsize=512)
def _places(text: str, run: str) -> int:
    """Where `run` stands in `text`, as the bits of a number: all the places of one look-up can then be held against
    another's at once. Remembered, since the patterns of a policy that ask for much ask for the same.
    """
    marks = bytearray(len(text) // 8 + 1)
    place = text.find(run)
    while place >= 0:
        marks[place // 8] |= 1 << place % 8
        place = text.find(run, place + 1)
    return int.from_bytes(marks, "little")


_EMPTY = _Segment(0, ())


@dataclass(frozen=True, slots=True)
class Glob:
    """Text with wildcards: it begins with `first`, ends with `last`, and has `between` in this order in between; without a
    `*` there is no `last` and it is `first`. `ignore_case`: the glob is in lower case, and what it is held against is
    taken so.
    """

    first: _Segment
    between: tuple[_Segment, ...] = ()
    last: _Segment | None = None
    ignore_case: bool = False

    @classmethod
    def of(cls, tokens: Iterable[Token], *, ignore_case: bool = False) -> Self:
        parts: list[list[str | Wildcard]] = [[]]
        for token in tokens:
            if token is Wildcard.ANY:
                parts.append([])
            else:
                parts[-1].append(token.lower() if ignore_case and isinstance(token, str) else token)
        first, *rest = (_Segment.of(each) if each else _EMPTY for each in parts)
        if not rest:
            return cls(first, ignore_case=ignore_case)
        *between, last = rest
        return cls(first, tuple(each for each in between if each.length), last, ignore_case)

    def matches(self, text: str) -> bool:
        if self.ignore_case:
            text = text.lower()
        if self.last is None:
            return len(text) == self.first.length and self.first.is_at(text, 0)
        place, stop = self.first.length, len(text) - self.last.length
        if place > stop or not self.first.is_at(text, 0) or not self.last.is_at(text, stop):
            return False
        for segment in self.between:
            # The first place will do: a later one leaves less room for those that follow, and never more.
            found = segment.find(text, place, stop)
            if found < 0:
                return False
            place = found + segment.length
        return True


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
    if variables and text.rfind("${") > text.rfind("}"):
        # No end is there to be found; looked for from each beginning it would take the square of the text's length.
        raise MalformedPattern(text)
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
