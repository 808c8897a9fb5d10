"""What every table of a training run's file is made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """One table of the file: frozen, and no key that it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)
