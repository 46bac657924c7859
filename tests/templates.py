"""The sentences of ours that a user can meet, found by reading the code, so that none is forgotten."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1] / "exporter"

_MADE = {
    "ValueError", "TypeError", "OSError", "PlacedError", "SampleError", "FamilyError", "OperationalError",
    "_SyntaxError", "BadParameter", "ModuleNotFoundError",
}  # fmt: skip
"""Errors that may be made in one place and raised in another; what is made where it is raised needs no name here."""

_SAID = {
    "warning", "info", "error", "exception", "echo", "print", "write", "fault", "_fault", "fault_untold", "Fault",
    "Unseen", "_misfit", "_note", "_cannot", "_refusal", "PlainTextResponse",
}  # fmt: skip
_GIVEN_BACK = {"_tried", "_may_reload", "_unknown", "_refusal", "failure", "_failure", "missing_library"}
"""Functions that make a sentence for their caller to say."""

_TABLES = {"_FAILURES"}
"""Sentences to choose from."""

_SHORTEST = 12  # characters; less is a reason, a name or a part


@dataclass(frozen=True)
class Template:
    """One sentence: where it stands, and the pattern that whatever is said by it matches."""

    place: str
    text: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """Return the pattern; what is filled in may be anything."""
        parts = re.split(r"\x00|%(?:\.\d+)?[sdrgf]", self.text)
        return re.compile(".*".join(map(re.escape, parts)), re.DOTALL)

    def __str__(self) -> str:
        return f"{self.place}: {self.text.replace(chr(0), '{}')}"


def templates() -> Iterator[Template]:
    """Read all sentences out of the code."""
    for path in sorted(ROOT.rglob("*.py")):
        yield from _of_module(path)


def _of_module(path: Path) -> Iterator[Template]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = (text for said, named in _expressions(tree) for text in _texts(said, named))
    for text in dict.fromkeys(filter(_is_sentence, texts)):
        yield Template(str(path.relative_to(ROOT)), text)


def _is_sentence(text: str) -> bool:
    """Tell a sentence from a key, a label or a reason, which has one word."""
    return len(text.replace("\0", "")) >= _SHORTEST and " " in text.strip()


_Named = dict[str, list[ast.expr]]


def _expressions(tree: ast.Module) -> Iterator[tuple[ast.expr, _Named]]:
    """Return what is said anywhere in a module, with what stands under a name there."""
    outside = _named(tree.body)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = {**outside, **_named(ast.walk(node))}
            for each in ast.walk(node):
                yield from ((said, inside) for said in _said(each))
            if node.name in _GIVEN_BACK:
                returned = (each.value for each in ast.walk(node) if isinstance(each, ast.Return) and each.value)
                yield from ((said, inside) for said in returned)
        else:
            yield from ((said, outside) for said in _said(node))
    for name in _TABLES & outside.keys():
        yield from ((said, outside) for said in outside[name])


def _said(node: ast.AST) -> Iterator[ast.expr]:
    called = node.exc if isinstance(node, ast.Raise) else node
    if isinstance(called, ast.Call) and (called is not node or _name(called.func) in _MADE | _SAID):
        yield from called.args
        yield from (keyword.value for keyword in called.keywords)


def _named(nodes: Iterable[ast.AST]) -> _Named:
    """Return what is kept under a name, by it."""
    found: _Named = {}
    for node in nodes:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(node.value)
    return found


def _name(function: ast.expr) -> str:
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _texts(node: ast.expr, named: _Named) -> Iterator[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(_part(part, named) for part in node.values)
    elif isinstance(node, ast.BinOp):
        left, right = [*_texts(node.left, named)] or ["\0"], [*_texts(node.right, named)] or ["\0"]
        yield left[0] + right[0]
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body, named)
        yield from _texts(node.orelse, named)
    elif isinstance(node, ast.Tuple):
        for each in node.elts:
            yield from _texts(each, named)
    elif isinstance(node, ast.Name):
        for each in named.get(node.id, ()):
            # By what it was before it was added to, itself would be meant.
            yield from _texts(each, {name: kept for name, kept in named.items() if name != node.id})


def _part(part: ast.expr, named: _Named) -> str:
    if isinstance(part, ast.Constant):
        return str(part.value)
    kept = (
        named.get(part.value.id, [])
        if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Name)
        else []
    )
    if len(kept) == 1 and isinstance(kept[0], ast.Constant) and isinstance(kept[0].value, str):
        return kept[0].value
    return "\0"
