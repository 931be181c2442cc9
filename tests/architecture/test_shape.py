"""What the architecture page promises and a linter of imports cannot see."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "strongroom"
MODULES = sorted(SOURCE.rglob("*.py"))


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            target = node.func
            if isinstance(target, ast.Name):
                yield target.id
            elif isinstance(target, ast.Attribute):
                yield target.attr


def test_only_authorize_makes_an_authorized_call() -> None:
    makers = {
        str(path.relative_to(SOURCE)) for path in MODULES if "AuthorizedCall" in calls(ast.parse(path.read_text()))
    }
    assert makers == {"edge/authorize.py"}


def test_no_call_is_changed_after_it_was_authorised() -> None:
    """`dataclasses.replace` would make one too: nobody applies it to a call."""
    for path in MODULES:
        assert not re.search(r"\breplace\(call\b", path.read_text()), path


def test_every_page_names_modules_that_exist() -> None:
    for page in (ROOT / "docs").rglob("*.md"):
        for name in re.findall(r"`((?:[a-z0-9_]+/)+[a-z0-9_]+\.py)`", page.read_text()):
            assert (SOURCE / name).exists() or (ROOT / name).exists(), f"{page.name} names {name}"


def test_every_module_says_its_strategy() -> None:
    for path in MODULES:
        if path.name != "__init__.py":
            assert ast.get_docstring(ast.parse(path.read_text())), path


def test_randomness_comes_from_the_operating_system() -> None:
    """Keys, salts, nonces, ids: `secrets` or os.urandom, never `random` (peer-bugs E2)."""
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {"random", "pickle", "yaml", "marshal", "shelve"} & set(names), path


def test_no_constant_serves_as_a_key() -> None:
    """Peer-bugs E1: a zero or default key. bytes(32), b"\\0" * 32 and the like stand nowhere but where a key is wiped."""
    for path in MODULES:
        text = path.read_text()
        found = re.findall(r"(?<!token_)\bbytes\((?:32|KEY_SIZE)\)|b[\"']\\(?:0|x00)[\"'] \* 32|bytearray\(32\)", text)
        assert not found, path
