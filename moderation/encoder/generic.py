"""What transformers makes of a checkpoint of any kind: the config's defaults, a model, a tokenizer.

Nothing usual needs it, for it takes half as long to import as torch: who does imports it where it is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.utils import logging

from moderation.encoder.card import EncoderCard
from moderation.encoder.derive import Family
from moderation.encoder.tokens import TextTokenizer
from moderation.errors import CheckpointError

_MODELS: Mapping[Family, str] = {
    "clip": "CLIPModel",
    "siglip": "SiglipModel",
    "dual": "VisionTextDualEncoderModel",
    "sentence": "AutoModel",
}


def with_defaults(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """The config with what its file leaves out, since files hold only what differs from transformers' defaults."""
    try:
        # A copy: transformers 5.4 takes the towers' kinds out of what it is given, and the identity is that of the file.
        return transformers.AutoConfig.for_model(**deepcopy(config)).to_dict()  # type: ignore[no-any-return]
    except Exception as error:  # noqa: BLE001  transformers validates by many types
        raise CheckpointError(f"{folder / 'config.json'}: {error}") from None


def load_model(folder: Path, family: Family, card: EncoderCard) -> Any:
    """Transformers' own model of a checked folder, in evaluation mode, without gradients. Raises CheckpointError."""
    try:
        with quiet_transformers():
            model, report = getattr(transformers, _MODELS[family]).from_pretrained(
                folder,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # they are in the report, by name
                output_loading_info=True,
            )
    except Exception as error:  # noqa: BLE001  transformers raises whatever a config that makes no sense leads to
        raise CheckpointError(f"{folder}: the weights do not load: {error}") from None
    # transformers fills what is missing with random numbers and goes on.
    unread = card.text is not None and card.text.pooling != "pooler"
    missing = sorted(key for key in report["missing_keys"] if not (unread and "pooler." in key))
    wrong = [*missing, *sorted(map(str, report["mismatched_keys"]))]
    if wrong:
        raise CheckpointError(f"{folder}: {len(wrong)} weights are missing or of the wrong shape, first {wrong[0]}")
    return model.eval().requires_grad_(False)


def load_tokenizer(folder: Path, card: EncoderCard) -> TextTokenizer:
    """Transformers' own tokenizer of a folder, with the rules of its card. Raises CheckpointError."""
    if card.text is None:
        raise CheckpointError(f"{folder}: a tokenizer was asked for, but the card has no text section")
    try:
        backend = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # noqa: BLE001  tokenizers raise bare Exception
        raise CheckpointError(f"{folder}: the tokenizer does not load: {error}") from None
    return TextTokenizer(backend, card.text)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bar, and no report on stderr of what is checked and named here."""
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
