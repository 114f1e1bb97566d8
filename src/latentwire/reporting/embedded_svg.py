"""A drawing within a page: without its prologue, and with ids that no other drawing has."""

from __future__ import annotations

import re


def embed_svg(svg: str, name: str) -> str:
    """An SVG whose ids carry the name of the figure, because a page has one space of ids."""
    drawing = svg[svg.index("<svg") :].strip()
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.S)
    drawing = re.sub(r'\bid="', f'id="{name}-', drawing)
    drawing = re.sub(r'href="#', f'href="#{name}-', drawing)
    return re.sub(r"url\(#", f"url(#{name}-", drawing)
