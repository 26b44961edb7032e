"""The code that stands in a page of Markdown."""

import re
import textwrap


def code_blocks(text: str, language: str) -> list[str]:
    """The fenced blocks of a language, without the indentation that all their lines have."""
    fence = re.compile(rf"^[ ]*```{language}\n(.*?)^[ ]*```", re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in fence.findall(text)]
