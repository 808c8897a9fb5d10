"""A new plugin with an encoder: small, and whole as it stands."""

from __future__ import annotations

from string import Template

from moderation.plugin.template.kind import Kind

ENCODER = Kind(
    Template('''\
"""An encoder: say here which model it runs. This one has none: its vectors are colours, and words by their hash."""

import hashlib

import numpy as np

from moderation import hookimpl
from moderation.encoder.base import Encoded, Fingerprint
from moderation.encoder.card import EncoderCard
from moderation.encoder.images import decode
from moderation.errors import ItemError

WIDTH = 48
CARD = {
    "schema": "encoder-card/v1",
    "name": "$id",
    "modalities": ["image", "text"],
    "width": WIDTH,
    "activation": "none",
}


class $name:
    card = EncoderCard.model_validate(CARD)
    # Into the identity goes whatever changes a vector (weights, preprocessing, tokenizer): locks and caches go by it.
    fingerprint = Fingerprint(hashlib.sha256(b"$id, version 1").hexdigest()[:16], "numpy/cpu")

    def __init__(self, limits):
        self.limits = limits

    def encode_images(self, images):
        return self._encode(images, self._colours)

    def encode_text(self, texts):
        return self._encode(texts, self._words)

    def count_tokens(self, text):
        return len(text.split()) + 1

    def _encode(self, contents, features):
        vectors, errors = np.zeros((len(contents), WIDTH), np.float16), {}
        for row, content in enumerate(contents):
            try:
                found = features(content)
                vectors[row] = found / np.linalg.norm(found)
            except ItemError as error:  # of this row alone
                errors[row] = error
        return Encoded(vectors, errors)

    def _colours(self, file):
        return 1.0 + np.asarray(decode(file, self.limits).resize((4, 4)), np.float64).ravel()

    def _words(self, text):
        places = [int(hashlib.sha256(word.encode()).hexdigest(), 16) % WIDTH for word in ("", *text.lower().split())]
        return np.bincount(places, minlength=WIDTH)


@hookimpl
def register_encoders(registry):
    registry.add("$id", lambda request: $name(request.images))
'''),
    Template('''\
"""What every encoder promises (moderation.testing)."""

from moderation_$module import $name

from moderation.settings import ImageLimits
from moderation.testing import EncoderKit


class Test$name(EncoderKit):
    make = staticmethod(lambda: $name(ImageLimits()))
    plugin = name = "$id"
'''),
    Template("""\
Settings that load it: `encoders.default.loader = "$id"`. Policies are compiled anew for it.
"""),
)
