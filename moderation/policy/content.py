"""What one row of a manifest names: a text, or a file that is what its digest says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from moderation.item import Modality, Part, content_digest, modality_of


@dataclass(frozen=True, slots=True)
class Content:
    """One text, or one file, with the digest of its content; a file is read only by `read`."""

    path: Path | None
    text: str | None
    sha256: str

    @property
    def modality(self) -> Modality:
        """Text where there is a text or the name of a .txt file, image otherwise."""
        return Modality.TEXT if self.path is None else modality_of(self.path)

    def read(self) -> Part:
        """The content as a part; raises OSError where the file is gone, ValueError where it is not what its digest says."""
        if self.path is None:
            return Part.text(self.text or "")
        content = self.path.read_bytes()
        digest = content_digest(content)
        if digest != self.sha256:
            raise ValueError(f"{self.path} has sha256 {digest}; the manifest says {self.sha256}")
        return Part.from_file(self.path, content, name=self.path.name)
