"""Where modules of a project tree are: from dotted names to files, and back."""

from __future__ import annotations

from pathlib import Path

PACKAGES = ("benchmark", "baselines", "submissions")
"""Folders that hold the project's code."""
_DEEPEST, _LONGEST = 32, 200
"""Parts of a dotted name, and bytes of one, beyond which no file of a project has it."""


class Places:
    """Files of one tree by the dotted names of their modules; what was looked up once is not looked up again.

    Args:
        root: the tree's root.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._files: dict[str, str] = {}
        self._folders: dict[str, bool] = {}

    def file(self, module: str) -> str:
        """The relative path of a module's file; nothing where the project has none."""
        if module not in self._files:
            self._files[module] = self._look_up(module)
        return self._files[module]

    def exists(self, module: str) -> bool:
        """Whether it is a module or a folder of modules of the project."""
        if self.file(module):
            return True
        if module not in self._folders:
            parts = module.split(".")
            self._folders[module] = _is_ours(parts) and self.root.joinpath(*parts).is_dir()
        return self._folders[module]

    def parents(self, module: str) -> list[str]:
        """Files that importing the module runs, its packages' first."""
        parts = module.split(".")
        if not _is_ours(parts):
            return []
        files = (self.file(".".join(parts[:depth])) for depth in range(1, len(parts) + 1))
        return [file for file in files if file]

    def below(self, pattern: str) -> list[str]:
        """Files of the modules whose dotted names have a pattern, ``*`` standing for anything."""
        parts = pattern.replace("**", "*").split(".")
        if not _is_ours(parts):
            return []
        inner = "/".join(parts)
        found = [*self.root.glob(f"{inner}.py"), *self.root.glob(f"{inner}/__init__.py")]
        return sorted(path.relative_to(self.root).as_posix() for path in found if path.is_file())

    def all_below(self, folder: str) -> list[str]:
        """Every file of code in a folder."""
        found = sorted((self.root / folder).rglob("*.py"))
        return [path.relative_to(self.root).as_posix() for path in found if path.is_file()]

    def _look_up(self, module: str) -> str:
        parts = module.split(".")
        if not _is_ours(parts):
            return ""
        folder = self.root.joinpath(*parts)
        for path in (folder / "__init__.py", folder.parent / f"{folder.name}.py"):
            if path.is_file():
                return path.relative_to(self.root).as_posix()
        return ""


def module_of(file: str) -> str:
    """The dotted name of a file of code."""
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def package_of(file: str) -> str:
    """The dotted name of the package that a file's relative imports start from."""
    return file.rpartition("/")[0].replace("/", ".")


def submission_of(file: str) -> str:
    """The folder right below ``submissions/`` that a file lies in, or the file that lies there itself."""
    parts = file.split("/")
    return "/".join(parts[:2]) if parts[0] == "submissions" and len(parts) > 1 else ""


def _is_ours(parts: list[str]) -> bool:
    return (
        parts[0] in PACKAGES
        and len(parts) <= _DEEPEST
        and all(part and "/" not in part and "\0" not in part for part in parts)
        and max(len(part.encode("utf-8", "surrogatepass")) for part in parts) <= _LONGEST
        and sum(map(len, parts)) <= 4 * _LONGEST
    )
