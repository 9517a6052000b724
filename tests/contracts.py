"""Two contract types for import-linter, named in setup.cfg: they hold for every plugin without listing it."""

from __future__ import annotations

from collections.abc import Iterator

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, fields, output


class ImportRule(Contract):
    """A contract that is kept if `violations` yields nothing."""

    def violations(self, graph: ImportGraph) -> Iterator[str]:
        """Yield a sentence for each import that violates the contract."""
        raise NotImplementedError

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Return whether the contract is kept, and the violations."""
        found = sorted(self.violations(graph))
        return ContractCheck(kept=not found, metadata={"violations": found})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Print the violations."""
        for violation in check.metadata["violations"]:
            output.print_error(violation)


class Plugins(ImportRule):
    """The core imports no plugin, and a plugin imports no other plugin and only the promised modules of the core.

    Plugins are all root packages whose name starts with that of the core and an underscore.

    Options:
        core: the root package of the core.
        promised: the modules of the core that plugins may import; their submodules are not included.
    """

    type_name = "plugins"
    core = fields.StringField()
    promised = fields.SetField(subfield=fields.StringField())

    def violations(self, graph: ImportGraph) -> Iterator[str]:
        """Yield every import of a plugin by the core or by another plugin, and every import not promised."""
        for importer, imported in imports(graph):
            home, other = root(importer), root(imported)
            if self.is_plugin(other) and home == self.core:
                yield f"the core imports a plugin: {importer} imports {imported}"
            elif self.is_plugin(other) and home != other:
                yield f"a plugin imports another one: {importer} imports {imported}"
            elif self.is_plugin(home) and other == self.core and imported not in self.promised:  # type: ignore[operator]
                yield f"docs/plugin_api.md does not promise {imported}, which {importer} imports"

    def is_plugin(self, package: str) -> bool:
        """Return whether a root package is a plugin."""
        return package.startswith(f"{self.core}_")


class Library(ImportRule):
    """A library is imported only by certain packages.

    Options:
        library: its root package.
        rooms: the packages that may import it.
    """

    type_name = "library"
    library = fields.StringField()
    rooms = fields.SetField(subfield=fields.StringField())

    def violations(self, graph: ImportGraph) -> Iterator[str]:
        """Yield every import of the library outside these packages."""
        for importer, imported in imports(graph):
            allowed = any(f"{importer}.".startswith(f"{room}.") for room in self.rooms)  # type: ignore[attr-defined]
            if root(imported) == self.library and not allowed:
                yield f"{importer} imports {imported}"


def imports(graph: ImportGraph) -> Iterator[tuple[str, str]]:
    """Yield all direct imports of a graph as (importer, imported)."""
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            yield importer, imported


def root(module: str) -> str:
    """Return the root package of a module."""
    return module.split(".")[0]
