"""Texts against lists of words, phrases and patterns, in whatever look. The settings name the lists; without one the plugin brings nothing."""

from moderation import hookimpl


@hookimpl
def register_detectors(registry):
    from moderation_lists.sections import read_sections

    sections = read_sections(registry.plugin, registry.settings, registry.folder)
    if sections.lists:
        from moderation_lists.detector import Lists

        registry.add(Lists(sections))
