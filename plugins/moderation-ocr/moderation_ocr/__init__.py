"""The text in pictures, by PP-OCR on ONNX Runtime: nothing is downloaded, one thread. `[readers] use = ["ocr"]` puts it in force."""

from moderation import hookimpl


@hookimpl
def register_readers(registry):
    from moderation_ocr.reader import Ocr
    from moderation_ocr.section import read_section

    registry.add(Ocr(read_section(registry.plugin, registry.settings)))
