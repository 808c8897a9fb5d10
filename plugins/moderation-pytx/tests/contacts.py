"""A classifier as somebody writes one for pytx."""

from __future__ import annotations

import re

from threatexchange.classifier.classifier import ClassificationInfo, ClassificationResult, Classifier
from threatexchange.content_type.text import TextContent


class Contacts(Classifier):
    @classmethod
    def get_content_types(cls):
        return [TextContent]

    def classify(self, content_type, content_val):
        assert content_type is TextContent
        found = {"has_url": "https?://", "has_email": r"\w@\w"}
        return ClassificationResult(
            {label: ClassificationInfo(bool(re.search(pattern, content_val))) for label, pattern in found.items()}
        )
