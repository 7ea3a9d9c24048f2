"""Lint for prose: refuses the sentences that a tired engineer reads twice.

`python -m lab.checks.prose` reads docstrings, comments and the product's sentences (string literals with a space) in
all Python, and the pages in Markdown without their code. `make check` runs it. A finding is one line:
`path:line: "words": what to write instead`. `python -m lab.checks.prose ROOM...` lists the findings of those rooms.

A room is a top folder together with its tests; docs, README and CHANGELOG are the room `docs`.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# These two hold the refused words themselves.
EXEMPT = frozenset({"lab/checks/prose.py", "tests/config/test_prose.py"})
LANES = frozenset({"component", "contract", "e2e", "process", "unit"})


@dataclass(frozen=True, slots=True)
class Pattern:
    """Words that are refused, and the advice that is printed with them."""

    words: re.Pattern[str]
    advice: str


def _pattern(words: str, advice: str) -> Pattern:
    return Pattern(re.compile(rf"\b(?:{words})\b", re.IGNORECASE), advice)


def _opening(words: str, advice: str) -> Pattern:
    """Words at the beginning of a sentence."""
    return Pattern(re.compile(rf"(?:^|(?<=[.:;!?] ))(?:{words})\b"), advice)


_BEING = "is|are|was|were|be|been|being"
_COUNTED = "a|an|the|each|every|one|no|first|second|third|last|next|this|that|later|earlier|further|per|five|its|of"

PATTERNS = (
    _pattern("whoever|whomever|whosoever", "no subject without a head: name who acts (the operator, the caller)"),
    _pattern("nobody|somebody|someone", "name the role or the program: no consumer, an operator, another process"),
    _pattern(f"(?:{_BEING}) told|told of|tells? of", "a program is not told: it receives, reads, logs or reports"),
    _pattern("of which|of what", "no fronted object: begin with the subject, one fact a sentence"),
    _pattern("what is not|what are not", "name the thing: 'unknown values', 'unpublished events'"),
    _pattern("whose are", "name the owner first: 'the rows of X are …'"),
    _opening("Whose|Of whom|Of all that|Of (?:it|them|one|each) ", "no fronted object: subject, verb, object"),
    _pattern("bears?|bearing|borne", "carries, has, holds"),
    _pattern("at work", "running"),
    _pattern("(?:goes|go|going|went|gone) on(?= (?:by|with|when|where|until|without|while)|[,.;:)]| ?$)", "continues"),
    _pattern("looks(?! (?:up|like|the same|alike))|looked(?! up)", "checks, reads"),
    _pattern("(?:a|each|every|one|last|next) look(?!-up)", "a check, a reading"),
    _pattern("reigns?", "a relay has a term"),
    _pattern("(?:comes?|coming|came) of age", "becomes due"),
    _pattern("(?:gives?|gave|given|giving) up", "a step dead-letters; a loop stops"),
    _pattern("sets? aside|setting aside", "dead-letters"),
    _pattern(f"(?:{_COUNTED}) (?:try|tries)(?! (?:again|to|block))", "attempt"),
    Pattern(
        re.compile(r"(?<!dead )(?<!dead-)(?<!capital )\bletters?\b", re.IGNORECASE),
        "a dead letter or an e-mail; a character of the alphabet is a character",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """One refused phrase: where it is, its words and the advice."""

    path: str
    line: int
    words: str
    advice: str

    def __str__(self) -> str:
        return f'{self.path}:{self.line}: "{self.words}": {self.advice}'


def room_of(path: str) -> str:
    """The room that a file belongs to: its top folder, for a test that of the code that it tests."""
    first, *rest = path.split("/")
    if not rest:
        return "docs"
    if first == "tests" and rest[0] in LANES and len(rest) > 2:
        return rest[1]
    return first


def passages_of_python(source: str, *, product: bool) -> Iterator[tuple[int, str]]:
    """Docstrings and comments with their first line; of product code also string literals that contain a space."""
    yield from _comments(source)
    tree = ast.parse(source)
    docstrings = {id(node.value) for node in _docstrings(tree)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or not isinstance(node.value, str):
            continue
        if id(node) in docstrings or (product and " " in node.value):
            yield node.lineno, node.value


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Comments; those in adjacent lines are one passage."""
    first, lines = 0, list[str]()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if token.start[0] != first + len(lines):
            yield first, "\n".join(lines)
            first, lines = token.start[0], []
        lines.append(token.string.lstrip("#"))
    yield first, "\n".join(lines)


def _docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield first


def passages_of_page(text: str) -> Iterator[tuple[int, str]]:
    """A page without its code blocks, the targets of its links and the series of promtool's tests."""
    without_code = re.sub(
        r"^```.*?^```", lambda block: "\n" * block[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE
    )
    without_series = re.sub(r"^ *- \{ series: .*$", "", without_code, flags=re.MULTILINE)
    yield 1, re.sub(r"\]\([^)]*\)", "]", without_series)


def findings_in(path: str, passages: Iterable[tuple[int, str]]) -> Iterator[Finding]:
    """What the patterns refuse in these passages, across line ends; `code` in backticks is not prose."""
    for first, passage in passages:
        prose = re.sub(r"`[^`]*`", lambda code: "`" + "\n" * code[0].count("\n") + "`", passage)
        text = ""
        line_at: list[int] = []
        for offset, line in enumerate(prose.split("\n")):
            words = f"{line.strip()} "
            text += words
            line_at += [first + offset] * len(words)
        for pattern in PATTERNS:
            for match in pattern.words.finditer(text):
                yield Finding(path, line_at[match.start()], match[0], pattern.advice)


def findings(root: Path) -> Iterator[Finding]:
    """Everything refused in the files that git knows under `root`."""
    listed = subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True, check=True).stdout
    for path in sorted(set(listed.splitlines()) - EXEMPT):
        file = root / path
        if not file.is_file():
            continue
        if file.suffix == ".py":
            product = not path.startswith("tests/")
            yield from findings_in(path, passages_of_python(file.read_text(), product=product))
        elif file.suffix == ".md" or path.startswith("deploy/prometheus/"):
            yield from findings_in(path, passages_of_page(file.read_text()))


def main(rooms: list[str]) -> int:
    """Print the findings of `rooms`, or of all rooms; 1 if there is any."""
    refused = [finding for finding in findings(Path()) if not rooms or room_of(finding.path) in rooms]
    sys.stdout.write("".join(f"{finding}\n" for finding in refused))
    return 1 if refused else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
