"""Dataclasses of which there is one for every item, or several: frozen for the type checker alone.

To set a frozen field takes a call at run time; a verdict has 21, and a tenth of deciding went into that. Only for values that no plugin is given.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as cheap_dataclass
else:
    from dataclasses import dataclass

    def cheap_dataclass(*, frozen, slots):  # noqa: ANN001, ANN201, ARG001
        """As `dataclasses.dataclass`, hashed by its fields as a frozen one is."""
        return dataclass(slots=slots, unsafe_hash=True)


__all__ = ["cheap_dataclass"]
